#include "trainer/training/training_progress.h"

#include <gtest/gtest.h>

namespace denoised {
namespace {

TEST(FormatProgressTest, SaysEpochLossSpeedAndTimeLeft) {
  EXPECT_EQ(FormatProgress({.epoch = 3,
                            .epochs = 40,
                            .epoch_fraction = 0.456,
                            .loss = 0.03124,
                            .images_per_second = 880.4,
                            .seconds_left = 34 * 60}),
            "epoch 3/40 [#########-----------]  45%  loss 0.0312  880 images/s  34 min left");
}

}  // namespace
}  // namespace denoised
