// File: terminal_sheet.h
//
// Several pictures at once on a terminal.
//
//   DENOISED_RETURN_IF_ERROR(PrintPictures(images, PictureMode::kAuto));
//
// Errors are those of Resize and MakeGrid in common/image/image.h. MakeTerminalSheet is pure, PrintPictures writes to
// stdout.
#ifndef DENOISED_CLIENT_TERMINAL_TERMINAL_SHEET_H_
#define DENOISED_CLIENT_TERMINAL_TERMINAL_SHEET_H_

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/image/image.h"

namespace denoised {

enum class PictureMode {
  kAuto,  // where stdout is a terminal
  kAlways,
  kNever,
};

// One picture of 32x32 pixels, or the first ten of several: 16x16 pixels each, five to a line. In fewer than 80 columns
// it is fewer to a line, in fewer than 32 one picture is smaller.
absl::StatusOr<GreyImage> MakeTerminalSheet(const std::vector<GreyImage>& images, int columns = 80);

// Prints the sheet of one picture or more as text, one alone as a picture proper where the terminal shows such, or
// nothing, as `mode` says.
absl::Status PrintPictures(const std::vector<GreyImage>& images, PictureMode mode);

}  // namespace denoised

#endif  // DENOISED_CLIENT_TERMINAL_TERMINAL_SHEET_H_
