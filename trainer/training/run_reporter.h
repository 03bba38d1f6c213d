// File: run_reporter.h
//
// What a run says on stderr while it goes on: a bar on a terminal, lines elsewhere, and how long it will take as soon
// as that can be told.
//
//   RunReporter reporter(options, batches, /*speaks=*/true);
//   reporter.Begin("cpu", progress);
//   reporter.Batch(progress, /*images=*/64, /*seconds=*/0.07);   // after each
//   reporter.Epoch(record, /*best=*/true);
//
// Not thread-safe.
#ifndef DENOISED_TRAINER_TRAINING_RUN_REPORTER_H_
#define DENOISED_TRAINER_TRAINING_RUN_REPORTER_H_

#include <chrono>
#include <cstdint>
#include <string>

#include "trainer/training/training_log.h"
#include "trainer/training/training_options.h"
#include "trainer/training/training_state.h"

namespace denoised {

class RunReporter {
 public:
  // Of a run of so many optimizer steps by these batches. Says nothing unless `speaks`: of several processes one does.
  RunReporter(const TrainingOptions& options, const TrainingBatches& batches, int64_t total_steps, bool speaks);

  // Where the run is computed and, if it is resumed, where it goes on.
  void Begin(const std::string& device, const TrainingProgressState& progress);

  // A batch more, of so many images over all processes, which took so many seconds.
  void Batch(const TrainingProgressState& progress, int64_t images, double seconds);

  void Epoch(const EpochRecord& record, bool best) const;

  // A line of its own.
  void Line(const std::string& line) const;

 private:
  void SayWhatIsLearntFrom(const std::string& device) const;
  double SecondsLeft(const TrainingProgressState& progress) const;
  double ImagesPerSecond() const;
  TrainingProgress ProgressOf(const TrainingProgressState& progress) const;
  void SayHowLongItTakes(const TrainingProgressState& progress) const;

  // Constant after construction.
  const TrainingOptions options_;
  const int64_t total_steps_;
  const int64_t batches_;
  const int64_t epochs_;        // that there will be
  const int64_t batch_images_;  // of all but perhaps the last
  const int64_t epoch_images_;
  const int64_t images_left_out_;  // of each epoch
  const bool speaks_;

  // Of this process, not of earlier parts of the run, which may have had other hardware.
  int64_t done_ = 0;  // batches
  int64_t images_ = 0;
  double seconds_ = 0;
  std::chrono::steady_clock::time_point last_line_;
};

}  // namespace denoised

#endif  // DENOISED_TRAINER_TRAINING_RUN_REPORTER_H_
