#include "client/terminal/terminal_sheet.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

// Of one grey each: 0, 10, 20 and so on.
std::vector<GreyImage> Pictures(int count, int size) {
  std::vector<GreyImage> images;
  for (int i = 0; i < count; ++i) {
    images.push_back({.width = size,
                      .height = size,
                      .pixels = std::vector<uint8_t>(static_cast<size_t>(size) * size, static_cast<uint8_t>(10 * i))});
  }
  return images;
}

TEST(MakeTerminalSheetTest, OnePictureHasAllTheRoom) {
  const absl::StatusOr<GreyImage> sheet = MakeTerminalSheet(Pictures(1, 64));
  ASSERT_THAT(sheet, IsOk());
  EXPECT_EQ(*sheet, Pictures(1, 32)[0]);
}

TEST(MakeTerminalSheetTest, ShowsTenOfManyInTwoLinesOfFive) {
  const absl::StatusOr<GreyImage> sheet = MakeTerminalSheet(Pictures(12, 64));
  ASSERT_THAT(sheet, IsOk());
  ASSERT_EQ(sheet->width, 80);
  ASSERT_EQ(sheet->height, 32);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(sheet->pixels[(i / 5 * 16) * 80 + i % 5 * 16], 10 * i) << i;
}

std::string Printed(PictureMode mode) {
  testing::internal::CaptureStdout();
  EXPECT_THAT(PrintPictures(Pictures(2, 32), mode), IsOk());
  return testing::internal::GetCapturedStdout();
}

TEST(PrintPicturesTest, PrintsWhereAskedTo) {
  const std::string lines = Printed(PictureMode::kAlways);
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 8) << "two rows of pixels a line";
  EXPECT_EQ(Printed(PictureMode::kNever), "");
  EXPECT_EQ(Printed(PictureMode::kAuto), "") << "stdout is no terminal here";
}

}  // namespace
}  // namespace denoised
