#include "trainer/training/training_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/image/png.h"
#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

TrainingLog TwoEpochs() {
  TrainingLog log;
  log.Add({.epoch = 1,
           .loss = 0.5,
           .best_loss = 0.5,
           .learning_rate = 1e-3,
           .images_seen = 60000,
           .images_per_second = 600,
           .seconds = 100});
  log.Add({.epoch = 2,
           .loss = 0.25,
           .best_loss = 0.25,
           .learning_rate = 5e-4,
           .images_seen = 120000,
           .bad_batches = 2,
           .images_per_second = 500,
           .seconds = 220});
  return log;
}

TEST(TrainingLogTest, IsAJsonObjectPerEpoch) {
  EXPECT_EQ(TwoEpochs().ToJsonLines(),
            R"({"epoch":1,"loss":0.5,"best_loss":0.5,"learning_rate":0.001,"images_seen":60000,)"
            R"("bad_batches":0,"images_per_second":600.0,"seconds":100.0})"
            "\n"
            R"({"epoch":2,"loss":0.25,"best_loss":0.25,"learning_rate":0.0005,"images_seen":120000,)"
            R"("bad_batches":2,"images_per_second":500.0,"seconds":220.0})"
            "\n");
}

TEST(TrainingLogTest, ComesBackFromItsText) {
  const absl::StatusOr<TrainingLog> log = TrainingLog::FromJsonLines(TwoEpochs().ToJsonLines());
  ASSERT_THAT(log, IsOk());
  EXPECT_EQ(log->records(), TwoEpochs().records());
}

TEST(TrainingLogTest, LogOfBeforeBadBatchesWereCountedHadNone) {
  const absl::StatusOr<TrainingLog> log =
      TrainingLog::FromJsonLines(R"({"epoch":1,"loss":0.5,"best_loss":0.5,"learning_rate":0.001,"images_seen":60000,)"
                                 R"("images_per_second":600.0,"seconds":100.0})");
  ASSERT_THAT(log, IsOk());
  EXPECT_EQ(log->records()[0].bad_batches, 0);
}

TEST(TrainingLogTest, DamagedLineIsNamed) {
  EXPECT_THAT(TrainingLog::FromJsonLines(TwoEpochs().ToJsonLines() + "{\"epoch\":3}\n"),
              StatusIs(absl::StatusCode::kInvalidArgument, testing::HasSubstr("line 3 is no record of an epoch: ")));
}

TEST(TrainingLogTest, PlotIsAPictureAndNeedsAnEpoch) {
  const absl::StatusOr<std::string> png = TwoEpochs().PlotLoss("Training");
  ASSERT_THAT(png, IsOk());
  EXPECT_THAT(DecodePng(*png), IsOk());
  EXPECT_THAT(TrainingLog().PlotLoss("Training"),
              StatusIs(absl::StatusCode::kInvalidArgument, "there is nothing to plot"));
}

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
