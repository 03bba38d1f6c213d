#include "trainer/training/training_progress.h"

#include "absl/strings/str_format.h"
#include "common/support/progress_bar.h"

namespace denoised {

std::string FormatProgress(const TrainingProgress& progress) {
  return absl::StrFormat("epoch %d/%d %s  loss %.4f  %.0f images/s  %s left", progress.epoch, progress.epochs,
                         FormatBar(progress.epoch_fraction), progress.loss, progress.images_per_second,
                         FormatDuration(progress.seconds_left));
}

}  // namespace denoised
