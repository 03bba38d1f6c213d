#include "client/terminal/terminal_graphics.h"

#include <sys/ioctl.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/image/png.h"
#include "common/image/resize.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

constexpr int kColumns = 32, kRows = 16;
constexpr int kSixelGreys = 16;
constexpr int kBandHeight = 6;        // rows of pixels in a line of sixels
constexpr size_t kKittyChunk = 4096;  // bytes of base64 in one sequence at most
constexpr int kKittyFrame = 7;        // an id, by which the next frame replaces this one

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string KittyPicture(const std::string& png, PictureStay stay) {
  const std::string id = stay == PictureStay::kFrame ? absl::StrCat("i=", kKittyFrame, ",p=1,") : "";
  const std::string data = absl::Base64Escape(png);
  std::string text;
  for (size_t at = 0; at < data.size(); at += kKittyChunk) {
    const int more = at + kKittyChunk < data.size() ? 1 : 0;
    // Place it in so many columns and rows, leave the cursor, and answer nothing.
    const std::string how = at == 0 ? absl::StrFormat("a=T,f=100,%sq=2,C=1,c=%d,r=%d,", id, kColumns, kRows) : "";
    absl::StrAppend(&text, "\x1b_G", how, "m=", more, ";", data.substr(at, kKittyChunk), "\x1b\\");
  }
  return text + std::string(kRows, '\n');
}

int Level(uint8_t grey) { return (grey * (kSixelGreys - 1) + 127) / 255; }

// Repeats a sixel, whose lowest bit is the uppermost pixel.
void AppendRun(std::string& text, int sixel, int length) {
  const char letter = static_cast<char>('?' + sixel);
  if (length > 3) {
    absl::StrAppend(&text, "!", length, std::string(1, letter));
  } else {
    text.append(static_cast<size_t>(length), letter);
  }
}

// The pixels of one level in the band that begins at `top`; empty if there are none.
std::string BandOfLevel(const GreyImage& image, int top, int level) {
  std::string text;
  int last = 0, length = 0;
  bool any = false;
  for (int x = 0; x < image.width; ++x) {
    int sixel = 0;
    for (int y = top; y < std::min(top + kBandHeight, image.height); ++y) {
      if (Level(image.pixels[static_cast<size_t>(y) * image.width + x]) == level) sixel |= 1 << (y - top);
    }
    any = any || sixel != 0;
    if (sixel != last && length > 0) {
      AppendRun(text, last, length);
      length = 0;
    }
    last = sixel;
    ++length;
  }
  AppendRun(text, last, length);
  return any ? text : "";
}

// The lines are made before, so that nothing scrolls in between; the cursor goes back to where it was.
std::string SixelPicture(const GreyImage& image) {
  return absl::StrCat(std::string(kRows, '\n'), "\x1b[", kRows,
                      "A\x1b"
                      "7",
                      Sixels(image),
                      "\x1b"
                      "8\x1b[",
                      kRows, "B");
}

}  // namespace

PictureProtocol DetectPictureProtocol() {
  const std::string term = Variable("TERM"), program = Variable("TERM_PROGRAM");
  if (!Variable("TMUX").empty() || absl::StartsWith(term, "screen") || absl::StartsWith(term, "tmux")) {
    return PictureProtocol::kText;
  }
  const bool kitty = absl::StrContains(term, "kitty") || absl::StrContains(term, "ghostty") || program == "ghostty" ||
                     program == "WezTerm";
  if (kitty) return PictureProtocol::kKitty;
  const bool sixel = absl::StrContains(term, "sixel") || absl::StartsWith(term, "foot") ||
                     absl::StartsWith(term, "mlterm") || program == "iTerm.app";
  return sixel ? PictureProtocol::kSixel : PictureProtocol::kText;
}

CellExtent CellSize(int descriptor) {
  winsize size{};
  const bool told = ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0 &&
                    size.ws_xpixel >= size.ws_col && size.ws_ypixel >= size.ws_row;
  return told ? CellExtent{.width = size.ws_xpixel / size.ws_col, .height = size.ws_ypixel / size.ws_row}
              : CellExtent{};
}

absl::StatusOr<std::string> DrawPicture(const GreyImage& image, PictureProtocol protocol, const CellExtent& cell,
                                        PictureStay stay) {
  if (protocol == PictureProtocol::kKitty) {
    DENOISED_ASSIGN_OR_RETURN(const std::string png, EncodePng(image));
    return KittyPicture(png, stay);
  }
  const int pixels = std::clamp(std::min(kColumns * cell.width, kRows * cell.height), kModelSize, 1024);
  DENOISED_ASSIGN_OR_RETURN(const GreyImage sized, Resize(image, pixels, Interpolation::kCubic));
  return SixelPicture(sized);
}

std::string Sixels(const GreyImage& image) {
  std::string text = absl::StrFormat("\x1bPq\"1;1;%d;%d", image.width, image.height);
  for (int level = 0; level < kSixelGreys; ++level) {
    const int percent = 100 * level / (kSixelGreys - 1);
    absl::StrAppendFormat(&text, "#%d;2;%d;%d;%d", level, percent, percent, percent);
  }
  for (int top = 0; top < image.height; top += kBandHeight) {
    for (int level = 0; level < kSixelGreys; ++level) {
      const std::string band = BandOfLevel(image, top, level);
      if (!band.empty()) absl::StrAppend(&text, "#", level, band, "$");  // back to the band's beginning
    }
    text += '-';
  }
  return text + "\x1b\\";
}

std::string ErasePicture(PictureProtocol protocol) {
  return protocol == PictureProtocol::kKitty ? absl::StrFormat("\x1b_Ga=d,d=i,i=%d,q=2\x1b\\", kKittyFrame) : "";
}

}  // namespace denoised
