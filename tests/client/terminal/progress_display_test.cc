#include "client/terminal/progress_display.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/testing/pseudo_terminal.h"

namespace denoised {
namespace {

DrawingProgress Progress(double fraction, double seconds_left) {
  DrawingProgress progress;
  progress.what = "digit 7";
  progress.fraction = fraction;
  progress.done = "step 420/1000";
  progress.seconds_left = seconds_left;
  return progress;
}

// What a terminal of that name gets that shows a picture and, below it, a line.
std::string Shown(const char* terminal_name) {
  setenv("TERM", terminal_name, 1);
  GreyImage picture{.width = 32, .height = 32, .pixels = std::vector<uint8_t>(32 * 32)};
  for (size_t i = 0; i < picture.pixels.size(); ++i) picture.pixels[i] = static_cast<uint8_t>(i * 37);
  PseudoTerminal terminal({.ws_row = 24, .ws_col = 60, .ws_xpixel = 600, .ws_ypixel = 480});
  return terminal.WhatStderrGets([&] {
    ProgressDisplay(/*enabled=*/true, /*pictures=*/true, TerminalPalette::kAscii).Show(Progress(0.5, 1), &picture);
  });
}

TEST(FormatProgressTest, SaysHowFarAndHowLong) {
  EXPECT_EQ(FormatProgress(Progress(0.42, 1.94)), "digit 7  [########------------]  42%  step 420/1000  1.9 s left");
}

TEST(FormatProgressTest, LeavesOutATimeThatNobodyKnows) {
  EXPECT_EQ(FormatProgress(Progress(0, -1)), "digit 7  [--------------------]   0%  step 420/1000");
}

TEST(FormatProgressTest, FitsALineWhateverTheFraction) {
  EXPECT_EQ(FormatProgress(Progress(1.5, 0)), "digit 7  [####################] 100%  step 420/1000  0.0 s left");
  EXPECT_EQ(FormatProgress(Progress(-1, 0)), "digit 7  [--------------------]   0%  step 420/1000  0.0 s left");
}

TEST(ProgressDisplayTest, IsSilentWithoutATerminal) {
  testing::internal::CaptureStderr();
  {
    ProgressDisplay display(/*enabled=*/true, /*pictures=*/true, TerminalPalette::kAscii);
    EXPECT_FALSE(display.enabled());
    EXPECT_FALSE(display.pictures());
    display.Show(Progress(0.5, 1), nullptr);
    display.ShowText("waiting");
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

// Seen in xterm: of a frame of sixels came the first columns only, and the next one overwrote what stood above.
TEST(ProgressDisplayTest, PicturesReachTheTerminalWhole) {
  EXPECT_THAT(Shown("xterm-sixel"), testing::ContainsRegex("\x1bP.{3000,}\x1b\\\\.*\\[16Bdigit 7 .*1\\.0 s left"));
  EXPECT_THAT(Shown("xterm-kitty"), testing::ContainsRegex("\x1b_G.{200,}\x1b\\\\\n{16}digit 7 .*1\\.0 s left"));
  EXPECT_THAT(Shown("vt100"), testing::ContainsRegex("([^\n]{32}\n){16}digit 7 .*1\\.0 s left"));
}

}  // namespace
}  // namespace denoised
