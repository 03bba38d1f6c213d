#include "common/checkpoint/unet.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

namespace denoised {
namespace {

nlohmann::json Golden() {
  std::ifstream file(DENOISED_SOURCE_DIR "/tests/data/seed_unet.json");
  return nlohmann::json::parse(file);
}

at::Tensor GoldenInput() {
  at::Tensor x = torch::empty({2, 1, 32, 32});
  for (int64_t i = 0; i < x.numel(); ++i) {
    x.data_ptr<float>()[i] = static_cast<float>(std::cos(0.37 * static_cast<double>(i)));
  }
  return x;
}

at::Tensor Forward(torch::jit::Module& unet, const at::Tensor& x, const std::vector<int64_t>& t,
                   const std::vector<int64_t>& y) {
  const torch::NoGradGuard no_grad;
  return unet.forward({x, torch::tensor(t), torch::tensor(y)}).toTensor();
}

TEST(SeedUnetTest, MatchesTheGoldenNumbers) {
  const nlohmann::json golden = Golden();
  torch::jit::Module unet = MakeUnet(SeedUnetConfig());
  const torch::NoGradGuard no_grad;
  size_t k = 0;
  int64_t total = 0;
  for (const auto& parameter : unet.named_parameters()) {
    ASSERT_LT(k, golden["parameters"].size());
    const at::Tensor& value = parameter.value;
    ASSERT_EQ(value.sizes().vec(), golden["parameters"][k]["shape"].get<std::vector<int64_t>>()) << parameter.name;
    // A tensor of one dimension whose name ends so belongs to GroupNorm.
    const bool norm_weight = value.dim() == 1 && parameter.name.ends_with("weight");
    const int64_t fan_in = value.numel() / value.size(0);
    const double scale = value.dim() > 1 ? std::sqrt(2.0 / static_cast<double>(fan_in)) : 0.1;
    for (int64_t n = 0; n < value.numel(); ++n) {
      const double s = std::sin(0.7 * static_cast<double>(n) + 1.3 * static_cast<double>(k) + 0.1);
      value.data_ptr<float>()[n] = static_cast<float>(norm_weight ? 1 + scale * s : scale * s);
    }
    total += value.numel();
    ++k;
  }
  EXPECT_EQ(k, golden["parameters"].size());
  EXPECT_EQ(total, golden["total"].get<int64_t>());
  const at::Tensor output = Forward(unet, GoldenInput(), {7, 913}, {3, 8}).contiguous();
  ASSERT_EQ(output.numel(), static_cast<int64_t>(golden["output"].size()));
  float worst = 0;
  for (int64_t i = 0; i < output.numel(); ++i) {
    worst = std::max(worst, std::abs(output.data_ptr<float>()[i] - golden["output"][i].get<float>()));
  }
  EXPECT_LT(worst, 1e-4f);
}

UnetConfig ConfigOf(const std::string& name) {
  if (name == "seed") return SeedUnetConfig();
  UnetConfig config;
  if (name == "deep") config.blocks = {2, 1, 3};
  return config;
}

class UnetTest : public testing::TestWithParam<const char*> {
 protected:
  UnetTest() {
    torch::jit::setGraphExecutorOptimize(false);  // which takes far longer than these few calls
    torch::manual_seed(5);
    unet_ = MakeUnet(ConfigOf(GetParam()));
    const torch::NoGradGuard no_grad;
    for (const at::Tensor& parameter : unet_.parameters()) parameter.add_(0.02 * torch::randn_like(parameter));
  }

  torch::jit::Module unet_;
};

TEST_P(UnetTest, KeepsTheShapeOfItsInput) {
  const at::Tensor output = Forward(unet_, torch::randn({3, 1, 32, 32}), {0, 1, 2}, {0, 1, 2});
  EXPECT_EQ(output.sizes(), at::IntArrayRef({3, 1, 32, 32}));
}

TEST_P(UnetTest, RowsDoNotInfluenceOneAnother) {
  const at::Tensor x = torch::randn({2, 1, 32, 32});
  const at::Tensor both = Forward(unet_, x, {10, 900}, {1, 2});
  const at::Tensor alone = Forward(unet_, x.slice(0, 0, 1), {10}, {1});
  EXPECT_TRUE(torch::allclose(both.slice(0, 0, 1), alone, 1e-4, 1e-5));
}

TEST_P(UnetTest, TimestepAndLabelCount) {
  const at::Tensor x = torch::randn({1, 1, 32, 32});
  const at::Tensor output = Forward(unet_, x, {10}, {1});
  EXPECT_FALSE(torch::allclose(Forward(unet_, x, {500}, {1}), output));
  EXPECT_FALSE(torch::allclose(Forward(unet_, x, {10}, {2}), output));
}

TEST_P(UnetTest, EveryParameterLearns) {
  for (const at::Tensor& parameter : unet_.parameters()) parameter.requires_grad_(true);
  const at::Tensor x = torch::randn({2, 1, 32, 32});
  unet_.forward({x, torch::tensor({10, 900}), torch::tensor({1, 2})}).toTensor().square().sum().backward();
  for (const auto& parameter : unet_.named_parameters()) {
    ASSERT_TRUE(parameter.value.grad().defined()) << parameter.name;
    EXPECT_GT(parameter.value.grad().abs().max().item<float>(), 0) << parameter.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Architectures, UnetTest, testing::Values("compact", "deep", "seed"),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace denoised
