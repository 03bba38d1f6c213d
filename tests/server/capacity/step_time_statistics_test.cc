#include "server/capacity/step_time_statistics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace denoised {
namespace {

using testing::DoubleEq;
using testing::ElementsAre;

TEST(ScatterTest, IsThatOfTheWorstNumberOfRows) {
  EXPECT_DOUBLE_EQ(Scatter({{1, 1, 1, 1}, {2, 2, 2, 2}}), 0);
  EXPECT_DOUBLE_EQ(Scatter({{1, 1, 1, 1}, {2, 2, 3, 3}}), 0.5);
}

TEST(MonotonicTest, MoreRowsNeverTakeLess) {
  // As once measured on a busy machine: two rows take twice as long as three.
  EXPECT_THAT(MakeMonotonic({1, 3, 2, 4}), ElementsAre(DoubleEq(1), DoubleEq(2.5), DoubleEq(2.5), DoubleEq(4)));
  EXPECT_THAT(MakeMonotonic({3, 2, 1}), ElementsAre(DoubleEq(2), DoubleEq(2), DoubleEq(2)));
  EXPECT_THAT(MakeMonotonic({1, 2, 3}), ElementsAre(DoubleEq(1), DoubleEq(2), DoubleEq(3)));
}

TEST(WarnOfScatterTest, SaysHowMuchAndWhatToDo) {
  EXPECT_EQ(WarnOfScatter(0.1), std::nullopt);
  EXPECT_EQ(WarnOfScatter(0.4),
            "this machine was busy while its steps were timed: times of the same step lie 40 % apart, and the figures "
            "may be off by as much; run it again on a quiet machine, or take times from one by --step_times");
}

}  // namespace
}  // namespace denoised
