// File: step_times.h
//
// How long this machine takes for the steps of a checkpoint.
//
//   absl::StatusOr<StepTimes> times = MeasureStepTimes({.device = "cpu", .max_rows = 16});
//   double of_a_full_batch = times->seconds.back();
//
// Errors are those of LoadCheckpoint, MakeEngine and the engine. Thread-safe, but two measurements at once disturb each
// other.
#ifndef DENOISED_SERVER_CAPACITY_STEP_TIMES_H_
#define DENOISED_SERVER_CAPACITY_STEP_TIMES_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace denoised {

struct StepTimeOptions {
  std::string checkpoint = "";     // empty: models/mnist.pt of this installation
  std::string device = "auto";     // as EngineOptions'
  std::string precision = "auto";  // one of PrecisionNames()
  int num_threads = 0;             // as EngineOptions'
  int max_rows = 16;               // of the widest step
};

struct StepTimes {
  std::vector<double> seconds;  // of a step of 1, 2, ... max_rows rows
  double scatter = 0;           // step_time_statistics.h
};

// What steps take as in a chain, where a step of so many rows follows others of as many, in turns so that a slow moment
// hits all alike: the first quartile of eleven times, or of up to 44 while they scatter.
absl::StatusOr<StepTimes> MeasureStepTimes(const StepTimeOptions& options);

}  // namespace denoised

#endif  // DENOISED_SERVER_CAPACITY_STEP_TIMES_H_
