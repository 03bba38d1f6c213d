#include "common/command_line/progress_bar.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "absl/strings/str_format.h"
#include "common/command_line/terminal.h"

namespace denoised {

std::string FormatBar(double fraction, int width) {
  fraction = std::clamp(fraction, 0.0, 1.0);
  const int filled = static_cast<int>(fraction * width);
  return absl::StrFormat("[%s%s] %3d%%", std::string(filled, '#'), std::string(width - filled, '-'),
                         static_cast<int>(fraction * 100));
}

void ShowProgress(const std::string& line) {
  if (!CanRewrite(STDERR_FILENO)) return;
  // NOTE: a line that wraps could not be written over. The last column stays free, where some terminals wrap already.
  const std::string fitting = FirstColumns(line, TerminalSize(STDERR_FILENO).columns - 1);
  std::fprintf(stderr, "\r\x1b[K%s", fitting.c_str());
  std::fflush(stderr);
}

void ClearProgress() { ShowProgress(""); }

}  // namespace denoised
