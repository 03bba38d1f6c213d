#include "trainer/training/learner.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <limits>
#include <optional>

#include "common/checkpoint/unet.h"
#include "common/image/image.h"

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

// A step of a network whose last layer is not zero, so that every weight has a gradient.
class StepTest : public testing::Test {
 protected:
  StepTest() {
    torch::jit::setGraphExecutorOptimize(false);
    options_.unet = kSmallUnet;
    options_.warmup_steps = 0;
    learner_.emplace(options_, /*total_steps=*/100, /*init=*/nullptr, GradientOptions{});
    torch::manual_seed(1);
    batch_ = {.x = torch::randn({2, 1, kModelSize, kModelSize}),
              .t = torch::tensor({5, 500}, torch::kInt64),
              .y = torch::tensor({3, 1}, torch::kInt64),
              .target = torch::randn({2, 1, kModelSize, kModelSize}),
              .weight = torch::ones({2})};
  }
  // Weights, averages and the optimizer's moments, as one vector.
  at::Tensor Everything() {
    std::vector<at::Tensor> flat;
    for (const at::Tensor& tensor : learner_->weights()) flat.push_back(tensor.detach().flatten());
    for (const at::Tensor& tensor : learner_->averages()) flat.push_back(tensor.detach().flatten());
    for (const auto& [unused, state] : learner_->optimizer().state()) {
      const auto& adam = static_cast<const torch::optim::AdamWParamState&>(*state);
      flat.push_back(adam.exp_avg().flatten());
      flat.push_back(adam.exp_avg_sq().flatten());
      flat.push_back(torch::full({1}, static_cast<float>(adam.step())));
    }
    return torch::cat(flat).clone();
  }

  TrainingOptions options_;
  std::optional<Learner> learner_;
  TrainingBatch batch_;
};

TEST_F(StepTest, TellsLossNormAndRate) {
  const StepResult result = learner_->Step(50, batch_);
  EXPECT_TRUE(result.taken);
  EXPECT_NEAR(result.loss, batch_.target.square().mean().item<double>(), 1e-5) << "the network still says 0";
  EXPECT_GT(result.gradient_norm, 0);
  EXPECT_DOUBLE_EQ(result.learning_rate, 5e-4);
}

TEST_F(StepTest, LossThatIsNotFiniteChangesNothing) {
  ASSERT_TRUE(learner_->Step(0, batch_).taken);
  const at::Tensor before = Everything();
  batch_.x[1][0][0][0] = std::numeric_limits<float>::quiet_NaN();
  const StepResult result = learner_->Step(1, batch_);
  EXPECT_FALSE(result.taken);
  EXPECT_TRUE(std::isnan(result.loss));
  EXPECT_TRUE(torch::equal(Everything(), before));
}

TEST_F(StepTest, GradientThatIsNotFiniteChangesNothing) {
  ASSERT_TRUE(learner_->Step(0, batch_).taken);
  const at::Tensor before = Everything();
  batch_.weight.fill_(std::numeric_limits<float>::max());  // the loss that is told has no weights
  const StepResult result = learner_->Step(1, batch_);
  EXPECT_FALSE(result.taken);
  EXPECT_TRUE(std::isfinite(result.loss));
  EXPECT_FALSE(std::isfinite(result.gradient_norm));
  EXPECT_TRUE(torch::equal(Everything(), before));
  batch_.weight.fill_(1);
  EXPECT_TRUE(learner_->Step(1, batch_).taken) << "and the next batch is learnt from";
  EXPECT_FALSE(torch::equal(Everything(), before));
}

TEST_F(StepTest, WeightsThatAreNotFiniteAreNoticed) {
  EXPECT_TRUE(learner_->IsFinite());
  const torch::NoGradGuard no_grad;
  learner_->averages()[2].flatten()[0] = std::numeric_limits<float>::infinity();
  EXPECT_FALSE(learner_->IsFinite());
}

}  // namespace
}  // namespace denoised
