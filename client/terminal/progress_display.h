// File: progress_display.h
//
// What a person at a terminal sees while digits are drawn: the digit as it appears, and a line that says how far it is.
// Drawn over itself on stderr; silent where stderr is no terminal, or one that cannot write over a line.
//
// Thread-compatible.
#ifndef DENOISED_CLIENT_TERMINAL_PROGRESS_DISPLAY_H_
#define DENOISED_CLIENT_TERMINAL_PROGRESS_DISPLAY_H_

#include <cstdint>
#include <string>

#include "client/terminal/terminal_graphics.h"
#include "client/terminal/terminal_picture.h"
#include "common/image/image.h"

namespace denoised {

struct DrawingProgress {
  std::string what;          // "digit 7"
  double fraction = 0;       // 0 to 1, of all steps of all images
  std::string done;          // "step 420/1000" or "3 of 10 drawn"
  double seconds_left = -1;  // negative: not known yet
};

// "3 of 10 drawn"
std::string DrawnText(uint64_t drawn, uint64_t count);

// "digit 7  [########------------]  42%  step 420/1000  1.9 s left"
// or, where that is more than `columns`, "digit 7  42%  1.9 s left", cut if need be.
std::string FormatProgress(const DrawingProgress& progress, int columns = 80);

// What a terminal lacks that cannot show pictures above that line: "a terminal of 33 columns and 18 lines at least, and
// this one has 30 and 10". Empty where it lacks nothing.
std::string PictureNeeds();

class ProgressDisplay {
 public:
  // `enabled`: false shows nothing at all. `pictures`: whether frames are shown above the line.
  ProgressDisplay(bool enabled, bool pictures, TerminalPalette palette);
  ~ProgressDisplay();
  ProgressDisplay(const ProgressDisplay&) = delete;
  ProgressDisplay& operator=(const ProgressDisplay&) = delete;

  // Whether there is anyone to look.
  bool enabled() const { return enabled_; }
  bool pictures() const { return pictures_; }

  // Replaces the line. `picture` replaces the frame above it; null leaves that as it is.
  void Show(const DrawingProgress& progress, const GreyImage* picture);
  // Replaces everything by text, whose last line is cut where the terminal ends.
  void ShowText(const std::string& text);
  // Leaves the terminal as it was.
  void Clear();

 private:
  std::string Picture(const GreyImage& picture) const;
  void Rewrite(const std::string& above, const std::string& line);
  void Rewind();

  const bool enabled_;
  const bool pictures_;
  const TerminalPalette palette_;
  const PictureProtocol protocol_ = DetectPictureProtocol();
  std::string picture_;
  int lines_above_ = 0;  // that are on the screen now
};

}  // namespace denoised

#endif  // DENOISED_CLIENT_TERMINAL_PROGRESS_DISPLAY_H_
