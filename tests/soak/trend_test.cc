#include "tests/soak/trend.h"

#include <gtest/gtest.h>

namespace denoised {
namespace {

TEST(TrendTest, PointsOnALineGiveItsSlope) {
  Trend trend;
  for (const double x : {0.0, 1.0, 5.0}) trend.Add(x, 3 - 2 * x);
  EXPECT_DOUBLE_EQ(trend.slope(), -2);
  EXPECT_DOUBLE_EQ(trend.rise(), -10);
}

TEST(TrendTest, PointsBesideALineCountAlike) {
  Trend trend;
  trend.Add(0, 0);
  trend.Add(1, 4);
  trend.Add(2, 2);
  EXPECT_DOUBLE_EQ(trend.slope(), 1);
  EXPECT_DOUBLE_EQ(trend.mean(), 2);
}

TEST(TrendTest, LaterPointsAreWithoutTheFirst) {
  Trend trend;
  for (const double y : {100.0, 7.0, 7.0}) trend.Add(y == 100 ? 0 : 1, y);
  EXPECT_DOUBLE_EQ(trend.Later(1.0 / 3).mean(), 7);
}

TEST(TrendTest, WithoutTwoMomentsThereIsNoTrend) {
  Trend trend;
  EXPECT_EQ(trend.slope(), 0);
  EXPECT_EQ(trend.rise(), 0);
  trend.Add(1, 5);
  EXPECT_EQ(trend.slope(), 0);
}

}  // namespace
}  // namespace denoised
