#include "common/support/counted.h"

#include <gtest/gtest.h>

namespace denoised {
namespace {

TEST(CountedTest, OneIsNoPlural) {
  EXPECT_EQ(Counted(0, "step"), "0 steps");
  EXPECT_EQ(Counted(1, "step"), "1 step");
  EXPECT_EQ(Counted(1000, "step"), "1000 steps");
  EXPECT_EQ(Counted(1, "class", "classes"), "1 class");
  EXPECT_EQ(Counted(2, "class", "classes"), "2 classes");
}

}  // namespace
}  // namespace denoised
