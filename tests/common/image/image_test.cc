#include "common/image/image.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <numeric>

#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

using testing::ElementsAre;

GreyImage Ramp(int size) {
  GreyImage image{.width = size, .height = size, .pixels = std::vector<uint8_t>(static_cast<size_t>(size) * size)};
  std::iota(image.pixels.begin(), image.pixels.end(), uint8_t{0});
  return image;
}

TEST(ModelPixelsTest, BytesSpanMinusOneToOneAndClamp) {
  const std::vector<float> pixels = {-1, 1, 0, -7, 7, -std::numeric_limits<float>::infinity()};
  EXPECT_THAT(FromModelPixels(pixels, 6, 1).pixels, ElementsAre(0, 255, 128, 0, 255, 0));  // 127.5 to even
}

TEST(ModelPixelsTest, WhatIsNearlyBlackIsBlack) {
  const std::vector<float> pixels = ToModelPixels({.width = 5, .height = 1, .pixels = {0, 1, 3, 4, 255}});
  EXPECT_THAT(FromModelPixels(pixels, 5, 1, 4).pixels, ElementsAre(0, 0, 0, 4, 255));
}

TEST(ModelPixelsTest, EveryByteComesBack) {
  const GreyImage image = Ramp(16);
  EXPECT_EQ(FromModelPixels(ToModelPixels(image), 16, 16), image);
}

TEST(MakeGridTest, PlacesPicturesRowByRow) {
  const GreyImage one{.width = 1, .height = 1, .pixels = {1}};
  const GreyImage two{.width = 1, .height = 1, .pixels = {2}};
  const GreyImage grid = *MakeGrid({one, two, one}, 2, 1, 9);
  EXPECT_EQ(grid.width, 5);
  EXPECT_EQ(grid.height, 5);
  EXPECT_THAT(grid.pixels, ElementsAre(9, 9, 9, 9, 9, 9, 1, 9, 2, 9, 9, 9, 9, 9, 9, 9, 1, 9, 9, 9, 9, 9, 9, 9, 9));
}

TEST(MakeGridTest, RefusesNothingAndMixedSizes) {
  EXPECT_THAT(MakeGrid({}, 2, 1, 0),
              StatusIs(absl::StatusCode::kInvalidArgument, "a grid needs at least one image and one column"));
  EXPECT_THAT(MakeGrid({Ramp(2), Ramp(3)}, 2, 1, 0),
              StatusIs(absl::StatusCode::kInvalidArgument, "the images of a grid must all have one size"));
}

}  // namespace
}  // namespace denoised
