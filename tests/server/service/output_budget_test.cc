#include "server/service/output_budget.h"

#include <gtest/gtest.h>

namespace denoised {
namespace {

TEST(OutputBudgetTest, WhatMayBeLeftOutIsRefusedAtTheLimit) {
  OutputBudget output(100);
  EXPECT_TRUE(output.TryTake(60));
  EXPECT_FALSE(output.TryTake(41));
  EXPECT_EQ(output.taken(), 60) << "the refused bytes must not count";
  EXPECT_TRUE(output.TryTake(40));
  EXPECT_TRUE(output.full());
  output.Return(60);
  EXPECT_FALSE(output.full());
  EXPECT_TRUE(output.TryTake(50));
}

TEST(OutputBudgetTest, WhatMayNotIsTakenBeyondIt) {
  OutputBudget output(100);
  output.Take(150);
  EXPECT_TRUE(output.full());
  EXPECT_FALSE(output.TryTake(1));
  output.Return(150);
  EXPECT_EQ(output.taken(), 0);
}

}  // namespace
}  // namespace denoised
