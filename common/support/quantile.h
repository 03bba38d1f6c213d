// File: quantile.h
//
// Nearest-rank quantiles: values that were seen, not interpolated ones. Pure and thread-safe.
#ifndef DENOISED_COMMON_SUPPORT_QUANTILE_H_
#define DENOISED_COMMON_SUPPORT_QUANTILE_H_

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace denoised {

// The smallest of the ascending values that a share of them, 0 to 1, does not exceed; not a number for no values.
inline double QuantileOfSorted(const std::vector<double>& ascending, double share) {
  if (ascending.empty()) return std::numeric_limits<double>::quiet_NaN();
  const auto rank = static_cast<size_t>(std::ceil(share * static_cast<double>(ascending.size())));
  return ascending[std::clamp<size_t>(rank, 1, ascending.size()) - 1];
}

}  // namespace denoised

#endif  // DENOISED_COMMON_SUPPORT_QUANTILE_H_
