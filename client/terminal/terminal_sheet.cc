#include "client/terminal/terminal_sheet.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>

#include "client/terminal/terminal_graphics.h"
#include "client/terminal/terminal_picture.h"
#include "common/command_line/terminal.h"
#include "common/image/resize.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

constexpr size_t kMostPictures = 10;
constexpr int kMostColumns = 5;
constexpr int kCellSize = 16;  // five of them are 80 columns
constexpr int kLeastSize = 8;  // below that no digit can be told

}  // namespace

absl::StatusOr<GreyImage> MakeTerminalSheet(const std::vector<GreyImage>& images, int columns) {
  if (images.size() == 1) {
    return Resize(images[0], std::clamp(columns, kLeastSize, kModelSize), Interpolation::kLinear);
  }
  std::vector<GreyImage> cells;
  for (size_t i = 0; i < std::min(images.size(), kMostPictures); ++i) {
    DENOISED_ASSIGN_OR_RETURN(GreyImage cell, Resize(images[i], kCellSize, Interpolation::kLinear));
    cells.push_back(std::move(cell));
  }
  return MakeGrid(cells, std::clamp(columns / kCellSize, 1, kMostColumns), 0, 0);
}

absl::Status PrintPictures(const std::vector<GreyImage>& images, PictureMode mode) {
  if (mode == PictureMode::kNever) return absl::OkStatus();
  if (mode == PictureMode::kAuto && isatty(STDOUT_FILENO) != 1) return absl::OkStatus();
  const PictureProtocol protocol = DetectPictureProtocol();
  if (images.size() == 1 && protocol != PictureProtocol::kText && isatty(STDOUT_FILENO) == 1) {
    DENOISED_ASSIGN_OR_RETURN(const std::string drawn,
                              DrawPicture(images[0], protocol, CellSize(STDOUT_FILENO), PictureStay::kForGood));
    std::fputs(drawn.c_str(), stdout);
    return absl::OkStatus();
  }
  DENOISED_ASSIGN_OR_RETURN(const GreyImage sheet, MakeTerminalSheet(images, TerminalSize(STDOUT_FILENO).columns));
  std::fputs(TerminalPicture(sheet, DetectTerminalPalette()).c_str(), stdout);
  return absl::OkStatus();
}

}  // namespace denoised
