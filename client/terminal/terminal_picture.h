// File: terminal_picture.h
//
// Greyscale pictures as text: half blocks in shades of grey where the terminal can, letters of growing ink elsewhere.
//
// Pure functions, but for DetectTerminalPalette, which reads the environment.
#ifndef DENOISED_CLIENT_TERMINAL_TERMINAL_PICTURE_H_
#define DENOISED_CLIENT_TERMINAL_TERMINAL_PICTURE_H_

#include <string>

#include "common/image/image.h"

namespace denoised {

enum class TerminalPalette {
  kTrueColor,  // 256 greys
  kGrey24,     // the 24 greys, black and white of the 256-colour palette
  kAscii,      // " .:-=+*#%@"
};

// kAscii when NO_COLOR is set, TERM is missing or "dumb", or the locale is not UTF-8; kTrueColor when COLORTERM says
// so.
TerminalPalette DetectTerminalPalette();

// One column for each pixel, one line for two rows of pixels; each line ends in a line break and leaves no colour set.
// kAscii averages the two rows.
std::string TerminalPicture(const GreyImage& image, TerminalPalette palette);

}  // namespace denoised

#endif  // DENOISED_CLIENT_TERMINAL_TERMINAL_PICTURE_H_
