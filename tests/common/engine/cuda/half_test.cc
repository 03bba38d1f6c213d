#include "common/engine/cuda/half.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace denoised {
namespace {

TEST(HalfTest, EveryValueGoesToFloatAndBack) {
  for (uint32_t bits = 0; bits <= 0xFFFF; ++bits) {
    const Half half{static_cast<uint16_t>(bits)};
    const float value = ToFloat(half);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(ToFloat(ToHalf(value)))) << bits;
    } else {
      EXPECT_EQ(ToHalf(value).bits, bits);
    }
  }
}

TEST(HalfTest, KnownValues) {
  EXPECT_EQ(ToHalf(1.0f).bits, 0x3C00);
  EXPECT_EQ(ToHalf(-2.0f).bits, 0xC000);
  EXPECT_EQ(ToHalf(65504.0f).bits, 0x7BFF);               // the largest
  EXPECT_EQ(ToHalf(65520.0f).bits, 0x7C00);               // infinity
  EXPECT_EQ(ToHalf(std::ldexp(1.0f, -14)).bits, 0x0400);  // the smallest of full precision
  EXPECT_EQ(ToHalf(std::ldexp(1.0f, -24)).bits, 0x0001);  // the smallest
  EXPECT_EQ(ToFloat({0x3555}), 0.333251953125f);          // 1/3
  EXPECT_EQ(ToHalf(std::numeric_limits<float>::infinity()).bits, 0x7C00);
}

// Between neighbours the nearest is taken, in the middle the even one.
TEST(HalfTest, RoundsToNearestEven) {
  for (uint32_t bits = 0; bits < 0x7BFF; ++bits) {
    const float below = ToFloat({static_cast<uint16_t>(bits)}), above = ToFloat({static_cast<uint16_t>(bits + 1)});
    const float middle = (below + above) / 2;
    ASSERT_EQ(ToHalf(middle).bits, bits % 2 == 0 ? bits : bits + 1);
    ASSERT_EQ(ToHalf(std::nextafter(middle, below)).bits, bits);
    ASSERT_EQ(ToHalf(std::nextafter(middle, above)).bits, bits + 1);
  }
}

}  // namespace
}  // namespace denoised
