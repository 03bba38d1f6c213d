#include "client/terminal/terminal_sheet.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "client/terminal/terminal_picture.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

constexpr size_t kMostPictures = 10;
constexpr int kColumns = 5;
constexpr int kCellSize = 16;  // five of them are 80 columns

}  // namespace

absl::StatusOr<GreyImage> MakeTerminalSheet(const std::vector<GreyImage>& images) {
  if (images.size() == 1) return Resize(images[0], kModelSize, Interpolation::kLinear);
  std::vector<GreyImage> cells;
  for (size_t i = 0; i < std::min(images.size(), kMostPictures); ++i) {
    DENOISED_ASSIGN_OR_RETURN(GreyImage cell, Resize(images[i], kCellSize, Interpolation::kLinear));
    cells.push_back(std::move(cell));
  }
  return MakeGrid(cells, kColumns, 0, 0);
}

absl::Status PrintPictures(const std::vector<GreyImage>& images, PictureMode mode) {
  if (mode == PictureMode::kNever) return absl::OkStatus();
  if (mode == PictureMode::kAuto && isatty(STDOUT_FILENO) != 1) return absl::OkStatus();
  DENOISED_ASSIGN_OR_RETURN(const GreyImage sheet, MakeTerminalSheet(images));
  std::fputs(TerminalPicture(sheet, DetectTerminalPalette()).c_str(), stdout);
  return absl::OkStatus();
}

}  // namespace denoised
