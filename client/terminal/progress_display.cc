#include "client/terminal/progress_display.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/command_line/progress_bar.h"
#include "common/command_line/terminal.h"
#include "common/support/quoted.h"

namespace denoised {
namespace {

// So that a 32x32 picture and the line below it neither wrap nor scroll away.
constexpr int kLeastColumns = kModelSize + 1, kLeastRows = kModelSize / 2 + 2;

}  // namespace

std::string PictureNeeds() {
  if (isatty(STDERR_FILENO) != 1) return "a terminal, and standard error is none";
  if (!CanRewrite(STDERR_FILENO)) {
    const char* term = std::getenv("TERM");
    return absl::StrCat("a terminal whose cursor can be moved, and TERM ",
                        term == nullptr || *term == '\0' ? "is not set" : absl::StrCat("says ", Quoted(term)));
  }
  const TerminalExtent size = TerminalSize(STDERR_FILENO);
  if (size.columns >= kLeastColumns && size.rows >= kLeastRows) return "";
  return absl::StrCat("a terminal of ", kLeastColumns, " columns and ", kLeastRows,
                      " lines at least, and this one has ", size.columns, " and ", size.rows);
}

std::string DrawnText(uint64_t drawn, uint64_t count) { return absl::StrCat(drawn, " of ", count, " drawn"); }

std::string FormatProgress(const DrawingProgress& progress, int columns) {
  const std::string left = progress.seconds_left >= 0 ? absl::StrFormat("  %.1f s left", progress.seconds_left) : "";
  std::string line = absl::StrFormat("%s  %s  %s%s", progress.what, FormatBar(progress.fraction), progress.done, left);
  if (FirstColumns(line, columns) == line) return line;
  line = absl::StrFormat("%s %3.0f%%%s", progress.what, 100 * std::clamp(progress.fraction, 0.0, 1.0), left);
  return FirstColumns(line, columns);
}

ProgressDisplay::ProgressDisplay(bool enabled, bool pictures, TerminalPalette palette)
    : enabled_(enabled && CanRewrite(STDERR_FILENO)),
      pictures_(enabled_ && pictures && PictureNeeds().empty()),
      palette_(palette) {}

ProgressDisplay::~ProgressDisplay() { Clear(); }

void ProgressDisplay::Show(const DrawingProgress& progress, const GreyImage* picture) {
  if (!enabled_) return;
  if (pictures_ && picture != nullptr) picture_ = Picture(*picture);
  Rewrite(picture_, FormatProgress(progress, TerminalSize(STDERR_FILENO).columns - 1));
}

// As a picture proper where the terminal can, else as text.
std::string ProgressDisplay::Picture(const GreyImage& picture) const {
  if (protocol_ == PictureProtocol::kText) return TerminalPicture(picture, palette_);
  const absl::StatusOr<std::string> drawn =
      DrawPicture(picture, protocol_, CellSize(STDERR_FILENO), PictureStay::kFrame);
  return drawn.ok() ? *drawn : TerminalPicture(picture, palette_);
}

void ProgressDisplay::ShowText(const std::string& text) {
  Clear();
  if (!enabled_) return;
  const size_t last_line = text.rfind('\n') + 1;  // npos + 1 is 0
  Rewrite(text.substr(0, last_line), text.substr(last_line));
}

// Only `line` is cut where the terminal ends: what is above may be escape codes longer than any line.
void ProgressDisplay::Rewrite(const std::string& above, const std::string& line) {
  Rewind();
  std::fputs((above + FirstColumns(line, TerminalSize(STDERR_FILENO).columns - 1)).c_str(), stderr);
  std::fflush(stderr);
  lines_above_ = static_cast<int>(std::count(above.begin(), above.end(), '\n'));
}

void ProgressDisplay::Rewind() {
  const std::string up = lines_above_ > 0 ? absl::StrFormat("\x1b[%dA", lines_above_) : "";
  std::fprintf(stderr, "\r%s\x1b[J", up.c_str());
  lines_above_ = 0;
}

void ProgressDisplay::Clear() {
  if (!enabled_) return;
  if (pictures_) std::fputs(ErasePicture(protocol_).c_str(), stderr);
  Rewind();
  std::fflush(stderr);
}

}  // namespace denoised
