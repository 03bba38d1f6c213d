#include "common/support/clock.h"

#include <gtest/gtest.h>

namespace denoised {
namespace {

TEST(ClockTest, SecondsOfADuration) {
  EXPECT_EQ(Seconds(std::chrono::milliseconds(3250)), 3.25);
  EXPECT_EQ(Seconds(std::chrono::nanoseconds(-1)), -1e-9);
}

TEST(ClockTest, SecondsGrowWhileTimePasses) {
  const auto start = std::chrono::steady_clock::now() - std::chrono::seconds(2);
  const double before = SecondsSince(start);
  EXPECT_GE(before, 2);
  EXPECT_GE(SecondsSince(start), before);
}

TEST(ClockTest, NanosecondsOfSecondsDropTheRest) {
  EXPECT_EQ(Nanoseconds(1.5), std::chrono::milliseconds(1500));
  EXPECT_EQ(Nanoseconds(2.9e-9), std::chrono::nanoseconds(2));
}

}  // namespace
}  // namespace denoised
