#include "server/scheduler/step_time_model.h"

#include <algorithm>

#include "common/support/clock.h"

namespace denoised {
namespace {

// Weight of the newest step: about the last twenty count.
constexpr double kWeight = 0.05;

// A step counts as so many times the average at most: a machine that stood still for seconds says nothing about steps.
constexpr double kSlowest = 4;

}  // namespace

void StepTimeModel::Record(int rows, std::chrono::nanoseconds duration) {
  const double expected = Seconds(Estimate(rows));
  const double seconds = expected == 0 ? Seconds(duration) : std::min(Seconds(duration), kSlowest * expected);
  double& average = average_[rows];
  average = average == 0 ? seconds : average + kWeight * (seconds - average);
  double& least = least_[rows];
  least = least == 0 ? seconds : std::min(least, seconds);
}

void StepTimeModel::Set(int rows, std::chrono::nanoseconds duration) {
  average_[rows] = least_[rows] = Seconds(duration);
}

std::chrono::nanoseconds StepTimeModel::Estimate(int rows) const { return Interpolate(average_, rows); }

std::chrono::nanoseconds StepTimeModel::Least(int rows) const { return Interpolate(least_, rows); }

std::chrono::nanoseconds StepTimeModel::Interpolate(const Times& times, int rows) {
  const int max_rows = static_cast<int>(times.size()) - 1;
  rows = std::clamp(rows, 1, max_rows);
  int below = rows;
  while (below > 0 && times[below] == 0) --below;
  int above = rows;
  while (above <= max_rows && times[above] == 0) ++above;
  if (below == 0 && above > max_rows) return {};
  if (below == 0) return Nanoseconds(times[above] * rows / above);
  if (above > max_rows) return Nanoseconds(times[below] * rows / below);
  if (below == above) return Nanoseconds(times[rows]);
  const double share = static_cast<double>(rows - below) / (above - below);
  return Nanoseconds(times[below] + share * (times[above] - times[below]));
}

}  // namespace denoised
