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

TEST(FormatDurationTest, ChangesItsUnit) {
  EXPECT_EQ(FormatDuration(0.4), "0 s");
  EXPECT_EQ(FormatDuration(119), "119 s");
  EXPECT_EQ(FormatDuration(120), "2 min");
  EXPECT_EQ(FormatDuration(59 * 60 + 40), "1 h 00 min");
  EXPECT_EQ(FormatDuration(2 * 3600 + 5 * 60), "2 h 05 min");
  EXPECT_EQ(FormatDuration(-1), "0 s");
}

TEST(ClockTest, DurationsReadAsPeopleWriteThem) {
  using std::chrono::microseconds;
  using std::chrono::milliseconds;
  using std::chrono::seconds;
  EXPECT_EQ(DurationText(microseconds(20)), "less than 1 ms");
  EXPECT_EQ(DurationText(milliseconds(-5)), "less than 1 ms");
  EXPECT_EQ(DurationText(milliseconds(80)), "80 ms");
  EXPECT_EQ(DurationText(microseconds(99'700)), "0.1 s");
  EXPECT_EQ(DurationText(milliseconds(350)), "0.35 s");
  EXPECT_EQ(DurationText(seconds(1)), "1 s");
  EXPECT_EQ(DurationText(milliseconds(9'970)), "10 s");
  EXPECT_EQ(DurationText(seconds(119)), "119 s");
  EXPECT_EQ(DurationText(seconds(700)), "12 min");
  EXPECT_EQ(DurationText(seconds(3900)), "1 h 05 min");
}

}  // namespace
}  // namespace denoised
