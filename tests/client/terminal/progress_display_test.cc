#include "client/terminal/progress_display.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace denoised
