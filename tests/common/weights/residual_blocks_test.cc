#include "common/weights/residual_blocks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace denoised {
namespace {

using testing::ElementsAre;
using testing::FieldsAre;

const UnetConfig kDeep = {.channels = {8, 16, 24}, .blocks = {2, 1, 3}};

TEST(ResidualBlocksTest, FirstOnTheWayUpTakesTwiceTheChannels) {
  EXPECT_THAT(BlocksOf(kDeep, "down16"), ElementsAre(FieldsAre("down16", 8, 8), FieldsAre("down16_2", 8, 8)));
  EXPECT_THAT(BlocksOf(kDeep, "up16"), ElementsAre(FieldsAre("up16", 16, 8), FieldsAre("up16_2", 8, 8)));
  EXPECT_THAT(BlocksOf(kDeep, "up8"), ElementsAre(FieldsAre("up8", 32, 16)));
}

TEST(ResidualBlocksTest, ThereIsOneInTheMiddle) {
  EXPECT_THAT(BlocksOf(kDeep, "middle"), ElementsAre(FieldsAre("middle", 24, 24)));
}

TEST(ResidualBlocksTest, AllAreThoseOfAllStages) {
  std::vector<std::string> names;
  for (const ResidualBlock& block : AllBlocksOf(kDeep)) names.push_back(block.name);
  EXPECT_THAT(names, ElementsAre("down16", "down16_2", "down8", "down4", "down4_2", "down4_3", "middle", "up4", "up4_2",
                                 "up4_3", "up8", "up16", "up16_2"));
  EXPECT_EQ(AllBlocksOf(UnetConfig()).size(), 7u);
}

}  // namespace
}  // namespace denoised
