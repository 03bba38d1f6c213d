#include "common/command_line/progress_bar.h"

#include <gtest/gtest.h>

namespace denoised {
namespace {

TEST(FormatBarTest, ShowsTheFractionAndStaysInItsFrame) {
  EXPECT_EQ(FormatBar(0.456), "[#########-----------]  45%");
  EXPECT_EQ(FormatBar(-1), "[--------------------]   0%");
  EXPECT_EQ(FormatBar(0.5, 4), "[##--]  50%");
  EXPECT_EQ(FormatBar(2), "[####################] 100%");
}

}  // namespace
}  // namespace denoised
