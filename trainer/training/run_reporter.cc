#include "trainer/training/run_reporter.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/command_line/progress_bar.h"
#include "common/command_line/terminal.h"
#include "common/support/clock.h"
#include "trainer/training/run_folder.h"

namespace denoised {
namespace {

using Clock = std::chrono::steady_clock;

// So many batches tell how long the others will take.
constexpr int64_t kTrialBatches = 20;

// Between two looks of the bar.
constexpr double kBarSeconds = 1;

}  // namespace

RunReporter::RunReporter(const TrainingOptions& options, const TrainingBatches& batches, int64_t total_steps,
                         bool speaks)
    : options_(options),
      total_steps_(total_steps),
      batches_(batches.per_epoch()),
      epochs_((total_steps + batches.per_epoch() - 1) / batches.per_epoch()),
      batch_images_(batches.global_rows()),
      epoch_images_(batches.images_per_epoch()),
      images_left_out_(batches.images() - batches.images_per_epoch()),
      speaks_(speaks),
      last_line_(Clock::now()) {}

void RunReporter::SayWhatIsLearntFrom(const std::string& device) const {
  Line(absl::StrFormat("training on %s, %d images an epoch, %d a step; writing to %s/", device, epoch_images_,
                       batch_images_, options_.out));
  if (images_left_out_ > epoch_images_ / 10) {
    Line(absl::StrFormat(
        "each epoch leaves out %d images, which fill no batch: --keep_last_batch or a smaller --batch_size "
        "takes them in",
        images_left_out_));
  }
  if (options_.max_steps > total_steps_) {
    Line(absl::StrFormat("--epochs %d is over after %d steps, before --max_steps %d: raise it for more",
                         options_.epochs, total_steps_, options_.max_steps));
  }
  if (!options_.resume && total_steps_ < 2 * int64_t{options_.warmup_steps}) {
    Line(
        absl::StrFormat("%d steps are hardly enough to learn anything, where the learning rate rises for %d: raise "
                        "--epochs or --max_steps, or lower --warmup_steps",
                        total_steps_, options_.warmup_steps));
  }
}

void RunReporter::Begin(const std::string& device, const TrainingProgressState& progress) {
  SayWhatIsLearntFrom(device);
  last_line_ = Clock::now();
  if (!options_.resume) return;
  const bool all_steps = options_.max_steps > 0 && progress.step >= options_.max_steps && progress.batch == 0;
  const bool no_patience = progress.epochs_without_progress >= options_.patience;
  if (progress.epoch >= options_.epochs || all_steps || no_patience) {
    return Line("nothing is left to do: the run is complete");
  }
  const std::string where = progress.batch == 0 ? absl::StrCat("with epoch ", progress.epoch + 1)
                                                : absl::StrCat("after batch ", progress.batch, " of ", batches_,
                                                               " in epoch ", progress.epoch + 1);
  Line(absl::StrCat("going on ", where, " of ", epochs_, "; ", FormatDuration(progress.seconds), " so far",
                    std::isfinite(progress.best_loss) ? absl::StrFormat(", best loss %.5f", progress.best_loss) : ""));
}

void RunReporter::Batch(const TrainingProgressState& progress, int64_t images, double seconds) {
  ++done_;
  images_ += images;
  seconds_ += seconds;
  if (!speaks_) return;
  if (done_ == kTrialBatches) SayHowLongItTakes(progress);
  const bool rewrites = CanRewrite(STDERR_FILENO);
  const double pause = rewrites ? kBarSeconds : options_.report_every_seconds;
  const bool first_bar = rewrites && done_ == kTrialBatches;
  if (!first_bar && (pause == 0 || SecondsSince(last_line_) < pause)) return;
  last_line_ = Clock::now();
  if (rewrites) {
    ShowProgress(FormatProgress(ProgressOf(progress), TerminalSize(STDERR_FILENO).columns - 1));
  } else {
    Line(FormatProgressLine(ProgressOf(progress)));
  }
}

void RunReporter::Epoch(const EpochRecord& record, bool best) const {
  const std::string validation =
      record.validation_loss ? absl::StrFormat("  validation %.5f", *record.validation_loss) : "";
  Line(absl::StrFormat("epoch %d/%d  loss %.5f%s%s  %s  %s so far", record.epoch, epochs_, record.loss, validation,
                       best ? " (best)" : "", FormatSpeed(record.images_per_second), FormatDuration(record.seconds)));
}

void RunReporter::Line(const std::string& line) const {
  if (!speaks_) return;
  ClearProgress();
  absl::FPrintF(stderr, "%s\n", line);
}

double RunReporter::SecondsLeft(const TrainingProgressState& progress) const {
  int64_t left = (options_.epochs - progress.epoch) * batches_ - progress.batch;
  if (options_.max_steps > 0) left = std::min(left, options_.max_steps - progress.step);
  // Files and pictures come with epochs and minutes, so that they are shared out over the whole run.
  const double batch = seconds_ / static_cast<double>(std::max<int64_t>(1, done_)),
               others = progress.other_seconds / static_cast<double>(std::max<int64_t>(1, progress.step));
  return static_cast<double>(left) * (batch + others);
}

double RunReporter::ImagesPerSecond() const { return static_cast<double>(images_) / seconds_; }

TrainingProgress RunReporter::ProgressOf(const TrainingProgressState& progress) const {
  return {.epoch = progress.epoch + 1,
          .epochs = static_cast<int>(epochs_),
          .epoch_fraction = static_cast<double>(progress.batch) / static_cast<double>(batches_),
          .loss = progress.MeanLoss(),
          .images_per_second = ImagesPerSecond(),
          .seconds_left = SecondsLeft(progress)};
}

void RunReporter::SayHowLongItTakes(const TrainingProgressState& progress) const {
  double first_checkpoint = static_cast<double>(batches_ - progress.batch) * seconds_ / static_cast<double>(done_);
  if (const double every = options_.checkpoint_every_seconds; every > 0) {
    first_checkpoint = std::min(first_checkpoint, every);
  }
  const std::string end =
      options_.max_steps == total_steps_ ? absl::StrCat("of step ", total_steps_) : absl::StrCat("of epoch ", epochs_);
  Line(absl::StrFormat("about %s to the end %s, at %s; %s can be served in %s, or after Ctrl-C",
                       FormatDuration(SecondsLeft(progress)), end, FormatSpeed(ImagesPerSecond()),
                       TrainingFiles(options_.out).last, FormatDuration(first_checkpoint)));
}

}  // namespace denoised
