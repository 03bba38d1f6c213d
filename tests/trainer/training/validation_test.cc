#include "trainer/training/validation.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "common/checkpoint/unet.h"
#include "common/image/image.h"
#include "tests/testing/mnist_folder.h"
#include "trainer/data/mnist.h"

namespace denoised {
namespace {

class ValidationTest : public testing::Test {
 protected:
  ValidationTest() {
    torch::jit::setGraphExecutorOptimize(false);
    torch::manual_seed(1);
    unet_ = MakeUnet({.channels = {8, 16, 16}, .embedding_dim = 16});
    data_.labels.resize(50);
    data_.pixels.resize(50 * data_.pixels.size() / 256);
  }
  double Loss(const GradientOptions& options) { return Validation(data_, schedule_, options).Loss(unet_); }
  // The last layer begins with zeros.
  void Disturb() {
    const torch::NoGradGuard no_grad;
    for (at::Tensor parameter : unet_.parameters()) parameter.add_(0.1 * torch::randn_like(parameter));
  }

  Dataset data_ = *LoadMnist(SmallMnistFolder(), Split::kTrain, {.verify_checksums = false});
  const NoiseSchedule schedule_ = *NoiseSchedule::Create({});
  torch::jit::Module unet_;
};

TEST_F(ValidationTest, OfANetworkThatSaysNothingIsTheNoisesOwn) {
  const TrainingBatches batches(data_, schedule_, {});
  const double expected =
      (batches.MakeFixed(0, 32).target.square().sum() + batches.MakeFixed(32, 18).target.square().sum())
          .item<double>() /
      (50 * 1024);
  EXPECT_NEAR(Loss({}), expected, 1e-6);
}

// As folders of PNGs do. Each class would have timesteps of its own otherwise. A network that says nothing is wrong
// about v by the noise's share of the image, squared, which grey images have least of.
TEST_F(ValidationTest, ClassesThatComeOneAfterTheOtherMeetAllTimesteps) {
  const NoiseSchedule schedule = *NoiseSchedule::Create({.prediction_type = PredictionType::kVPrediction});
  const auto loss_of = [&](uint8_t first, uint8_t second) {
    data_.labels.assign(200, 0);
    data_.pixels.assign(size_t{100} * kModelPixels, first);
    data_.pixels.insert(data_.pixels.end(), size_t{100} * kModelPixels, second);
    return Validation(data_, schedule, {}).Loss(unet_);
  };
  EXPECT_NEAR(loss_of(127, 255), loss_of(255, 127), 0.05);
}

TEST_F(ValidationTest, ThreadsDoNotChangeItsBits) {
  Disturb();
  const double one = Loss({.threads = 1, .null_label = std::nullopt});
  EXPECT_EQ(Loss({.threads = 3, .null_label = std::nullopt}), one);
  EXPECT_EQ(Loss({.threads = 1, .null_label = std::nullopt}), one) << "and it is the same each time";
}

TEST_F(ValidationTest, HasTheTargetOfTraining) {
  Disturb();
  const double plain = Loss({.null_label = 10});
  EXPECT_NE(Loss({.null_label = 10, .model_guidance = 4}), plain);
}

TEST_F(ValidationTest, LeavesNoGradients) {
  for (const at::Tensor& parameter : unet_.parameters()) parameter.set_requires_grad(true);
  Loss({});
  for (const at::Tensor& parameter : unet_.parameters()) EXPECT_FALSE(parameter.grad().defined());
}

}  // namespace
}  // namespace denoised
