#include "trainer/training/learner.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "common/checkpoint/unet.h"

namespace denoised {
namespace {

const UnetConfig kSmallUnet = {.channels = {8, 16, 16}, .embedding_dim = 16};

TEST(EmaTest, BeginsWithTheWeightsAndForgetsThemAtFirstFast) {
  const torch::NoGradGuard no_grad;
  const torch::jit::Module unet = MakeUnet(kSmallUnet);
  Ema ema(unet, MakeUnet(kSmallUnet), 0.5);
  at::Tensor weight = ParametersOf(unet)[0];
  const at::Tensor average = ParametersOf(ema.module())[0], first = weight.clone();
  EXPECT_TRUE(torch::equal(average, first));
  weight.add_(1);
  ema.Update(0);  // by 1/10 of the old, not by half
  EXPECT_TRUE(torch::allclose(average, first + 0.9));
  ema.Update(1000);
  EXPECT_TRUE(torch::allclose(average, first + 0.95));
}

TEST(LearnerTest, LearningRateWarmsUpAndFollowsAHalfCosine) {
  TrainingOptions options;
  options.unet = kSmallUnet;
  options.learning_rate = 2;
  options.warmup_steps = 4;
  const Learner cosine(options, /*total_steps=*/100, /*init=*/nullptr, {});
  EXPECT_DOUBLE_EQ(cosine.LearningRate(0), 0.5);
  EXPECT_DOUBLE_EQ(cosine.LearningRate(50), 1);
  EXPECT_NEAR(cosine.LearningRate(100), 0, 1e-12);
  options.cosine = false;
  const Learner constant(options, /*total_steps=*/100, /*init=*/nullptr, {});
  EXPECT_DOUBLE_EQ(constant.LearningRate(1), 1);
  EXPECT_DOUBLE_EQ(constant.LearningRate(100), 2);
}

}  // namespace
}  // namespace denoised
