// File: training_log.h
//
// What is known of each epoch of a run, and how it is shown: JSON Lines for programs, a plot for people, and while it
// runs a line on the terminal.
//
//   TrainingLog log;
//   log.Add({.epoch = 1, .loss = 0.03, ...});
//   WriteFileAtomically("run/log.jsonl", log.ToJsonLines());
//
// Thread-compatible.
#ifndef DENOISED_TRAINER_TRAINING_TRAINING_LOG_H_
#define DENOISED_TRAINER_TRAINING_TRAINING_LOG_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace denoised {

struct EpochRecord {
  int epoch = 0;                          // from 1
  double loss = 0;                        // mean squared error of the prediction
  std::optional<double> validation_loss;  // of the averaged weights on images held out; none: none are
  double best_loss = 0;                   // lowest so far, of the validation where there is one
  double learning_rate = 0;               // of the epoch's last step
  int64_t images_seen = 0;                // since the first epoch
  int64_t bad_batches = 0;                // of the epoch, left out as their loss or gradient was not a finite number
  double images_per_second = 0;
  double seconds = 0;        // of learning since the first epoch, without pauses between resumed parts
  double other_seconds = 0;  // likewise of writing files and drawing pictures, up to the epoch's end

  // What decides which epoch is the best.
  double decisive_loss() const { return validation_loss.value_or(loss); }

  friend bool operator==(const EpochRecord&, const EpochRecord&) = default;
};

class TrainingLog {
 public:
  void Add(const EpochRecord& record) { records_.push_back(record); }
  const std::vector<EpochRecord>& records() const { return records_; }

  // A JSON object per line, in the order of the fields above.
  std::string ToJsonLines() const;
  // The inverse. INVALID_ARGUMENT, naming the line, for anything else.
  static absl::StatusOr<TrainingLog> FromJsonLines(std::string_view text);

  // A PNG with the loss of each epoch, and the lowest so far. INVALID_ARGUMENT for an empty log.
  absl::StatusOr<std::string> PlotLoss(const std::string& title) const;

 private:
  std::vector<EpochRecord> records_;
};

// How far the epoch under way is.
struct TrainingProgress {
  int epoch = 0;  // from 1
  int epochs = 0;
  double epoch_fraction = 0;  // 0 to 1
  double loss = 0;            // mean of the epoch so far
  double images_per_second = 0;
  double seconds_left = 0;  // until the last epoch ends, should none stop early
};

// A line for progress_bar.h to show, in at most so many columns, as far as it can be made shorter: first the bar gets
// narrow, then bar, speed and loss go.
// "epoch 3/40 [#########-----------]  45%  loss 0.0312  880 images/s  34 min left"
std::string FormatProgress(const TrainingProgress& progress, int columns);

// The same for a log, without a bar: "epoch 3/40  45%  loss 0.0312  880 images/s  34 min left".
std::string FormatProgressLine(const TrainingProgress& progress);

// "880 images/s", or "7.5 images/s".
std::string FormatSpeed(double images_per_second);

}  // namespace denoised

#endif  // DENOISED_TRAINER_TRAINING_TRAINING_LOG_H_
