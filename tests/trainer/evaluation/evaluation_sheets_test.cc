#include "trainer/evaluation/evaluation_sheets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "common/image/image.h"
#include "common/image/png.h"
#include "tests/testing/status_matchers.h"
#include "trainer/data/class_names.h"

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

// Brighter than writing, so that its pixels can be counted.
constexpr uint8_t kBright = 230, kWhite = 255;

// Rows of the sheet, as pixels, in which a grey value stands, the first and the last.
std::pair<int64_t, int64_t> RowsWith(const GreyImage& sheet, uint8_t grey) {
  const auto first = std::find(sheet.pixels.begin(), sheet.pixels.end(), grey) - sheet.pixels.begin();
  const auto last = sheet.pixels.rend() - std::find(sheet.pixels.rbegin(), sheet.pixels.rend(), grey) - 1;
  return {first / sheet.width, last / sheet.width};
}

TEST(DrawContactSheetTest, RowOfAClassHoldsItsFirstImages) {
  std::vector<uint8_t> greys(25, kBright), labels(25, 3);
  greys.push_back(kWhite);
  labels.push_back(7);
  const absl::StatusOr<GreyImage> sheet = DecodePng(*DrawContactSheet(Plain(greys), labels, NumbersAsNames(10)));
  ASSERT_THAT(sheet, IsOk());
  EXPECT_EQ(PixelsOf(*sheet, kBright), 20 * kPicturePixels) << "20 of the 25 threes";
  EXPECT_EQ(PixelsOf(*sheet, kWhite), kPicturePixels);
  // The row of threes is the fourth of ten, the seven stands in the eighth.
  const int row = sheet->height / 10;
  EXPECT_THAT(RowsWith(*sheet, kBright), testing::Pair(testing::Gt(3 * row), testing::Lt(4 * row + 4)));
  EXPECT_THAT(RowsWith(*sheet, kWhite), testing::Pair(testing::Gt(7 * row), testing::Lt(8 * row + 4)));
}

// Whatever the number of classes, all are there, and the sheet is no ribbon.
TEST(DrawContactSheetTest, ManyClassesStandInSeveralColumns) {
  for (const int classes : {26, 47, 256}) {
    std::vector<uint8_t> greys(classes, kBright), labels(classes);
    std::iota(labels.begin(), labels.end(), 0);
    const absl::StatusOr<GreyImage> sheet = DecodePng(*DrawContactSheet(Plain(greys), labels, NumbersAsNames(classes)));
    ASSERT_THAT(sheet, IsOk());
    EXPECT_EQ(PixelsOf(*sheet, kBright), classes * kPicturePixels);
    EXPECT_LT(sheet->height, 3000) << classes;
    EXPECT_LT(sheet->width, 3000) << classes;
  }
}

TEST(DrawContactSheetTest, NamesMayBeLongOrInOtherLetters) {
  const std::vector<std::string> names = {std::string(64, 'w'), "\u304a"};
  const absl::StatusOr<GreyImage> sheet = DecodePng(*DrawContactSheet(Plain({kBright, kWhite}), {0, 1}, names));
  ASSERT_THAT(sheet, IsOk());
  EXPECT_LT(sheet->width, 1700);
  EXPECT_EQ(PixelsOf(*sheet, kBright), kPicturePixels) << "no name is written over it";
}

TEST(DrawNeighbourSheetTest, ThereIsRoomForTheClosestOfEveryClass) {
  for (const int classes : {2, 26, 256}) {
    std::vector<uint8_t> greys(classes, 100), labels(classes);
    std::iota(labels.begin(), labels.end(), 0);
    greys[classes - 1] = kBright;
    std::vector<Neighbours> neighbours(classes,
                                       {.nearest = 0, .second = 1, .nearest_distance = 1, .second_distance = 2});
    neighbours[classes - 1].nearest_distance = 2;
    const std::vector<uint8_t> pixels = Plain(greys), training = Plain({50, 60});
    const NeighbourSet set = {"images", pixels, labels, neighbours};
    const absl::StatusOr<GreyImage> sheet = DecodePng(*DrawNeighbourSheet(set, set, training));
    ASSERT_THAT(sheet, IsOk());
    EXPECT_EQ(PixelsOf(*sheet, kBright), (classes > 16 ? 2 : 4) * kPicturePixels) << "the last class is there";
  }
}

TEST(DrawNeighbourSheetTest, ShowsTheClosestFirstAndTheClosestOfEachClass) {
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
