#include "common/support/clock.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "absl/strings/str_format.h"

namespace denoised {

std::string FormatDuration(double seconds) {
  const int64_t whole = std::llround(std::max(0.0, seconds));
  if (whole < 120) return absl::StrFormat("%d s", whole);
  const int64_t minutes = (whole + 30) / 60;
  if (minutes < 60) return absl::StrFormat("%d min", minutes);
  return absl::StrFormat("%d h %02d min", minutes / 60, minutes % 60);
}

std::string DurationText(std::chrono::nanoseconds duration) {
  const double seconds = Seconds(duration);
  if (seconds < 0.001) return "less than 1 ms";
  if (seconds < 0.0995) return absl::StrFormat("%.0f ms", 1000 * seconds);
  if (seconds < 9.95) return absl::StrFormat("%.2g s", seconds);
  return FormatDuration(seconds);
}

}  // namespace denoised
