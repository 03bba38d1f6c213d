#include "server/capacity/step_times.h"

#include <algorithm>
#include <chrono>
#include <memory>

#include "common/diffusion/engine.h"
#include "common/diffusion/noise_schedule.h"
#include "common/diffusion/step_plan.h"
#include "common/engine/make_engine.h"
#include "common/model/precision.h"
#include "common/support/clock.h"
#include "common/support/file.h"
#include "common/support/quantile.h"
#include "common/support/status_macros.h"
#include "common/weights/plain_checkpoint.h"
#include "server/capacity/step_time_statistics.h"

namespace denoised {
namespace {

constexpr int kRepeats = 11, kMostRepeats = 44;

// A team of threads needs some steps before each has a core to itself; the last of these is timed.
constexpr int kStepsInARow = 16;

absl::StatusOr<PlainCheckpoint> LoadNamedOrShipped(std::string path) {
  if (path.empty()) {
    DENOISED_ASSIGN_OR_RETURN(path, FindShipped("mnist.pt"));
  }
  return LoadPlainCheckpoint(path);
}

absl::StatusOr<double> TimeStep(Engine& engine, const std::vector<StepRow>& rows) {
  for (int i = 1; i < kStepsInARow; ++i) DENOISED_RETURN_IF_ERROR(engine.Step(rows));
  const auto start = std::chrono::steady_clock::now();
  DENOISED_RETURN_IF_ERROR(engine.Step(rows));
  return SecondsSince(start);
}

}  // namespace

absl::StatusOr<StepTimes> MeasureStepTimes(const StepTimeOptions& options) {
  DENOISED_ASSIGN_OR_RETURN(const PlainCheckpoint checkpoint, LoadNamedOrShipped(options.checkpoint));
  DENOISED_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine,
                            MakeEngine(checkpoint, {.device = options.device,
                                                    .num_slots = options.max_rows,
                                                    .max_rows = options.max_rows,
                                                    .num_threads = options.num_threads,
                                                    .precision = ParsePrecision(options.precision)}));
  DENOISED_ASSIGN_OR_RETURN(const NoiseSchedule schedule, NoiseSchedule::Create(checkpoint.metadata.noise_schedule));
  DENOISED_ASSIGN_OR_RETURN(const StepPlan plan, MakeStepPlan(schedule, {}));
  std::vector<std::vector<double>> seconds(static_cast<size_t>(options.max_rows));
  for (int repeat = 0; repeat < kRepeats || (repeat < kMostRepeats && Scatter(seconds) > kSteadyScatter); ++repeat) {
    std::vector<StepRow> rows;
    for (int slot = 0; slot < options.max_rows; ++slot) {
      rows.push_back({.slot = slot, .plan = &plan, .step = repeat});
      DENOISED_ASSIGN_OR_RETURN(const double of_these, TimeStep(*engine, rows));
      std::vector<double>& ascending = seconds[static_cast<size_t>(slot)];
      ascending.insert(std::upper_bound(ascending.begin(), ascending.end(), of_these), of_these);
    }
  }
  StepTimes times{.seconds = {}, .scatter = Scatter(seconds)};
  for (const std::vector<double>& of_rows : seconds) times.seconds.push_back(QuantileOfSorted(of_rows, 0.25));
  times.seconds = MakeMonotonic(times.seconds);
  return times;
}

}  // namespace denoised
