#include "trainer/training/training_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "common/image/png.h"
#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

TrainingLog TwoEpochs() {
  TrainingLog log;
  log.Add({.epoch = 1,
           .loss = 0.5,
           .validation_loss = std::nullopt,
           .best_loss = 0.5,
           .learning_rate = 1e-3,
           .images_seen = 60000,
           .images_per_second = 600,
           .seconds = 100});
  log.Add({.epoch = 2,
           .loss = 0.25,
           .validation_loss = std::nullopt,
           .best_loss = 0.25,
           .learning_rate = 5e-4,
           .images_seen = 120000,
           .bad_batches = 2,
           .images_per_second = 500,
           .seconds = 220,
           .other_seconds = 7.5});
  return log;
}

TEST(TrainingLogTest, IsAJsonObjectPerEpoch) {
  EXPECT_EQ(TwoEpochs().ToJsonLines(),
            R"({"epoch":1,"loss":0.5,"best_loss":0.5,"learning_rate":0.001,"images_seen":60000,)"
            R"("bad_batches":0,"images_per_second":600.0,"seconds":100.0,"other_seconds":0.0})"
            "\n"
            R"({"epoch":2,"loss":0.25,"best_loss":0.25,"learning_rate":0.0005,"images_seen":120000,)"
            R"("bad_batches":2,"images_per_second":500.0,"seconds":220.0,"other_seconds":7.5})"
            "\n");
}

TEST(TrainingLogTest, ComesBackFromItsText) {
  const absl::StatusOr<TrainingLog> log = TrainingLog::FromJsonLines(TwoEpochs().ToJsonLines());
  ASSERT_THAT(log, IsOk());
  EXPECT_EQ(log->records(), TwoEpochs().records());
}

TEST(TrainingLogTest, FieldsThatEarlierLogsLackAreNought) {
  const absl::StatusOr<TrainingLog> log =
      TrainingLog::FromJsonLines(R"({"epoch":1,"loss":0.5,"best_loss":0.5,"learning_rate":0.001,"images_seen":60000,)"
                                 R"("images_per_second":600.0,"seconds":100.0})");
  ASSERT_THAT(log, IsOk());
  EXPECT_EQ(log->records()[0].bad_batches, 0);
  EXPECT_EQ(log->records()[0].other_seconds, 0);
}

TEST(TrainingLogTest, AnEpochWithoutABestSoFarComesBackToo) {
  TrainingLog log;
  EpochRecord record = TwoEpochs().records()[0];
  record.best_loss = std::numeric_limits<double>::infinity();
  log.Add(record);
  const absl::StatusOr<TrainingLog> back = TrainingLog::FromJsonLines(log.ToJsonLines());
  ASSERT_THAT(back, IsOk());
  EXPECT_EQ(back->records(), log.records());
  EXPECT_THAT(log.PlotLoss("loss"), IsOk());
}

TEST(TrainingLogTest, ValidationIsThereWhereImagesAreHeldOut) {
  TrainingLog log;
  log.Add({.epoch = 1, .loss = 0.5, .validation_loss = 0.25, .best_loss = 0.25});
  EXPECT_EQ(log.records()[0].decisive_loss(), 0.25);
  EXPECT_THAT(log.ToJsonLines(),
              testing::StartsWith(R"({"epoch":1,"loss":0.5,"validation_loss":0.25,"best_loss":0.25,)"));
  EXPECT_EQ(TrainingLog::FromJsonLines(log.ToJsonLines())->records(), log.records());
  EXPECT_THAT(log.PlotLoss("Training"), IsOk());
  EXPECT_EQ(TwoEpochs().records()[1].decisive_loss(), 0.25) << "of the training";
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

constexpr TrainingProgress kProgress = {.epoch = 3,
                                        .epochs = 150,
                                        .epoch_fraction = 0.456,
                                        .loss = 0.03124,
                                        .images_per_second = 880.4,
                                        .seconds_left = 13 * 3600 + 15 * 60};

TEST(FormatProgressTest, SaysEpochLossSpeedAndTimeLeft) {
  EXPECT_EQ(FormatProgress(kProgress, 100),
            "epoch 3/150 [#########-----------]  45%  loss 0.0312  880 images/s  13 h 15 min left");
}

TEST(FormatProgressTest, FitsTheTerminal) {
  for (const auto& [columns, expected] : std::vector<std::pair<int, std::string>>{
           {79, "epoch 3/150 [#####-------]  45%  loss 0.0312  880 images/s  13 h 15 min left"},
           {72, "epoch 3/150 [###-----]  45%  loss 0.0312  880 images/s  13 h 15 min left"},
           {71, "epoch 3/150  45%  loss 0.0312  880 images/s  13 h 15 min left"},
           {60, "epoch 3/150  45%  loss 0.0312  13 h 15 min left"},
           {40, "epoch 3/150  45%  13 h 15 min left"}}) {
    EXPECT_EQ(FormatProgress(kProgress, columns), expected);
    EXPECT_LE(static_cast<int>(expected.size()), columns);
  }
  EXPECT_EQ(FormatProgress(kProgress, 10), "epoch 3/150  45%  13 h 15 min left") << "it gets no shorter";
}

TEST(FormatProgressTest, LogHasALineWithoutABar) {
  EXPECT_EQ(FormatProgressLine(kProgress), "epoch 3/150  45%  loss 0.0312  880 images/s  13 h 15 min left");
}

TEST(FormatSpeedTest, SlowOnesHaveADecimal) {
  EXPECT_EQ(FormatSpeed(1234.5), "1234 images/s");
  EXPECT_EQ(FormatSpeed(7.52), "7.5 images/s");
}

}  // namespace
}  // namespace denoised
