#include "server/telemetry/line_budget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace denoised {
namespace {

using testing::Eq;
using testing::Optional;

class LineBudgetTest : public testing::Test {
 protected:
  void UseUp() {
    for (int i = 0; i < LineBudget::kLines; ++i) EXPECT_THAT(budget_.Take(now_), Optional(0)) << i;
  }

  LineBudget budget_;
  LineBudget::Clock::time_point now_ = LineBudget::Clock::now();
};

TEST_F(LineBudgetTest, TenLinesAreWrittenAndNoneMoreInTenSeconds) {
  UseUp();
  EXPECT_THAT(budget_.Take(now_), Eq(std::nullopt));
  EXPECT_THAT(budget_.Take(now_ + LineBudget::kPeriod - std::chrono::nanoseconds(1)), Eq(std::nullopt));
}

TEST_F(LineBudgetTest, TheNextLineSaysHowManyWereLeftOutAndOnlyThat) {
  UseUp();
  for (int i = 0; i < 1000; ++i) EXPECT_THAT(budget_.Take(now_), Eq(std::nullopt));
  now_ += LineBudget::kPeriod;
  EXPECT_THAT(budget_.Take(now_), Optional(1000));
  EXPECT_THAT(budget_.Take(now_), Optional(0));
}

}  // namespace
}  // namespace denoised
