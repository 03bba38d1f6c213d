#include "common/support/number_text.h"

#include <gtest/gtest.h>

#include <cmath>

namespace denoised {
namespace {

TEST(NumberTextTest, FewDigitsStayFew) {
  EXPECT_EQ(ExactText(0), "0");
  EXPECT_EQ(ExactText(2e-4), "0.0002");
  EXPECT_EQ(ExactText(1.35), "1.35");
}

TEST(NumberTextTest, NumbersThatDifferHaveTextsThatDiffer) {
  for (const double number : {1.0, 0.999, 1.2345678, 6e-4}) {
    EXPECT_NE(ExactText(number), ExactText(std::nextafter(number, 2))) << number;
  }
}

}  // namespace
}  // namespace denoised
