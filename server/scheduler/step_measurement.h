// File: step_measurement.h
//
// How long steps of more and more network rows take on an engine that has nothing else to do, and how many rows a step
// should have.
//
//   StepMeasurement measurement(/*max_rows=*/16);
//   absl::Status status = measurement.Run(step, now, [] { return false; });
//   int rows = measurement.WideEnough();
//   if (!measurement.steady()) ...   // something else used the machine meanwhile
//
// The shortest of several times counts, since whatever disturbs a step makes it longer. A machine is steady if it gives
// the shortest times again, and others that are not much longer; where it does not, more are taken, for a few seconds
// in all. Thread-compatible.
#ifndef DENOISED_SERVER_SCHEDULER_STEP_MEASUREMENT_H_
#define DENOISED_SERVER_SCHEDULER_STEP_MEASUREMENT_H_

#include <chrono>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "common/diffusion/engine.h"
#include "server/scheduler/step_time_model.h"

namespace denoised {

class StepMeasurement {
 public:
  using Step = std::function<absl::Status(absl::Span<const StepRow>)>;
  using Clock = std::function<std::chrono::steady_clock::time_point()>;

  explicit StepMeasurement(int max_rows) : max_rows_(max_rows) {}

  // Takes steps of 1, 2, 4, ... max_rows rows in turns, in the engine's first slots, but for rows that take too long.
  // CANCELLED once `give_up` says so, which is asked before each step; else the first error of a step.
  absl::Status Run(const Step& step, const Clock& now, const std::function<bool()>& give_up);

  // The fewest rows whose steps get through nearly as many rows a second as any, at least those of a guided image.
  // A step of more rows than that takes at most 3.5 times as long as one of a single row: who draws a little while
  // others fill every step has a row in each, and is so many times later than alone. If that keeps it from as many rows
  // a second, it is the width that comes nearest.
  int WideEnough() const;

  // By how much the second shortest time exceeds the shortest, as a share of that, for the number of rows where it is
  // worst.
  double spread() const;
  // By how much the mean of all times exceeds the shortest, likewise.
  double delay() const;
  bool steady() const;

  // Makes the shortest times a model's first ones.
  void Teach(StepTimeModel& model) const;

  // Whether the steps that a model has seen since take so different times that these here are out of date.
  bool IsContradictedBy(const StepTimeModel& model) const;

 private:
  using Duration = std::chrono::nanoseconds;
  struct Timed {
    int rows = 1;
    Duration shortest = Duration::max();
    Duration second = Duration::max();
    Duration all{};
    int times = 0;
  };

  int max_rows_;
  std::vector<Timed> timed_;  // by rows, ascending
};

}  // namespace denoised

#endif  // DENOISED_SERVER_SCHEDULER_STEP_MEASUREMENT_H_
