#include "client/terminal/terminal_picture.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <map>

namespace denoised {
namespace {

TEST(TerminalPictureTest, AsciiAveragesTwoRows) {
  const GreyImage image{.width = 3,
                        .height = 2,
                        .pixels = {0, 255, 255,  //
                                   0, 0, 255}};
  EXPECT_EQ(TerminalPicture(image, TerminalPalette::kAscii), " =@\n");
}

TEST(TerminalPictureTest, HalfBlocksHoldTheUpperPixelInFrontOfTheLower) {
  const GreyImage image{.width = 1, .height = 2, .pixels = {255, 7}};
  EXPECT_EQ(TerminalPicture(image, TerminalPalette::kTrueColor), "\x1b[38;2;255;255;255;48;2;7;7;7m\u2580\x1b[0m\n");
}

TEST(TerminalPictureTest, ColoursAreSetOnlyWhereTheyChange) {
  const GreyImage image{.width = 2, .height = 2, .pixels = {9, 9, 9, 9}};
  EXPECT_EQ(TerminalPicture(image, TerminalPalette::kTrueColor), "\x1b[38;2;9;9;9;48;2;9;9;9m\u2580\u2580\x1b[0m\n");
}

TEST(TerminalPictureTest, OddHeightEndsInBlack) {
  const GreyImage image{.width = 1, .height = 3, .pixels = {255, 255, 255}};
  EXPECT_EQ(TerminalPicture(image, TerminalPalette::kAscii), "@\n=\n");
}

TEST(TerminalPictureTest, Grey24TakesTheNearestOfThePalette) {
  const GreyImage image{.width = 1, .height = 2, .pixels = {0, 255}};
  EXPECT_EQ(TerminalPicture(image, TerminalPalette::kGrey24), "\x1b[38;5;16;48;5;231m\u2580\x1b[0m\n");
  const GreyImage greys{.width = 1, .height = 2, .pixels = {8, 238}};  // 232 and 255 exactly
  EXPECT_EQ(TerminalPicture(greys, TerminalPalette::kGrey24), "\x1b[38;5;232;48;5;255m\u2580\x1b[0m\n");
}

class DetectTerminalPaletteTest : public testing::Test {
 protected:
  DetectTerminalPaletteTest() {
    for (const char* name : {"NO_COLOR", "TERM", "COLORTERM", "LC_ALL", "LC_CTYPE", "LANG"}) unsetenv(name);
  }
  static TerminalPalette Detect(const std::map<std::string, std::string>& environment) {
    for (const auto& [name, value] : environment) setenv(name.c_str(), value.c_str(), 1);
    return DetectTerminalPalette();
  }
};

TEST_F(DetectTerminalPaletteTest, TrueColorWhereTheTerminalSaysSo) {
  EXPECT_EQ(Detect({{"TERM", "xterm-256color"}, {"LANG", "en_US.UTF-8"}, {"COLORTERM", "truecolor"}}),
            TerminalPalette::kTrueColor);
}

TEST_F(DetectTerminalPaletteTest, GreysElsewhere) {
  EXPECT_EQ(Detect({{"TERM", "xterm"}, {"LC_ALL", "C.utf8"}}), TerminalPalette::kGrey24);
}

TEST_F(DetectTerminalPaletteTest, LettersWithoutUtf8) {
  EXPECT_EQ(Detect({{"TERM", "xterm"}, {"LC_ALL", "C"}, {"LANG", "en_US.UTF-8"}}), TerminalPalette::kAscii);
}

TEST_F(DetectTerminalPaletteTest, LettersOnADumbTerminal) {
  EXPECT_EQ(Detect({{"TERM", "dumb"}, {"LANG", "en_US.UTF-8"}}), TerminalPalette::kAscii);
}

TEST_F(DetectTerminalPaletteTest, LettersWhereNoColorIsWanted) {
  EXPECT_EQ(Detect({{"TERM", "xterm"}, {"LANG", "en_US.UTF-8"}, {"NO_COLOR", "1"}}), TerminalPalette::kAscii);
}

}  // namespace
}  // namespace denoised
