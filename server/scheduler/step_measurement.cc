#include "server/scheduler/step_measurement.h"

#include <algorithm>

#include "common/diffusion/step_plan.h"
#include "common/support/clock.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

using std::chrono::nanoseconds;

// Rounds are apart in time, so that a slow moment does not hit one number of rows alone.
constexpr int kRounds = 8, kMostRounds = 24;

// On a busy machine, where steps take many times longer than they ought to, rounds end after so long.
constexpr std::chrono::seconds kLongestTime(5);

// Steps of as many rows before the one that is timed, as in a chain.
constexpr int kStepsBefore = 2;

// Longer steps are not tried, and of shorter ones it does not matter how many rows they have.
constexpr std::chrono::milliseconds kLongStep(100);
constexpr std::chrono::microseconds kShortStep(20);

// What the shortest steps count as.
constexpr std::chrono::microseconds kShortest(1);

// How much of the best rate, in rows a second, a step must reach to be wide enough.
constexpr double kRateWanted = 0.95;

// How many times as long as a step of one row a wide enough step may take.
constexpr double kMostTimesLonger = 3.5;

// The spread of a machine that does nothing else stays below this.
constexpr double kSteadySpread = 0.05;

// So does the delay of its mean step; a neighbour takes some of the time, and not always the same.
constexpr double kSteadyDelay = 0.5;

// Steps that take so many times what they took, or that much less, are other steps.
constexpr double kOtherTimes = 1.6;

}  // namespace

absl::Status StepMeasurement::Run(const Step& step, const Clock& now, const std::function<bool()>& give_up) {
  const StepPlan plan = {StepCoefficients{}};
  const auto time = [&](Timed& timed) -> absl::Status {
    std::vector<StepRow> batch;
    for (int slot = 0; slot < timed.rows; ++slot) batch.push_back({.slot = slot, .plan = &plan});
    nanoseconds duration{};
    for (int i = 0; i <= kStepsBefore; ++i) {
      if (give_up()) return absl::CancelledError("measuring was given up");
      const auto start = now();
      DENOISED_RETURN_IF_ERROR(step(batch));
      duration = std::max<nanoseconds>(now() - start, kShortest);
    }
    timed.second = std::min(timed.second, std::max(timed.shortest, duration));
    timed.shortest = std::min(timed.shortest, duration);
    timed.all += duration;
    ++timed.times;
    return absl::OkStatus();
  };
  const auto end = now() + kLongestTime;
  timed_.clear();
  for (int rows = 1;; rows = std::min(2 * rows, max_rows_)) {
    timed_.push_back({.rows = rows});
    DENOISED_RETURN_IF_ERROR(time(timed_.back()));
    if (rows == max_rows_ || 2 * timed_.back().shortest > kLongStep) break;
  }
  const auto enough = [this](int round) { return round >= (steady() ? kRounds : kMostRounds); };
  for (int round = 1; !enough(round) && now() < end; ++round) {
    for (Timed& timed : timed_) DENOISED_RETURN_IF_ERROR(time(timed));
  }
  return absl::OkStatus();
}

int StepMeasurement::WideEnough() const {
  if (timed_.back().shortest < kShortStep) return max_rows_;
  const auto rate = [](const Timed& timed) { return timed.rows / Seconds(timed.shortest); };
  const double longest = kMostTimesLonger * Seconds(timed_.front().shortest);
  const auto too_long = [longest](const Timed& timed) { return timed.rows > 2 && Seconds(timed.shortest) > longest; };
  double wanted = 0, best = 0;
  for (const Timed& timed : timed_) wanted = std::max(wanted, kRateWanted * rate(timed));
  int rows = 2;
  for (const Timed& timed : timed_) {
    if (timed.rows < 2 || too_long(timed) || rate(timed) <= best) continue;
    rows = timed.rows;
    best = rate(timed);
    if (best >= wanted) break;
  }
  return rows;
}

double StepMeasurement::spread() const {
  double most = 0;
  for (const Timed& timed : timed_) most = std::max(most, Seconds(timed.second) / Seconds(timed.shortest) - 1);
  return most;
}

double StepMeasurement::delay() const {
  double most = 0;
  for (const Timed& timed : timed_) {
    most = std::max(most, Seconds(timed.all) / timed.times / Seconds(timed.shortest) - 1);
  }
  return most;
}

bool StepMeasurement::steady() const { return spread() <= kSteadySpread && delay() <= kSteadyDelay; }

void StepMeasurement::Teach(StepTimeModel& model) const {
  for (const Timed& timed : timed_) model.Set(timed.rows, timed.shortest);
}

bool StepMeasurement::IsContradictedBy(const StepTimeModel& model) const {
  return std::any_of(timed_.begin(), timed_.end(), [&model](const Timed& timed) {
    const double times = Seconds(model.Estimate(timed.rows)) / Seconds(timed.shortest);
    return times > kOtherTimes || times < 1 / kOtherTimes;
  });
}

}  // namespace denoised
