#include "common/support/clock.h"

#include "absl/strings/str_format.h"
#include "common/support/progress_bar.h"

namespace denoised {

std::string DurationText(std::chrono::nanoseconds duration) {
  const double seconds = Seconds(duration);
  if (seconds < 0.001) return "less than 1 ms";
  if (seconds < 0.0995) return absl::StrFormat("%.0f ms", 1000 * seconds);
  if (seconds < 9.95) return absl::StrFormat("%.2g s", seconds);
  return FormatDuration(seconds);
}

}  // namespace denoised
