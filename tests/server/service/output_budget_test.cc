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

TEST(OutputBudgetTest, RequestsAreRefusedWhoseImagesCouldTakeMore) {
  OutputBudget output(64 << 20);
  OutputRoom first = output.Reserve(40 << 20);
  EXPECT_TRUE(first);
  EXPECT_FALSE(output.Reserve(25 << 20));
  EXPECT_EQ(output.reserved(), 40 << 20) << "what was refused must not count";
  OutputRoom second = output.Reserve(24 << 20);
  EXPECT_TRUE(second);
  const OutputRoom moved = std::move(second);
  first = OutputRoom();
  EXPECT_EQ(output.reserved(), 24 << 20);
}

TEST(OutputBudgetTest, OneRequestIsAdmittedWhateverItTakes) {
  OutputBudget output(0);
  const OutputRoom room = output.Reserve(OutputBudget::kLeastForImages + 1);
  EXPECT_TRUE(room);
  EXPECT_FALSE(output.Reserve(1));
}

TEST(OutputBudgetTest, SmallLimitIsOneOfPreviews) {
  OutputBudget output(0);
  const OutputRoom room = output.Reserve(OutputBudget::kLeastForImages - 1);
  EXPECT_TRUE(output.Reserve(1));
  EXPECT_FALSE(output.Reserve(2));
}

}  // namespace
}  // namespace denoised
