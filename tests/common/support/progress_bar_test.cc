#include "common/support/progress_bar.h"

#include <gtest/gtest.h>

namespace denoised {
namespace {

TEST(FormatDurationTest, ChangesItsUnit) {
  EXPECT_EQ(FormatDuration(0.4), "0 s");
  EXPECT_EQ(FormatDuration(119), "119 s");
  EXPECT_EQ(FormatDuration(120), "2 min");
  EXPECT_EQ(FormatDuration(59 * 60 + 40), "1 h 00 min");
  EXPECT_EQ(FormatDuration(2 * 3600 + 5 * 60), "2 h 05 min");
  EXPECT_EQ(FormatDuration(-1), "0 s");
}

TEST(FormatBarTest, ShowsTheFractionAndStaysInItsFrame) {
  EXPECT_EQ(FormatBar(0.456), "[#########-----------]  45%");
  EXPECT_EQ(FormatBar(-1), "[--------------------]   0%");
  EXPECT_EQ(FormatBar(2), "[####################] 100%");
}

}  // namespace
}  // namespace denoised
