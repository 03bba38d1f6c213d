#include "trainer/evaluation/evaluation_sheets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "common/image/image.h"
#include "common/image/png.h"
#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

// Images of one grey value each.
std::vector<uint8_t> Plain(const std::vector<uint8_t>& greys) {
  std::vector<uint8_t> pixels;
  for (const uint8_t grey : greys) pixels.insert(pixels.end(), kModelPixels, grey);
  return pixels;
}

int64_t PixelsOf(const GreyImage& sheet, uint8_t grey) {
  return std::count(sheet.pixels.begin(), sheet.pixels.end(), grey);
}

constexpr int64_t kPicturePixels = int64_t{4} * kModelPixels;  // enlarged twice

TEST(DrawContactSheetTest, RowOfADigitHoldsItsFirstImages) {
  std::vector<uint8_t> greys(25, 100), labels(25, 3);
  greys.push_back(200);
  labels.push_back(7);
  const absl::StatusOr<GreyImage> sheet = DecodePng(*DrawContactSheet(Plain(greys), labels));
  ASSERT_THAT(sheet, IsOk());
  EXPECT_EQ(PixelsOf(*sheet, 100), 20 * kPicturePixels) << "20 of the 25 threes";
  EXPECT_EQ(PixelsOf(*sheet, 200), kPicturePixels);
  // The row of threes is the fourth of ten, the seven stands first in the eighth.
  const auto at = [&](int x, int y) { return sheet->pixels[y * sheet->width + x]; };
  const int row = sheet->height / 10;
  EXPECT_EQ(at(row / 2, 3 * row + row / 2), 100);
  EXPECT_EQ(at(row / 2, 7 * row + row / 2), 200);
  EXPECT_NE(at(row / 2, 6 * row + row / 2), 200);
}

TEST(DrawNeighbourSheetTest, ShowsTheClosestFirstAndTheClosestOfEachDigit) {
  // 18 zeros and 2 ones; image i is i away from training image 0, which is white, and further from 1.
  std::vector<uint8_t> greys, labels;
  std::vector<Neighbours> neighbours;
  for (int i = 0; i < 20; ++i) {
    greys.push_back(static_cast<uint8_t>(100 + i));
    labels.push_back(i < 18 ? 0 : 1);
    neighbours.push_back({.nearest = 0, .second = 1, .nearest_distance = i + 1.0, .second_distance = 30});
  }
  const std::vector<uint8_t> pixels = Plain(greys), training = Plain({255, 90});
  const NeighbourSet set = {"images", pixels, labels, neighbours};
  const absl::StatusOr<GreyImage> sheet = DecodePng(*DrawNeighbourSheet(set, set, training));
  ASSERT_THAT(sheet, IsOk());
  // In each of the two columns: the 16 closest, then a zero, the closest of all, and a one.
  EXPECT_GE(PixelsOf(*sheet, 100), 2 * 2 * kPicturePixels) << "the closest stands in both parts";
  EXPECT_GE(PixelsOf(*sheet, 115), 2 * kPicturePixels);
  EXPECT_LT(PixelsOf(*sheet, 116), kPicturePixels) << "the 17th zero is not shown";
  EXPECT_GE(PixelsOf(*sheet, 118), 2 * kPicturePixels) << "the closest one is";
  EXPECT_LT(PixelsOf(*sheet, 119), kPicturePixels);
  EXPECT_EQ(PixelsOf(*sheet, 255), 2 * 18 * kPicturePixels) << "beside each its nearest";
  EXPECT_GE(PixelsOf(*sheet, 90), 2 * 18 * kPicturePixels) << "and its second nearest";
}

TEST(DrawNeighbourSheetTest, FewImagesLeaveRoom) {
  const std::vector<uint8_t> pixels = Plain({100}), labels = {5}, training = Plain({255, 90});
  const std::vector<Neighbours> neighbours = {{.nearest = 1, .second = 0, .nearest_distance = 0, .second_distance = 0}};
  const NeighbourSet set = {"images", pixels, labels, neighbours};
  EXPECT_THAT(DrawNeighbourSheet(set, set, training), IsOk());
}

}  // namespace
}  // namespace denoised
