#include "server/scheduler/step_time_model.h"

#include <algorithm>

#include "common/support/clock.h"

namespace denoised {
namespace {

// Weight of the newest step: about the last twenty count.
constexpr double kWeight = 0.05;

}  // namespace

void StepTimeModel::Record(int rows, std::chrono::nanoseconds duration) {
  const double seconds = Seconds(duration);
  double& average = seconds_[rows];
  average = average == 0 ? seconds : average + kWeight * (seconds - average);
}

std::chrono::nanoseconds StepTimeModel::Estimate(int rows) const {
  const int max_rows = static_cast<int>(seconds_.size()) - 1;
  rows = std::clamp(rows, 1, max_rows);
  int below = rows;
  while (below > 0 && seconds_[below] == 0) --below;
  int above = rows;
  while (above <= max_rows && seconds_[above] == 0) ++above;
  if (below == 0 && above > max_rows) return {};
  if (below == 0) return Nanoseconds(seconds_[above] * rows / above);
  if (above > max_rows) return Nanoseconds(seconds_[below] * rows / below);
  if (below == above) return Nanoseconds(seconds_[rows]);
  const double share = static_cast<double>(rows - below) / (above - below);
  return Nanoseconds(seconds_[below] + share * (seconds_[above] - seconds_[below]));
}

}  // namespace denoised
