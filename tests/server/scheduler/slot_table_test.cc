#include "server/scheduler/slot_table.h"

#include <gtest/gtest.h>

#include <set>

namespace denoised {
namespace {

TEST(SlotTableTest, LendsEachSlotOnce) {
  SlotTable slots(3);
  std::set<int> lent;
  for (int i = 0; i < 3; ++i) lent.insert(slots.Acquire()->index);
  EXPECT_EQ(lent, (std::set<int>{0, 1, 2}));
  EXPECT_EQ(slots.free(), 0);
  EXPECT_FALSE(slots.Acquire().has_value());
}

TEST(SlotTableTest, ReleasesALoanOnce) {
  SlotTable slots(2);
  const SlotHandle handle = *slots.Acquire();
  EXPECT_TRUE(slots.Release(handle));
  EXPECT_FALSE(slots.Release(handle));
  EXPECT_EQ(slots.free(), 2);
}

TEST(SlotTableTest, StaleHandleCannotFreeTheNextLoan) {
  SlotTable slots(1);
  const SlotHandle first = *slots.Acquire();
  slots.Release(first);
  const SlotHandle second = *slots.Acquire();
  ASSERT_EQ(first.index, second.index);
  EXPECT_FALSE(slots.IsCurrent(first));
  EXPECT_FALSE(slots.Release(first));
  EXPECT_TRUE(slots.IsCurrent(second));
}

TEST(SlotTableTest, ForeignHandleIsNotCurrent) {
  const SlotTable slots(1);
  EXPECT_FALSE(slots.IsCurrent({-1, 0}));
  EXPECT_FALSE(slots.IsCurrent({1, 0}));
  EXPECT_FALSE(slots.IsCurrent({0, 0}));
}

}  // namespace
}  // namespace denoised
