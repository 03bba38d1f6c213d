#include "common/image/resize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <opencv2/imgproc.hpp>
#include <random>

#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

using testing::ElementsAre;

constexpr Interpolation kAll[] = {Interpolation::kNearest, Interpolation::kLinear, Interpolation::kCubic,
                                  Interpolation::kLanczos};

GreyImage Noise(int width, int height) {
  std::mt19937 random(static_cast<unsigned>(width * 1000 + height));
  GreyImage image{.width = width, .height = height, .pixels = {}};
  for (int i = 0; i < width * height; ++i) image.pixels.push_back(static_cast<uint8_t>(random()));
  return image;
}

GreyImage ByOpenCv(const GreyImage& image, int size, int interpolation) {
  cv::Mat resized;
  cv::resize(cv::Mat(image.height, image.width, CV_8UC1, const_cast<uint8_t*>(image.pixels.data())), resized,
             cv::Size(size, size), 0, 0, interpolation);
  return {.width = size, .height = size, .pixels = {resized.datastart, resized.dataend}};
}

int LargestDifference(const GreyImage& a, const GreyImage& b) {
  int largest = 0;
  for (size_t i = 0; i < a.pixels.size(); ++i) largest = std::max(largest, std::abs(a.pixels[i] - b.pixels[i]));
  return largest;
}

TEST(ResizeTest, SameSizeIsUntouched) {
  const GreyImage image = Noise(32, 32);
  EXPECT_EQ(*Resize(image, 32, Interpolation::kLanczos), image);
}

TEST(ResizeTest, NearestRepeatsPixels) {
  const GreyImage image{.width = 2, .height = 2, .pixels = {1, 2, 3, 4}};
  EXPECT_THAT(Resize(image, 4, Interpolation::kNearest)->pixels,
              ElementsAre(1, 1, 2, 2, 1, 1, 2, 2, 3, 3, 4, 4, 3, 3, 4, 4));
}

// Half-pixel centres: output pixel i samples (i + 0.5) / 2 - 0.5, clamped at the edge.
TEST(ResizeTest, LinearHasHalfPixelCentres) {
  const GreyImage image{.width = 2, .height = 2, .pixels = {0, 100, 0, 100}};
  const GreyImage sized = *Resize(image, 4, Interpolation::kLinear);
  EXPECT_THAT(std::vector<uint8_t>(sized.pixels.begin(), sized.pixels.begin() + 4), ElementsAre(0, 25, 75, 100));
}

TEST(ResizeTest, EveryInterpolationKeepsAFlatImageFlat) {
  const GreyImage flat{.width = 32, .height = 32, .pixels = std::vector<uint8_t>(1024, 77)};
  for (const Interpolation interpolation :
       {Interpolation::kNearest, Interpolation::kLinear, Interpolation::kCubic, Interpolation::kLanczos}) {
    EXPECT_THAT(Resize(flat, 100, interpolation)->pixels, testing::Each(77));
  }
}

// The training images and their figures were made so.
TEST(ResizeTest, LinearIsWhatOpenCvMakesOfIt) {
  for (const int from : {8, 28, 32}) {
    const GreyImage image = Noise(from, from);
    for (int size = from + 1; size < 300; ++size) {
      ASSERT_EQ(*Resize(image, size, Interpolation::kLinear), ByOpenCv(image, size, cv::INTER_LINEAR))
          << from << " to " << size;
    }
  }
}

TEST(ResizeTest, NearestIsWhatOpenCvMakesOfIt) {
  for (int size = 32; size <= 1024; size += 32) {
    ASSERT_EQ(*Resize(Noise(32, 32), size, Interpolation::kNearest), ByOpenCv(Noise(32, 32), size, cv::INTER_NEAREST))
        << size;
  }
}

// OpenCV rounds these as its processor's instructions have it.
TEST(ResizeTest, CubicAndLanczosAreOpenCvsToARounding) {
  for (int size = 33; size < 300; ++size) {
    ASSERT_LE(LargestDifference(*Resize(Noise(32, 32), size, Interpolation::kCubic),
                                ByOpenCv(Noise(32, 32), size, cv::INTER_CUBIC)),
              1)
        << size;
    ASSERT_LE(LargestDifference(*Resize(Noise(32, 32), size, Interpolation::kLanczos),
                                ByOpenCv(Noise(32, 32), size, cv::INTER_LANCZOS4)),
              1)
        << size;
  }
}

// Bright beside dark is where cubic and Lanczos go beyond 0 and 255.
TEST(ResizeTest, OvershootIsCutOff) {
  GreyImage edge{.width = 8, .height = 8, .pixels = std::vector<uint8_t>(64, 0)};
  for (size_t i = 0; i < 64; ++i) edge.pixels[i] = i % 8 < 4 ? 0 : 255;
  for (const Interpolation interpolation : kAll) {
    const GreyImage sized = *Resize(edge, 64, interpolation);
    EXPECT_EQ(sized.pixels[0], 0);
    EXPECT_EQ(sized.pixels[63], 255);
  }
}

TEST(ResizeTest, OtherThanSquareAndSmallerThanTheFilter) {
  for (const Interpolation interpolation : kAll) {
    EXPECT_THAT(Resize(Noise(1, 1), 3, interpolation)->pixels, testing::Each(Noise(1, 1).pixels[0]));
    const GreyImage sized = *Resize(Noise(3, 7), 5, interpolation);
    EXPECT_EQ(sized.pixels.size(), 25u);
  }
}

TEST(ResizeTest, WhatCannotBeIsSaid) {
  EXPECT_THAT(Resize(GreyImage{}, 8, Interpolation::kCubic),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "cannot resize an image of 0x0 pixels to 8x8, which must be 1 to 16384"));
  EXPECT_THAT(Resize(Noise(4, 4), 0, Interpolation::kNearest), testing::Not(IsOk()));
  EXPECT_THAT(Resize(Noise(4, 4), 16385, Interpolation::kNearest), testing::Not(IsOk()));
}

}  // namespace
}  // namespace denoised
