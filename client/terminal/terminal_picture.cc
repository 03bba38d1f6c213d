#include "client/terminal/terminal_picture.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace denoised {
namespace {

constexpr char kRamp[] = " .:-=+*#%@";
constexpr char kUpperHalfBlock[] = "\xe2\x96\x80";  // U+2580: foreground above, background below

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool LocaleIsUtf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    std::string value = Variable(name);
    if (value.empty()) continue;
    std::transform(value.begin(), value.end(), value.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return value.find("utf-8") != std::string::npos || value.find("utf8") != std::string::npos;
  }
  return false;
}

// The palette's index of a grey: 16 is black, 232 to 255 are 8 to 238 in steps of 10, 231 is white.
int Grey24Index(int grey) {
  if (grey < 4) return 16;
  if (grey > 246) return 231;
  return 232 + std::clamp((grey - 3) / 10, 0, 23);
}

std::string Colors(TerminalPalette palette, int above, int below) {
  if (palette == TerminalPalette::kTrueColor) {
    return absl::StrFormat("\x1b[38;2;%d;%d;%d;48;2;%d;%d;%dm", above, above, above, below, below, below);
  }
  return absl::StrFormat("\x1b[38;5;%d;48;5;%dm", Grey24Index(above), Grey24Index(below));
}

}  // namespace

TerminalPalette DetectTerminalPalette() {
  const std::string term = Variable("TERM");
  if (!Variable("NO_COLOR").empty() || term.empty() || term == "dumb" || !LocaleIsUtf8()) {
    return TerminalPalette::kAscii;
  }
  const std::string color = Variable("COLORTERM");
  return color == "truecolor" || color == "24bit" ? TerminalPalette::kTrueColor : TerminalPalette::kGrey24;
}

std::string TerminalPicture(const GreyImage& image, TerminalPalette palette) {
  const auto pixel = [&image](int y, int x) -> int { return y < image.height ? image.pixels[y * image.width + x] : 0; };
  std::string text;
  for (int y = 0; y < image.height; y += 2) {
    std::string colors;
    for (int x = 0; x < image.width; ++x) {
      const int above = pixel(y, x);
      const int below = pixel(y + 1, x);
      if (palette == TerminalPalette::kAscii) {
        text += kRamp[(above + below) / 2 * 10 / 256];
        continue;
      }
      if (std::string wanted = Colors(palette, above, below); wanted != colors) {
        text += wanted;
        colors = std::move(wanted);
      }
      text += kUpperHalfBlock;
    }
    text += palette == TerminalPalette::kAscii ? "\n" : "\x1b[0m\n";
  }
  return text;
}

}  // namespace denoised
