#include "common/plot/plot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/image/image.h"
#include "common/image/png.h"
#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;

int DarkPixels(const std::string& png) {
  const absl::StatusOr<GreyImage> picture = DecodePng(png);
  EXPECT_THAT(picture, IsOk());
  return static_cast<int>(
      std::count_if(picture->pixels.begin(), picture->pixels.end(), [](uint8_t pixel) { return pixel < 200; }));
}

TEST(AxisTicksTest, LinearTicksAreRoundNumbers) {
  EXPECT_THAT(AxisTicks(0, 10, 5, false), ElementsAre(0, 2, 4, 6, 8, 10));
  EXPECT_THAT(AxisTicks(-0.3, 0.3, 3, false),
              ElementsAre(DoubleNear(-0.2, 1e-12), DoubleNear(0, 1e-12), DoubleNear(0.2, 1e-12)));
}

TEST(AxisTicksTest, ZeroHasNoSign) {
  const std::vector<double> ticks = AxisTicks(-0.1, 1, 5, false);
  EXPECT_EQ(ticks.front(), 0);
  EXPECT_FALSE(std::signbit(ticks.front()));
}

TEST(AxisTicksTest, LogarithmicTicksAreOneTwoFive) {
  EXPECT_THAT(AxisTicks(9, 600, 8, true), ElementsAre(10, 20, 50, 100, 200, 500));
  EXPECT_THAT(AxisTicks(0.5, 2e7, 8, true), ElementsAre(1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7));
}

TEST(AxisTicksTest, LessThanADecadeHasRoundNumbersToo) {
  EXPECT_THAT(AxisTicks(0.11, 0.19, 4, true), testing::SizeIs(testing::Ge(3u)));
}

TEST(DrawPlotTest, MoreLinesLeaveMoreInk) {
  const PlotLine rising = {.name = "rising", .x = {1, 2, 3}, .y = {1, 2, 4}};
  const PlotLine falling = {.name = "falling", .x = {1, 2, 3}, .y = {4, 2, 1}, .points = true};
  const absl::StatusOr<std::string> one = DrawPlot({rising}, {.title = "t", .x_label = "x", .y_label = "y"});
  const absl::StatusOr<std::string> two = DrawPlot({rising, falling}, {.title = "t", .x_label = "x", .y_label = "y"});
  ASSERT_THAT(one, IsOk());
  ASSERT_THAT(two, IsOk());
  EXPECT_GT(DarkPixels(*two), DarkPixels(*one) + 500);
  EXPECT_EQ(*one, *DrawPlot({rising}, {.title = "t", .x_label = "x", .y_label = "y"})) << "same values, same bytes";
}

TEST(DrawPlotTest, ValuesThatAreNotFiniteLeaveAGap) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const absl::StatusOr<std::string> whole = DrawPlot({{.name = "", .x = {1, 2, 3, 4}, .y = {1, 1, 1, 2}}}, {});
  const absl::StatusOr<std::string> gap = DrawPlot({{.name = "", .x = {1, 2, 3, 4}, .y = {1, nan, 1, 2}}}, {});
  ASSERT_THAT(gap, IsOk());
  EXPECT_LT(DarkPixels(*gap), DarkPixels(*whole));
}

TEST(DrawPlotTest, OnePointIsEnough) { EXPECT_THAT(DrawPlot({{.name = "", .x = {1}, .y = {3}}}, {}), IsOk()); }

// Ticks never came to an end.
TEST(DrawPlotTest, ValuesThatDifferByTheirLastBitAreOne) {
  EXPECT_THAT(DrawPlot({{.name = "", .x = {1, 2}, .y = {0.53, std::nextafter(0.53, 1)}}}, {}), IsOk());
}

TEST(DrawPlotTest, WhatCannotBeDrawnIsSaid) {
  const auto invalid = [](const std::string& message) { return StatusIs(absl::StatusCode::kInvalidArgument, message); };
  EXPECT_THAT(DrawPlot({}, {}), invalid("there is nothing to plot"));
  EXPECT_THAT(DrawPlot({{.name = "loss", .x = {1, 2}, .y = {1}}}, {}),
              invalid("the line \"loss\" has 2 x and 1 y values"));
  EXPECT_THAT(DrawPlot({{.name = "", .x = {1}, .y = {0}}}, {.log_y = true}),
              invalid("a logarithmic axis needs values above 0"));
}

}  // namespace
}  // namespace denoised
