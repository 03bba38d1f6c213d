#include "server/capacity/step_time_statistics.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/str_format.h"
#include "common/support/quantile.h"

namespace denoised {

double Scatter(const std::vector<std::vector<double>>& ascending) {
  double most = 0;
  for (const std::vector<double>& of_rows : ascending) {
    most = std::max(most, QuantileOfSorted(of_rows, 0.75) / QuantileOfSorted(of_rows, 0.25) - 1);
  }
  return most;
}

// By pooling adjacent violators.
std::vector<double> MakeMonotonic(const std::vector<double>& seconds) {
  struct Pool {
    double mean;
    size_t size;
  };
  std::vector<Pool> pools;
  for (const double value : seconds) {
    pools.push_back({value, 1});
    while (pools.size() > 1 && pools[pools.size() - 2].mean > pools.back().mean) {
      const Pool last = pools.back();
      pools.pop_back();
      Pool& before = pools.back();
      const auto sum = before.mean * static_cast<double>(before.size) + last.mean * static_cast<double>(last.size);
      before.size += last.size;
      before.mean = sum / static_cast<double>(before.size);
    }
  }
  std::vector<double> result;
  for (const Pool& pool : pools) result.insert(result.end(), pool.size, pool.mean);
  return result;
}

std::optional<std::string> WarnOfScatter(double scatter) {
  if (scatter <= kSteadyScatter) return std::nullopt;
  return absl::StrFormat(
      "this machine was busy while its steps were timed: times of the same step lie %.0f %% apart, and the figures may "
      "be off by as much; run it again on a quiet machine, or take times from one by --step_times",
      100 * scatter);
}

}  // namespace denoised
