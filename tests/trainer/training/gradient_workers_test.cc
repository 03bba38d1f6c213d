#include "trainer/training/gradient_workers.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "common/checkpoint/unet.h"
#include "common/image/image.h"

namespace denoised {
namespace {

constexpr int kNullLabel = 10;
constexpr double kGuidance = 4;

// Five rows, the last without a label.
class GradientWorkersTest : public testing::Test {
 protected:
  GradientWorkersTest() {
    torch::jit::setGraphExecutorOptimize(false);
    torch::manual_seed(1);
    unet_ = MakeUnet({.channels = {8, 16, 16}, .embedding_dim = 16});
    const torch::NoGradGuard no_grad;
    for (at::Tensor parameter : unet_.parameters()) {
      parameter.add_(0.1 * torch::randn_like(parameter));  // the last layer begins with zeros
      parameter.set_requires_grad(true);
    }
    batch_ = {.x = torch::randn({5, 1, kModelSize, kModelSize}),
              .t = torch::tensor({0, 10, 200, 700, 999}, torch::kInt64),
              .y = torch::tensor({3, 1, 4, 1, kNullLabel}, torch::kInt64),
              .target = torch::randn({5, 1, kModelSize, kModelSize}),
              .weight = torch::tensor({1.0f, 2.0f, 0.5f, 1.0f, 1.0f})};
  }

  at::Tensor Predict(const at::Tensor& y) {
    const torch::NoGradGuard no_grad;
    return unet_.forward({batch_.x, batch_.t, y}).toTensor();
  }
  // All gradients as one vector, and the loss.
  std::pair<at::Tensor, double> Gradient(const TrainingBatch& batch, double guidance, int threads) {
    GradientWorkers workers(unet_, {.threads = threads, .null_label = kNullLabel, .model_guidance = guidance});
    const double loss = workers.Run(batch).loss;
    std::vector<at::Tensor> flat;
    for (const at::Tensor& parameter : ParametersOf(unet_)) flat.push_back(parameter.grad().flatten());
    return {torch::cat(flat), loss};
  }

  torch::jit::Module unet_;
  TrainingBatch batch_;
};

TEST_F(GradientWorkersTest, SeveralThreadsGiveTheGradientOfOne) {
  const auto [one, one_loss] = Gradient(batch_, 1, 1);
  const auto [three, three_loss] = Gradient(batch_, 1, 3);
  EXPECT_TRUE(torch::allclose(one, three, 1e-4, 1e-6));
  EXPECT_NEAR(one_loss, three_loss, 1e-6);
}

TEST_F(GradientWorkersTest, PartsGiveTheGradientOfTheWhole) {
  const auto [whole, whole_loss] = Gradient(batch_, 1, 1);
  GradientWorkers workers(unet_, {.rows_at_once = 2, .null_label = kNullLabel});
  const double loss = workers.Run(batch_).loss;
  std::vector<at::Tensor> flat;
  for (const at::Tensor& parameter : ParametersOf(unet_)) flat.push_back(parameter.grad().flatten());
  EXPECT_TRUE(torch::allclose(torch::cat(flat), whole, 1e-4, 1e-6));
  EXPECT_NEAR(loss, whole_loss, 1e-6);
}

// With the target moved beforehand there is nothing left to guide.
TEST_F(GradientWorkersTest, ModelGuidanceMovesTheTargetAwayFromTheUnlabelledPrediction) {
  const at::Tensor away = Predict(batch_.y) - Predict(torch::full_like(batch_.y, kNullLabel));
  TrainingBatch moved = batch_;
  moved.target = batch_.target + (1 - 1 / kGuidance) * away;
  const auto [expected, moved_loss] = Gradient(moved, 1, 2);
  const auto [guided, loss] = Gradient(batch_, kGuidance, 2);
  const at::Tensor plain = Gradient(batch_, 1, 2).first;
  EXPECT_TRUE(torch::allclose(guided, expected, 1e-4, 1e-6));
  EXPECT_FALSE(torch::allclose(guided, plain, 1e-2, 1e-4)) << "it must make a difference";
  EXPECT_NEAR(loss, moved_loss, 1e-6);
  EXPECT_EQ(away[4].abs().max().item<float>(), 0) << "a row without a label keeps its target";
}

TEST_F(GradientWorkersTest, ModelGuidanceBetweenTwoTimestepsLeavesTheOthersAlone) {
  constexpr int kFrom = 10, kBelow = 700;  // of 0, 10, 200, 700 and 999
  const at::Tensor guided = torch::tensor({0.0f, 1.0f, 1.0f, 0.0f, 0.0f}).view({-1, 1, 1, 1});
  const at::Tensor away = Predict(batch_.y) - Predict(torch::full_like(batch_.y, kNullLabel));
  TrainingBatch moved = batch_;
  moved.target = batch_.target + guided * (1 - 1 / kGuidance) * away;
  const at::Tensor expected = Gradient(moved, 1, 2).first;
  const at::Tensor everywhere = Gradient(batch_, kGuidance, 2).first;
  GradientWorkers workers(unet_, {.threads = 2,
                                  .null_label = kNullLabel,
                                  .model_guidance = kGuidance,
                                  .model_guidance_below = kBelow,
                                  .model_guidance_from = kFrom});
  workers.Run(batch_);
  std::vector<at::Tensor> flat;
  for (const at::Tensor& parameter : ParametersOf(unet_)) flat.push_back(parameter.grad().flatten());
  EXPECT_TRUE(torch::allclose(torch::cat(flat), expected, 1e-4, 1e-6));
  EXPECT_FALSE(torch::allclose(torch::cat(flat), everywhere, 1e-2, 1e-4)) << "it must make a difference";
}

}  // namespace
}  // namespace denoised
