#include "common/image/png.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <opencv2/imgcodecs.hpp>
#include <random>

#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

GreyImage Ramp(int size) {
  GreyImage image{.width = size, .height = size, .pixels = std::vector<uint8_t>(static_cast<size_t>(size) * size)};
  std::iota(image.pixels.begin(), image.pixels.end(), uint8_t{0});
  return image;
}

TEST(PngTest, ComesBackAndIsTheSameEachTime) {
  const std::string png = *EncodePng(Ramp(20));
  EXPECT_EQ(*DecodePng(png), Ramp(20));
  EXPECT_EQ(*EncodePng(Ramp(20)), png);
}

TEST(PngTest, NoiseIsTheLargest) {
  std::minstd_rand random(1);
  for (const int size : {1, 32, 100, 256, 1024}) {
    GreyImage noise{.width = size, .height = size, .pixels = {}};
    for (int i = 0; i < size * size; ++i) noise.pixels.push_back(static_cast<uint8_t>(random() >> 8));
    const absl::StatusOr<std::string> png = EncodePng(noise);
    ASSERT_THAT(png, IsOk());
    EXPECT_GE(png->size(), noise.pixels.size());
    EXPECT_LE(static_cast<int64_t>(png->size()), LargestPngBytes(size, size));
  }
}

TEST(PngTest, OtherBytesAreRefused) {
  EXPECT_THAT(DecodePng("GIF89a"),
              StatusIs(absl::StatusCode::kInvalidArgument, testing::HasSubstr("these bytes are not a PNG image")));
  EXPECT_THAT(DecodePng(""), testing::Not(IsOk()));
  EXPECT_THAT(DecodePng(EncodePng(Ramp(20))->substr(0, 40)), testing::Not(IsOk()));
}

TEST(PngTest, OpenCvReadsTheSamePixels) {
  const GreyImage image = Ramp(33);
  const std::string png = *EncodePng(image);
  const cv::Mat read = cv::imdecode(std::vector<uint8_t>(png.begin(), png.end()), cv::IMREAD_UNCHANGED);
  ASSERT_EQ(read.type(), CV_8UC1);
  EXPECT_EQ(std::vector<uint8_t>(read.datastart, read.dataend), image.pixels);
}

TEST(PngTest, TransparencyIsFoundAndLiesOnBlack) {
  std::vector<uint8_t> bytes;
  const auto png = [&](const cv::Scalar& pixel) {
    EXPECT_TRUE(cv::imencode(".png", cv::Mat(1, 2, CV_8UC4, pixel), bytes));
    return std::string(bytes.begin(), bytes.end());
  };
  EXPECT_FALSE(HasTransparentPixels(png({90, 90, 90, 255})));
  EXPECT_TRUE(HasTransparentPixels(png({90, 90, 90, 254})));
  EXPECT_TRUE(HasTransparentPixels(png({255, 255, 255, 0})));
  EXPECT_EQ(DecodePng(png({255, 255, 255, 0}))->pixels, (std::vector<uint8_t>{0, 0}));
  EXPECT_FALSE(HasTransparentPixels(*EncodePng(Ramp(20))));
  EXPECT_FALSE(HasTransparentPixels("GIF89a"));
}

// As levels, like those of 8 bits: libpng takes them for linear light otherwise, and brightens them.
TEST(PngTest, SixteenBitsAreRoundedToEight) {
  std::vector<uint8_t> png;
  ASSERT_TRUE(cv::imencode(".png", cv::Mat(1, 3, CV_16UC1, cv::Scalar(0x8080)), png));
  EXPECT_EQ(DecodePng({reinterpret_cast<const char*>(png.data()), png.size()})->pixels,
            (std::vector<uint8_t>{128, 128, 128}));
}

TEST(PngTest, ColoursBecomeGrey) {
  std::vector<uint8_t> png;
  ASSERT_TRUE(cv::imencode(".png", cv::Mat(2, 3, CV_8UC3, cv::Scalar(90, 90, 90)), png));
  EXPECT_EQ(*DecodePng({reinterpret_cast<const char*>(png.data()), png.size()}),
            (GreyImage{.width = 3, .height = 2, .pixels = std::vector<uint8_t>(6, 90)}));
}

TEST(PngTest, DamageIsFound) {
  const std::string png = *EncodePng(Ramp(20));
  for (size_t i = 0; i < png.size(); ++i) {
    std::string other = png;
    other[i] = static_cast<char>(other[i] ^ 0x55);
    const absl::StatusOr<GreyImage> decoded = DecodePng(other);
    EXPECT_TRUE(!decoded.ok() || *decoded == Ramp(20)) << "byte " << i;
  }
}

// A header of a few bytes may promise any size.
TEST(PngTest, HugeSizesAreRefusedBeforeThereIsMemoryForThem) {
  std::string png = *EncodePng({.width = 70000, .height = 1000, .pixels = std::vector<uint8_t>(70'000'000)});
  EXPECT_THAT(DecodePng(png),
              StatusIs(absl::StatusCode::kInvalidArgument, "these bytes are not a PNG image: it has too many pixels"));
}

TEST(PngTest, ImagesThatAreNoneAreRefused) {
  EXPECT_THAT(EncodePng({}), StatusIs(absl::StatusCode::kInvalidArgument,
                                      "cannot encode an image of 0x0 pixels that has 0 of them as PNG"));
  EXPECT_THAT(EncodePng({.width = 2, .height = 2, .pixels = {1, 2, 3}}), testing::Not(IsOk()));
}

}  // namespace
}  // namespace denoised
