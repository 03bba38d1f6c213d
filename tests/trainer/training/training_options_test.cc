#include "trainer/training/training_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <string>

#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

TEST(DefaultTrainingOptionsTest, UnknownArchitectureIsSaid) {
  EXPECT_THAT(DefaultTrainingOptions("big"),
              StatusIs(absl::StatusCode::kInvalidArgument, "--arch must be compact or seed, got \"big\""));
}

// 60,000 images in batches of 64.
TEST(DefaultTrainingOptionsTest, OriginalKeepsTheLastBatch) {
  EXPECT_TRUE(DefaultTrainingOptions("seed")->keep_last_batch);
  EXPECT_FALSE(DefaultTrainingOptions("compact")->keep_last_batch) << "as the shipped checkpoint was trained";
}

TEST(ValidateTrainingOptionsTest, RangesAreSaid) {
  const auto message = [](const std::function<void(TrainingOptions&)>& change) {
    TrainingOptions options;
    change(options);
    return std::string(ValidateTrainingOptions(options, 64).message());
  };
  EXPECT_EQ(message([](auto& o) { o.epochs = 0; }), "--epochs must be at least 1, got 0");
  EXPECT_EQ(message([](auto& o) { o.patience = 0; }), "--patience must be at least 1, got 0");
  EXPECT_EQ(message([](auto& o) { o.batch_size = 65; }),
            "--batch_size must be 1 to 64, as there are no more images to learn from, got 65");
  EXPECT_EQ(message([](auto& o) { o.accumulate = 2; }),
            "--accumulate must be at least 1, with all its batches' images there, got 2");
  EXPECT_EQ(message([](auto& o) { o.max_steps = -1; }), "--max_steps must be at least 1, or 0 for no limit, got -1");
  EXPECT_EQ(message([](auto& o) {
              o.unet.channels = {48, 96};
            }),
            "--channels: architecture \"compact\" has 3 channel counts, got 2");
  EXPECT_EQ(message([](auto& o) {
              o.unet.channels = {48, 96, 100};
            }),
            "--channels: channels must be multiples of norm_groups (8) up to 4096, got 100");
  EXPECT_EQ(message([](auto& o) {
              o.unet.blocks = {2, 2};
            }),
            "--blocks: architecture \"compact\" has 3 block counts, got 2");
  EXPECT_EQ(message([](auto& o) {
              o.unet.blocks = {2, 2, 9};
            }),
            "--blocks: blocks must be 1 to 8 at each resolution, got 9");
  EXPECT_EQ(message([](auto& o) {
              o = *DefaultTrainingOptions("seed");
              o.unet.blocks = {1, 1, 1};
            }),
            "--blocks: architecture \"seed\" has no residual blocks to count; \"compact\" has");
  EXPECT_EQ(message([](auto& o) { o.validation_images = 64; }),
            "--validation_images must be 0 (none) to 63, so that one is left to learn from, got 64");
  EXPECT_EQ(message([](auto& o) {
              o.validation_images = 10;
              o.batch_size = 60;
            }),
            "--batch_size must be 1 to 54, as there are no more images to learn from, got 60");
  EXPECT_EQ(message([](auto& o) { o.learning_rate = 0; }), "--learning_rate must be more than 0, got 0");
  EXPECT_EQ(message([](auto& o) { o.min_snr_gamma = -1; }),
            "--min_snr_gamma must be more than 0, or 0 for none, got -1");
  EXPECT_EQ(message([](auto& o) { o.ema_decay = 1; }), "--ema_decay must be 0 to less than 1, got 1");
  EXPECT_EQ(message([](auto& o) { o.weight_decay = -1; }), "--weight_decay must be at least 0, got -1");
  EXPECT_EQ(message([](auto& o) { o.sample_every = -1; }),
            "--sample_every must be at least 1, or 0 for no grids, got -1");
  EXPECT_EQ(message([](auto& o) { o.clip_norm = -1; }), "--clip_norm must be more than 0, or 0 for none, got -1");
  EXPECT_EQ(message([](auto& o) { o.precision = "fp8"; }), "--precision must be fp32 or bf16, got \"fp8\"");
  EXPECT_EQ(message([](auto& o) { o.label_dropout = 1; }), "--label_dropout must be 0 to less than 1, got 1");
  EXPECT_EQ(message([](auto& o) {
              o = *DefaultTrainingOptions("seed");
              o.label_dropout = 0.1;
            }),
            "--label_dropout must be 0 for --arch seed, which has no null label, got 0.1");
}

// UndefinedBehaviorSanitizer found a sum that overflowed before it was compared.
TEST(ValidateTrainingOptionsTest, NumbersAtTheEndsOfTheirTypesAreComparedWithoutAnOverflow) {
  int TrainingOptions::*const numbers[] = {&TrainingOptions::student_steps,
                                           &TrainingOptions::teacher_steps,
                                           &TrainingOptions::black_below,
                                           &TrainingOptions::epochs,
                                           &TrainingOptions::patience,
                                           &TrainingOptions::batch_size,
                                           &TrainingOptions::accumulate,
                                           &TrainingOptions::warmup_steps,
                                           &TrainingOptions::model_guidance_below,
                                           &TrainingOptions::model_guidance_from,
                                           &TrainingOptions::validation_images,
                                           &TrainingOptions::max_bad_batches,
                                           &TrainingOptions::sample_every};
  for (const auto number : numbers) {
    for (const int images : {64, kAnyImages}) {
      TrainingOptions options;
      options.*number = std::numeric_limits<int>::min();
      EXPECT_EQ(ValidateTrainingOptions(options, images).code(), absl::StatusCode::kInvalidArgument);
      options.*number = std::numeric_limits<int>::max();
      ValidateTrainingOptions(options, images).IgnoreError();  // some may be as large as one likes
    }
  }
}

}  // namespace
}  // namespace denoised
