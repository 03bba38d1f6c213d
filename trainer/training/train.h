// File: train.h
//
// Learns a class-conditional diffusion model: for images x_0 with labels y, random timesteps t and noise epsilon, the
// network learns to tell epsilon from x_t = sqrt(ab_t) x_0 + sqrt(1 - ab_t) epsilon, t and y, by the mean squared error
// (Ho et al., arXiv 2006.11239, algorithm 1); or to tell v (noise_schedule.h), which also shows it the clean image's
// error where there is hardly any signal. Losses that are reported are unweighted means.
//
// With model_guidance above 1, classifier-free guidance is learnt into the labelled prediction (Tang et al., arXiv
// 2502.12154): the target of a labelled row moves away from what the network says with the label hidden, so that one
// network call at guidance scale 1 draws what two at that scale drew before. The loss is that of the moved target.
// model_guidance_below leaves the targets of rows with as much noise or more alone: there guidance decides what kind of
// digit comes, and costs variety; model_guidance_from those of rows with less noise, where nothing is left to decide
// (Kynkaanniemi et al., arXiv 2404.07724).
//
// With options.distill a student learns to draw in few steps what a teacher draws in many (teacher.h): noise is added
// as above, at the timesteps of the student's own chain alone, and the target is the teacher's.
//
//   absl::StatusOr<TrainingSummary> summary = Train(data, {.out = "run", .epochs = 30});
//
// The same data and options, threads included, give the same checkpoint bytes on the CPU, interrupted or not; a run is
// not resumed with other ones.
#ifndef DENOISED_TRAINER_TRAINING_TRAIN_H_
#define DENOISED_TRAINER_TRAINING_TRAIN_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "trainer/data/mnist.h"
#include "trainer/training/training_options.h"

namespace denoised {

struct TrainingSummary {
  std::string checkpoint;  // path of the best one, where interrupted or where none was the best of the last; empty:
                           // nothing has been learnt yet
  int epochs = 0;          // finished, resumed ones included
  int best_epoch = 0;      // that of best_loss, from 1; 0: none, as each ended in batches without a finite loss
  double best_loss = 0;    // lowest epoch mean, of the validation where there is one
  int64_t images_seen = 0;
  double seconds = 0;          // of learning, resumed parts included
  double other_seconds = 0;    // of writing files and drawing pictures
  bool stopped_early = false;  // patience ran out
  bool interrupted = false;    // stop_requested said so; --resume goes on
  bool writes_files = true;    // false in processes that only help: their rank is not 0
};

// Chooses best.pt by the mean loss of an epoch, or with validation_images by that of the averaged weights on images
// that were held out. Trains until the last epoch, until `patience` runs out, or until it is asked to stop. Where the
// environment names other processes (process_group.h), they train one network together, each with batch_size images per
// step; process 0 writes the files (run_folder.h). Errors:
//   INVALID_ARGUMENT     options or environment variables out of range
//   ALREADY_EXISTS       `out` holds a run, and `resume` is not set
//   NOT_FOUND            nothing to resume
//   FAILED_PRECONDITION  the state is of a run with other flags; `init` or `distill` is another kind of network; no
//   such device;
//                        `release` of sources that are in no commit
//   DATA_LOSS            the state is damaged
//   ABORTED              losses or weights are no longer finite numbers
//   UNAVAILABLE          other processes cannot be reached
// and those of LoadCheckpoint for both, and of WriteFileAtomically, RESOURCE_EXHAUSTED for a full disk among them.
//
// Whatever happens, the last good files are kept. A batch whose loss or gradient is not a finite number is named, left
// out and counted; nothing of it reaches a file.
//
// `data` is what to learn from, or why it cannot be read: an error here too, which other processes hear, as they do of
// all that keeps one of them from beginning.
absl::StatusOr<TrainingSummary> Train(const absl::StatusOr<Dataset>& data, const TrainingOptions& options);

}  // namespace denoised

#endif  // DENOISED_TRAINER_TRAINING_TRAIN_H_
