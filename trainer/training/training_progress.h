// File: training_progress.h
//
// The line that says how far an epoch is, for progress_bar.h to show. Pure and thread-safe.
#ifndef DENOISED_TRAINER_TRAINING_TRAINING_PROGRESS_H_
#define DENOISED_TRAINER_TRAINING_TRAINING_PROGRESS_H_

#include <string>

namespace denoised {

struct TrainingProgress {
  int epoch = 0;  // from 1
  int epochs = 0;
  double epoch_fraction = 0;  // 0 to 1
  double loss = 0;            // mean of the epoch so far
  double images_per_second = 0;
  double seconds_left = 0;  // until the last epoch ends, should none stop early
};

// "epoch 3/40 [#########-----------]  45%  loss 0.0312  880 images/s  34 min left"
std::string FormatProgress(const TrainingProgress& progress);

}  // namespace denoised

#endif  // DENOISED_TRAINER_TRAINING_TRAINING_PROGRESS_H_
