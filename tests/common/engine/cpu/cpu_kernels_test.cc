#include "common/engine/cpu/cpu_kernels.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "common/diffusion/noise.h"

namespace denoised {
namespace {

std::vector<float> Values(size_t n, uint64_t seed, float scale = 1) {
  std::vector<float> values(n);
  FillNoise({.seed = seed}, absl::MakeSpan(values));
  for (float& value : values) value = value * scale + 0.5f;
  return values;
}

double Activated(double v, Activation activation) {
  if (activation == Activation::kLeakyRelu) return v > 0 ? v : 0.1 * v;
  return v / (1 + std::exp(-v));
}

struct Shape {
  int pixels, channels, group;
};

class NormalizeGroupsTest : public testing::TestWithParam<std::tuple<Shape, Activation>> {
 protected:
  // The formula, in double precision.
  static std::vector<float> Expected(const std::vector<float>& x, const Shape& shape, const std::vector<float>& scale,
                                     const std::vector<float>& shift, Activation activation) {
    std::vector<float> y(x.size());
    for (int first = 0; first < shape.channels; first += shape.group) {
      double sum = 0, squares = 0;
      const double n = static_cast<double>(shape.pixels) * shape.group;
      const auto each = [&](const auto& visit) {
        for (int pixel = 0; pixel < shape.pixels; ++pixel) {
          for (int c = first; c < first + shape.group; ++c) visit(pixel * shape.channels + c, c);
        }
      };
      each([&](int i, int) { sum += x[i]; });
      each([&](int i, int) { squares += (x[i] - sum / n) * (x[i] - sum / n); });
      each([&](int i, int c) {
        const double normalized = (x[i] - sum / n) / std::sqrt(squares / n + 1e-5);
        y[i] = static_cast<float>(Activated(scale[c] * normalized + shift[c], activation));
      });
    }
    return y;
  }
};

TEST_P(NormalizeGroupsTest, IsGroupNormThenTheActivation) {
  const auto [shape, activation] = GetParam();
  const std::vector<float> x = Values(static_cast<size_t>(shape.pixels) * shape.channels, 1, 3);
  const std::vector<float> scale = Values(shape.channels, 2), shift = Values(shape.channels, 3);
  std::vector<float> y(x.size());
  NormalizeGroups(x.data(), shape.pixels, shape.channels, shape.group, 0, shape.channels, scale.data(), shift.data(),
                  activation, y.data());
  EXPECT_THAT(y, testing::Pointwise(testing::FloatNear(1e-5f), Expected(x, shape, scale, shift, activation)));
}

// Threads may share an image's channels in any way, and write over their input.
TEST_P(NormalizeGroupsTest, PartsInPlaceGiveTheSameBits) {
  const auto [shape, activation] = GetParam();
  const std::vector<float> x = Values(static_cast<size_t>(shape.pixels) * shape.channels, 1);
  const std::vector<float> scale = Values(shape.channels, 2), shift = Values(shape.channels, 3);
  std::vector<float> whole(x.size()), parts = x;
  NormalizeGroups(x.data(), shape.pixels, shape.channels, shape.group, 0, shape.channels, scale.data(), shift.data(),
                  activation, whole.data());
  const int part = std::max(shape.group, kVectorLanes);
  for (int begin = 0; begin < shape.channels; begin += part) {
    NormalizeGroups(parts.data(), shape.pixels, shape.channels, shape.group, begin, begin + part, scale.data(),
                    shift.data(), activation, parts.data());
  }
  EXPECT_EQ(parts, whole);
}

INSTANTIATE_TEST_SUITE_P(Shapes, NormalizeGroupsTest,
                         testing::Combine(testing::Values(Shape{256, 32, 4}, Shape{64, 64, 8}, Shape{16, 128, 16},
                                                          Shape{16, 256, 32}, Shape{4, 256, 256}, Shape{16, 16, 1}),
                                          testing::Values(Activation::kSilu, Activation::kLeakyRelu)));

TEST(NormalizeGroupsLimitsTest, LargeValuesNeitherOverflowNorVanish) {
  std::vector<float> x(4 * 16), y(x.size());
  for (size_t i = 0; i < x.size(); ++i) x[i] = i % 2 == 0 ? 1.0f : -1.0f;
  const std::vector<float> scale(16, 500), shift(16, 0);
  NormalizeGroups(x.data(), 4, 16, 16, 0, 16, scale.data(), shift.data(), Activation::kSilu, y.data());
  EXPECT_NEAR(y[0], 500, 0.01);
  EXPECT_NEAR(y[1], 0, 1e-6);
}

TEST(MaxPoolLineTest, TakesTheLargestOfEachBlock) {
  constexpr int kSize = 6, kChannels = 32;
  const std::vector<float> x = Values(kSize * kSize * kChannels, 4);
  std::vector<float> y(x.size() / 4);
  for (int line = 0; line < kSize / 2; ++line) MaxPoolLine(x.data(), kSize, kChannels, line, y.data());
  for (int line = 0; line < kSize / 2; ++line) {
    for (int column = 0; column < kSize / 2; ++column) {
      for (int c = 0; c < kChannels; ++c) {
        const auto at = [&](int dy, int dx) { return x[((2 * line + dy) * kSize + 2 * column + dx) * kChannels + c]; };
        EXPECT_EQ(y[(line * kSize / 2 + column) * kChannels + c], std::max({at(0, 0), at(0, 1), at(1, 0), at(1, 1)}));
      }
    }
  }
}

TEST(ToBfloat16Test, RoundsToTheNearestAndTiesToEven) {
  const auto rounded = [](float x) {
    uint16_t y = 0;
    ToBfloat16(&x, 1, &y);
    return std::bit_cast<float>(uint32_t{y} << 16);
  };
  const float ulp = std::ldexp(1.0f, -7);  // of numbers from 1 to 2: bfloat16 has 8 bits of significand
  EXPECT_EQ(rounded(1), 1);
  EXPECT_EQ(rounded(-0.15625f), -0.15625f);
  EXPECT_EQ(rounded(1 + 0.49f * ulp), 1);
  EXPECT_EQ(rounded(1 + 0.51f * ulp), 1 + ulp);
  EXPECT_EQ(rounded(1 + 0.5f * ulp), 1);            // to the even one below
  EXPECT_EQ(rounded(1 + 1.5f * ulp), 1 + 2 * ulp);  // to the even one above
  EXPECT_EQ(rounded(-1 - 0.51f * ulp), -1 - ulp);
  EXPECT_EQ(rounded(std::numeric_limits<float>::infinity()), std::numeric_limits<float>::infinity());
  for (const uint32_t nan : {0x7FC00000u, 0x7F800001u, 0x7FFFFFFFu, 0xFFFFFFFFu}) {
    EXPECT_TRUE(std::isnan(rounded(std::bit_cast<float>(nan)))) << nan;
  }
}

TEST(ToBfloat16Test, RoundsEveryOne) {
  const std::vector<float> x = Values(100, 4);
  std::vector<uint16_t> y(x.size());
  ToBfloat16(x.data(), 100, y.data());
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_NEAR(std::bit_cast<float>(uint32_t{y[i]} << 16), x[i], std::abs(x[i]) / 256) << i;
  }
}

TEST(PixelsToBlocksTest, PutsTheFourPixelsOfABlockSideBySideAndBlocksToPixelsUndoesIt) {
  const std::vector<float> x = {0,  1,  2,  3,   //
                                4,  5,  6,  7,   //
                                8,  9,  10, 11,  //
                                12, 13, 14, 15};
  std::vector<float> blocks(x.size()), back(x.size());
  PixelsToBlocks(x.data(), 4, blocks.data());
  EXPECT_THAT(blocks, testing::ElementsAre(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15));
  BlocksToPixels(blocks.data(), 4, back.data());
  EXPECT_EQ(back, x);
}

#if defined(__SSE2__)
TEST(FlushDenormalsTest, TinyNumbersAreZeroAsLongAsItLives) {
  const volatile float tiny = 1e-38f;
  volatile float tenth = 1;
  {
    const FlushDenormals flush_denormals;
    tenth = tiny * 0.1f;
  }
  EXPECT_EQ(tenth, 0);
  tenth = tiny * 0.1f;
  EXPECT_GT(tenth, 0);
}
#endif

}  // namespace
}  // namespace denoised
