#include "common/diffusion/row_update.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "common/diffusion/noise.h"

namespace denoised {
namespace {

std::vector<float> Noise(uint32_t stream) {
  std::vector<float> values(1024);
  FillNoise({.seed = 6, .stream = stream}, absl::MakeSpan(values));
  return values;
}

TEST(UpdateRowTest, IsTheFormula) {
  const StepCoefficients row{.p = 1.5f, .q = -0.5f, .lo = -1, .hi = 1, .a = 0.9f, .b = 0.2f, .c = 0.3f, .d = 0.1f};
  const std::vector<float> before = Noise(0), e = Noise(1), z = Noise(2), previous = Noise(3);
  std::vector<float> x = before, x0 = previous;
  UpdateRow(row, e.data(), z.data(), x.size(), x.data(), x0.data());
  for (size_t i = 0; i < x.size(); ++i) {
    const double clean = std::clamp(1.5 * before[i] - 0.5 * e[i], -1.0, 1.0);
    EXPECT_NEAR(x0[i], clean, 1e-6);
    EXPECT_NEAR(x[i], 0.9 * before[i] + 0.2 * clean + 0.3 * previous[i] + 0.1 * z[i], 1e-6);
  }
}

// Vector instructions must not give other bits than a GPU's single pixel.
TEST(UpdateRowTest, GivesTheBitsOfEachPixelAlone) {
  const StepCoefficients row{.p = 1.1f, .q = -0.7f, .lo = -1, .hi = 1, .a = 0.8f, .b = 0.4f, .c = -0.3f, .d = 0.2f};
  const std::vector<float> e = Noise(1), z = Noise(2);
  std::vector<float> x = Noise(0), x0 = Noise(3), x_alone = x, x0_alone = x0;
  UpdateRow(row, e.data(), z.data(), x.size(), x.data(), x0.data());
  for (size_t i = 0; i < x.size(); ++i) UpdatePixel(row, e[i], z[i], x_alone[i], x0_alone[i]);
  EXPECT_EQ(x, x_alone);
  EXPECT_EQ(x0, x0_alone);
}

TEST(UpdateRowTest, WhatHasNoWeightIsNotRead) {
  const StepCoefficients row{.p = 1, .q = 0, .lo = -9, .hi = 9, .a = 1};
  std::vector<float> x = Noise(0), x0(x.size(), std::numeric_limits<float>::quiet_NaN());
  const std::vector<float> before = x, e = Noise(1);
  UpdateRow(row, e.data(), /*z=*/nullptr, x.size(), x.data(), x0.data());
  EXPECT_EQ(x, before);
}

TEST(AllFiniteTest, FindsASingleNumberThatIsNot) {
  std::vector<float> x(1024, 3e38f);
  EXPECT_TRUE(AllFinite(x.data(), x.size()));
  for (const float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                          std::numeric_limits<float>::quiet_NaN()}) {
    for (const size_t place : {size_t{0}, size_t{517}, size_t{1023}}) {
      std::vector<float> one = x;
      one[place] = bad;
      EXPECT_FALSE(AllFinite(one.data(), one.size()));
    }
  }
}

}  // namespace
}  // namespace denoised
