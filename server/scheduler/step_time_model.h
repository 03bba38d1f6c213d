// File: step_time_model.h
//
// How long a denoising step of so many network rows takes, learned from the steps that ran.
//
//   StepTimeModel model(/*max_rows=*/16);
//   model.Record(/*rows=*/4, std::chrono::microseconds(900));
//   std::chrono::nanoseconds expected = model.Estimate(8);
//
// One moving average per batch size, in which a stall counts as a slow step, a size's first step included; a size that
// has not run yet is interpolated between its neighbours, or scaled in proportion from the nearest one. Not
// thread-safe.
#ifndef DENOISED_SERVER_SCHEDULER_STEP_TIME_MODEL_H_
#define DENOISED_SERVER_SCHEDULER_STEP_TIME_MODEL_H_

#include <chrono>
#include <vector>

namespace denoised {

class StepTimeModel {
 public:
  explicit StepTimeModel(int max_rows) : average_(max_rows + 1, 0.0), least_(max_rows + 1, 0.0) {}

  // A step of `rows`, from 1 to max_rows, took so long.
  void Record(int rows, std::chrono::nanoseconds duration);

  // Steps of `rows` take so long, by careful measurement.
  void Set(int rows, std::chrono::nanoseconds duration);

  // Zero while nothing has been recorded. `rows` is clamped to 1 .. max_rows.
  std::chrono::nanoseconds Estimate(int rows) const;

  // As Estimate, of the shortest steps that there have been: what can be had again.
  std::chrono::nanoseconds Least(int rows) const;

 private:
  // Seconds by rows; 0: not measured.
  using Times = std::vector<double>;

  static std::chrono::nanoseconds Interpolate(const Times& times, int rows);

  Times average_;
  Times least_;
};

}  // namespace denoised

#endif  // DENOISED_SERVER_SCHEDULER_STEP_TIME_MODEL_H_
