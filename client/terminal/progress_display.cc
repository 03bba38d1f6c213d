#include "client/terminal/progress_display.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/support/progress_bar.h"

namespace denoised {
namespace {

// Whether a 32x32 picture and the line below it fit, so that nothing wraps or scrolls away.
bool TerminalFitsPicture() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0) return false;
  return size.ws_col > 70 && size.ws_row > kModelSize / 2 + 1;
}

}  // namespace

std::string DrawnText(uint64_t drawn, uint64_t count) { return absl::StrCat(drawn, " of ", count, " drawn"); }

std::string FormatProgress(const DrawingProgress& progress) {
  std::string line = absl::StrFormat("%s  %s  %s", progress.what, FormatBar(progress.fraction), progress.done);
  if (progress.seconds_left >= 0) absl::StrAppendFormat(&line, "  %.1f s left", progress.seconds_left);
  return line;
}

ProgressDisplay::ProgressDisplay(bool enabled, bool pictures, TerminalPalette palette)
    : enabled_(enabled && isatty(STDERR_FILENO) == 1),
      pictures_(enabled_ && pictures && TerminalFitsPicture()),
      palette_(palette) {}

ProgressDisplay::~ProgressDisplay() { Clear(); }

void ProgressDisplay::Show(const DrawingProgress& progress, const GreyImage* picture) {
  if (!enabled_) return;
  if (pictures_ && picture != nullptr) picture_ = TerminalPicture(*picture, palette_);
  ShowText(absl::StrCat(picture_, FormatProgress(progress)));
}

void ProgressDisplay::ShowText(const std::string& text) {
  if (!enabled_) return;
  Clear();
  std::fputs(text.c_str(), stderr);
  std::fflush(stderr);
  lines_above_ = static_cast<int>(std::count(text.begin(), text.end(), '\n'));
}

void ProgressDisplay::Clear() {
  if (!enabled_) return;
  const std::string up = lines_above_ > 0 ? absl::StrFormat("\x1b[%dA", lines_above_) : "";
  std::fprintf(stderr, "\r%s\x1b[J", up.c_str());
  std::fflush(stderr);
  lines_above_ = 0;
}

}  // namespace denoised
