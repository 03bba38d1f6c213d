#include "common/support/edit_distance.h"

#include <gtest/gtest.h>

#include <string>

namespace denoised {
namespace {

TEST(EditDistanceTest, CountsSlipsOfTheHand) {
  EXPECT_EQ(EditDistance("cat", "cat"), 0u);
  EXPECT_EQ(EditDistance("cat", "CAT"), 0u);
  EXPECT_EQ(EditDistance("", "cat"), 3u);
  EXPECT_EQ(EditDistance("cat", "cta"), 1u);
  EXPECT_EQ(EditDistance("cat", "cart"), 1u);
  EXPECT_EQ(EditDistance("helth", "health"), 1u);
  EXPECT_EQ(EditDistance("kitten", "sitting"), 3u);
}

TEST(NearestTest, IsTheFirstOfTheNearest) {
  EXPECT_EQ(Nearest("helth", {"bench", "health", "wealth"}, 2), "health");
  EXPECT_EQ(Nearest("bat", {"cat", "hat"}, 1), "cat");
  EXPECT_EQ(Nearest("bat", {"bench"}, 2), "");
  EXPECT_EQ(Nearest(std::string(1'000'000, 'x'), {"bench"}, 2), "") << "and takes no time";
}

}  // namespace
}  // namespace denoised
