// File: step_log.h
//
// What is known of each step of a run, in three files of its folder, to be looked at while it goes on: steps.jsonl
// (JSON Lines), steps.csv, and an event file for TensorBoard.
//
//   absl::StatusOr<StepLog> log = StepLog::Open("run", /*last_step=*/0, now);
//   log->Add({.step = 1, .epoch = 1, .batch = 1, .loss = 1.0, ...});
//   absl::Status written = log->Flush();
//
// Not thread-safe.
#ifndef DENOISED_TRAINER_RECORDS_STEP_LOG_H_
#define DENOISED_TRAINER_RECORDS_STEP_LOG_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace denoised {

struct StepRecord {
  int64_t step = 0;  // that the optimizer has taken, from 1
  int epoch = 0;     // from 1
  int64_t batch = 0;
  double loss = 0;           // mean squared error of the prediction
  double gradient_norm = 0;  // before clipping
  double learning_rate = 0;
  double images_per_second = 0;
  double wall_time = 0;  // seconds since 1970
};

struct StepLogFiles {
  explicit StepLogFiles(const std::string& folder)
      : json(folder + "/steps.jsonl"),
        csv(folder + "/steps.csv"),
        events(folder + "/events.out.tfevents.denoise-train") {}

  std::string json;
  std::string csv;
  std::string events;
};

class StepLog {
 public:
  // Goes on with the files where they are there, without the steps after `last_step`, which a run that was killed took
  // in vain; else begins them. Errors of ReadFile and WriteFileAtomically.
  static absl::StatusOr<StepLog> Open(const std::string& folder, int64_t last_step, double wall_time);

  // All numbers are finite.
  void Add(const StepRecord& record);

  // Writes what was added. RESOURCE_EXHAUSTED for a full disk; what is half written then is left aside by Open.
  absl::Status Flush();

 private:
  explicit StepLog(const std::string& folder) : files_(folder) {}

  StepLogFiles files_;
  // Not written yet.
  std::string json_, csv_, events_;
};

}  // namespace denoised

#endif  // DENOISED_TRAINER_RECORDS_STEP_LOG_H_
