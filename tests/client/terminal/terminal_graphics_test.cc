#include "client/terminal/terminal_graphics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cctype>
#include <cstdlib>
#include <map>

#include "absl/strings/escaping.h"
#include "common/image/png.h"
#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

using testing::StartsWith;

GreyImage Slope(int size) {
  GreyImage image{.width = size, .height = size, .pixels = {}};
  for (int y = 0; y < size; ++y) {
    for (int x = 0; x < size; ++x) image.pixels.push_back(static_cast<uint8_t>(255 * (x + y) / (2 * size - 2)));
  }
  return image;
}

// What a terminal makes of sixels: a grey in percent for each pixel, or -1.
std::vector<int> Read(const std::string& text, int width, int height) {
  std::vector<int> pixels(static_cast<size_t>(width) * height, -1);
  std::map<int, int> greys;
  size_t at = text.find('#');
  const auto number = [&] {
    int value = 0;
    for (; std::isdigit(static_cast<unsigned char>(text[at])) != 0; ++at) value = 10 * value + (text[at] - '0');
    return value;
  };
  int x = 0, top = 0, level = 0;
  while (text[at] != '\x1b') {
    const char c = text[at++];
    int times = 1;
    if (c == '#') {
      level = number();
      if (text[at] == ';') {
        at += 3;  // ";2;"
        greys[level] = number();
        while (text[at] == ';') ++at, number();
      }
      continue;
    }
    if (c == '$' || c == '-') {
      x = 0;
      top += c == '-' ? 6 : 0;
      continue;
    }
    char sixel = c;
    if (c == '!') {
      times = number();
      sixel = text[at++];
    }
    for (; times > 0; --times, ++x) {
      for (int bit = 0; bit < 6; ++bit) {
        if (((sixel - '?') >> bit & 1) != 0) pixels.at(static_cast<size_t>(top + bit) * width + x) = greys.at(level);
      }
    }
  }
  return pixels;
}

TEST(SixelsTest, EveryPixelHasTheNearestOfSixteenGreys) {
  const GreyImage image = Slope(32);  // its last band has two rows
  const std::string text = Sixels(image);
  EXPECT_THAT(text, StartsWith("\x1bPq\"1;1;32;32#0;2;0;0;0#1;2;6;6;6"));
  const std::vector<int> read = Read(text, 32, 32);
  for (size_t i = 0; i < read.size(); ++i) EXPECT_NEAR(read[i], image.pixels[i] / 2.55, 4.5) << i;
}

TEST(DrawPictureTest, SixelsFillTheCellsOfHalfBlocks) {
  const absl::StatusOr<std::string> text =
      DrawPicture(Slope(32), PictureProtocol::kSixel, {.width = 10, .height = 20}, PictureStay::kForGood);
  ASSERT_THAT(text, IsOk());
  EXPECT_THAT(*text, StartsWith(std::string(16, '\n') + "\x1b[16A\x1b"
                                                        "7\x1bPq\"1;1;320;320#"));
  EXPECT_THAT(*text, testing::EndsWith("\x1b\\\x1b"
                                       "8\x1b[16B"));
}

TEST(DrawPictureTest, KittyGetsThePngInPieces) {
  GreyImage noise = Slope(128);
  for (size_t i = 0; i < noise.pixels.size(); ++i) noise.pixels[i] = static_cast<uint8_t>(i * i * 2654435761u >> 13);
  const absl::StatusOr<std::string> text = DrawPicture(noise, PictureProtocol::kKitty, {}, PictureStay::kFrame);
  ASSERT_THAT(text, IsOk());
  EXPECT_THAT(*text, StartsWith("\x1b_Ga=T,f=100,i=7,p=1,q=2,C=1,c=32,r=16,m=1;"));
  std::string data;
  for (size_t at = text->find(';'); at != std::string::npos; at = text->find(";", at)) {
    const size_t end = text->find('\x1b', ++at);
    EXPECT_LE(end - at, 4096u);
    data += text->substr(at, end - at);
  }
  std::string png;
  ASSERT_TRUE(absl::Base64Unescape(data, &png));
  EXPECT_EQ(png, *EncodePng(noise));
  EXPECT_THAT(*text, testing::EndsWith("\x1b\\" + std::string(16, '\n')));
  EXPECT_THAT(*DrawPicture(noise, PictureProtocol::kKitty, {}, PictureStay::kForGood),
              StartsWith("\x1b_Ga=T,f=100,q=2,C=1,c=32,r=16,m=1;"));
}

TEST(DetectPictureProtocolTest, TerminalsAreKnownByTheirVariables) {
  const auto detect = [](const char* term, const char* program, const char* tmux) {
    setenv("TERM", term, 1);
    setenv("TERM_PROGRAM", program, 1);
    setenv("TMUX", tmux, 1);
    return DetectPictureProtocol();
  };
  EXPECT_EQ(detect("xterm-kitty", "", ""), PictureProtocol::kKitty);
  EXPECT_EQ(detect("xterm-256color", "WezTerm", ""), PictureProtocol::kKitty);
  EXPECT_EQ(detect("foot", "", ""), PictureProtocol::kSixel);
  EXPECT_EQ(detect("xterm-256color", "", ""), PictureProtocol::kText);
  EXPECT_EQ(detect("xterm-kitty", "", "/tmp/tmux"), PictureProtocol::kText);
  EXPECT_EQ(detect("screen", "WezTerm", ""), PictureProtocol::kText);
}

}  // namespace
}  // namespace denoised
