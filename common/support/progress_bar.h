// File: progress_bar.h
//
// One line that says how far long work is. Formatting is a pure function; printing goes to stderr, rewritten in place
// on a terminal and left out elsewhere, where the lines that stay say enough.
#ifndef DENOISED_COMMON_SUPPORT_PROGRESS_BAR_H_
#define DENOISED_COMMON_SUPPORT_PROGRESS_BAR_H_

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

// "[#########-----------]  45%" for 0.456.
std::string FormatBar(double fraction);

// "42 s", "34 min" or "2 h 05 min".
std::string FormatDuration(double seconds);

// Shows a line on stderr in place of the last one; does nothing when stderr is no terminal.
void ShowProgress(const std::string& line);

// Removes the line again, before other output.
void ClearProgress();

}  // namespace denoised

#endif  // DENOISED_COMMON_SUPPORT_PROGRESS_BAR_H_
