// File: terminal_graphics.h
//
// Real pictures in the terminals that can show them, by kitty's graphics protocol or by sixels.
//
//   const PictureProtocol protocol = DetectPictureProtocol();
//   std::fputs(DrawPicture(image, protocol, CellSize(STDOUT_FILENO), PictureStay::kForGood).c_str(), stdout);
//
// A picture takes the place of 32 columns and 16 lines, as one in letters or half blocks does (terminal_picture.h), and
// leaves the cursor at the beginning of the line below it, with a line break for each line. Pure functions, but for
// those that ask environment and terminal.
#ifndef DENOISED_CLIENT_TERMINAL_TERMINAL_GRAPHICS_H_
#define DENOISED_CLIENT_TERMINAL_TERMINAL_GRAPHICS_H_

#include <string>

#include "absl/status/statusor.h"
#include "common/image/image.h"

namespace denoised {

enum class PictureProtocol { kText, kKitty, kSixel };

// By what TERM, TERM_PROGRAM and their like say: kitty's for kitty, Ghostty and WezTerm, sixels for foot, mlterm,
// iTerm2 and a TERM that says so; text within tmux and screen, which pass neither on, and for all others.
PictureProtocol DetectPictureProtocol();

// Pixels of a character.
struct CellExtent {
  int width = 8;
  int height = 16;
};
// As the terminal says, or else 8 by 16.
CellExtent CellSize(int descriptor);

// Whether a picture stays, or is a frame, which the next one takes the place of.
enum class PictureStay { kForGood, kFrame };

// The escape sequences. Not for kText. Errors are those of Resize and EncodePng.
absl::StatusOr<std::string> DrawPicture(const GreyImage& image, PictureProtocol protocol, const CellExtent& cell,
                                        PictureStay stay);

// Sixels of 16 greys (DEC's VT340 Programmer Reference Manual, chapter 14).
std::string Sixels(const GreyImage& image);

// Takes the last frame of kitty's protocol off the screen; empty for others, where clearing the lines does it.
std::string ErasePicture(PictureProtocol protocol);

}  // namespace denoised

#endif  // DENOISED_CLIENT_TERMINAL_TERMINAL_GRAPHICS_H_
