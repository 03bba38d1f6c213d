#include "trainer/training/grow_network.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <string>
#include <vector>

#include "common/checkpoint/unet.h"
#include "trainer/training/gradient_workers.h"

namespace denoised {
namespace {

const UnetConfig kSmall = {.channels = {8, 16, 16}, .embedding_dim = 16};

// What MakeUnet leaves zero is not, as in a network that has learnt.
torch::jit::Module Learnt(const UnetConfig& config) {
  torch::manual_seed(1);
  torch::jit::Module unet = MakeUnet(config);
  const torch::NoGradGuard no_grad;
  for (const at::Tensor& parameter : unet.parameters()) parameter.add_(0.2 * torch::randn_like(parameter));
  return unet;
}

torch::jit::Module Grown(const torch::jit::Module& small, const UnetConfig& config) {
  torch::manual_seed(2);
  torch::jit::Module unet = MakeUnet(config);
  GrowFrom(small, unet);
  return unet;
}

at::Tensor Prediction(torch::jit::Module unet) {
  torch::manual_seed(3);
  const at::Tensor x = torch::randn({3, 1, 32, 32});
  return unet.forward({x, torch::tensor({1, 500, 999}), torch::tensor({0, 4, 10})}).toTensor();
}

TEST(GrowFromTest, PredictsWhatTheSmallerNetworkDoes) {
  const torch::NoGradGuard no_grad;
  const torch::jit::Module small = Learnt(kSmall);
  const at::Tensor expected = Prediction(small);
  ASSERT_GT(expected.std().item<float>(), 0.1);
  struct {
    std::vector<int> channels, blocks;
  } cases[] = {{{8, 16, 16}, {2, 3, 1}}, {{8, 16, 16}, {1, 1, 2}},  {{16, 16, 16}, {1, 1, 1}}, {{8, 32, 16}, {1, 1, 1}},
               {{8, 16, 48}, {1, 1, 1}}, {{24, 32, 16}, {2, 1, 1}}, {{16, 32, 32}, {2, 2, 2}}};
  for (const auto& [channels, blocks] : cases) {
    SCOPED_TRACE(testing::PrintToString(channels) + " and " + testing::PrintToString(blocks) + " blocks");
    UnetConfig config = kSmall;
    config.channels = channels;
    config.blocks = blocks;
    ASSERT_TRUE(CanGrow(kSmall, config));
    const at::Tensor prediction = Prediction(Grown(small, config));
    EXPECT_TRUE(torch::allclose(prediction, expected, 1e-4, 1e-4)) << (prediction - expected).abs().max().item<float>();
  }
}

TEST(GrowFromTest, OfTheSameSizeIsTheSameToTheBit) {
  const torch::jit::Module small = Learnt(kSmall), unet = Grown(small, kSmall);
  const std::vector<at::Tensor> of_small = ParametersOf(small), of_unet = ParametersOf(unet);
  ASSERT_EQ(of_small.size(), of_unet.size());
  for (size_t i = 0; i < of_small.size(); ++i) EXPECT_TRUE(torch::equal(of_small[i], of_unet[i])) << i;
}

TEST(GrowFromTest, EqualChannelsLearnDifferentThings) {
  UnetConfig config = kSmall;
  config.channels = {16, 16, 16};
  torch::jit::Module unet = Grown(Learnt(kSmall), config);
  for (const at::Tensor& parameter : unet.parameters()) parameter.set_requires_grad(true);
  Prediction(unet).square().sum().backward();
  const at::Tensor weight = unet.attr("stem").toModule().attr("weight").toTensor(), gradient = weight.grad();
  for (int64_t channel = 0; channel < 16; channel += 2) {
    EXPECT_TRUE(torch::equal(weight[channel], weight[channel + 1]));
    EXPECT_FALSE(torch::allclose(gradient[channel], gradient[channel + 1], 1e-2)) << channel;
  }
}

TEST(CanGrowTest, OnlyIntoWholeMultiplesAndMoreBlocksOfTheSameKind) {
  const auto with = [](auto change) {
    UnetConfig config = kSmall;
    change(config);
    return config;
  };
  EXPECT_TRUE(CanGrow(kSmall, kSmall));
  EXPECT_TRUE(CanGrow(kSmall, with([](UnetConfig& c) { c.channels = {24, 16, 32}; })));
  EXPECT_TRUE(CanGrow(kSmall, with([](UnetConfig& c) { c.blocks = {1, 2, 1}; })));
  EXPECT_FALSE(CanGrow(kSmall, with([](UnetConfig& c) { c.channels = {8, 24, 16}; })));
  EXPECT_FALSE(CanGrow(kSmall, with([](UnetConfig& c) { c.channels = {8, 8, 16}; })));
  EXPECT_FALSE(CanGrow(with([](UnetConfig& c) { c.blocks = {1, 2, 1}; }), kSmall));
  EXPECT_FALSE(CanGrow(kSmall, with([](UnetConfig& c) { c.embedding_dim = 32; })));
  EXPECT_FALSE(CanGrow(kSmall, with([](UnetConfig& c) { c.norm_groups = 4; })));
  EXPECT_FALSE(CanGrow(kSmall, with([](UnetConfig& c) { c.num_labels = 3; })));
  UnetConfig larger = SeedUnetConfig();
  EXPECT_TRUE(CanGrow(larger, larger));
  for (int& channels : larger.channels) channels *= 2;
  EXPECT_FALSE(CanGrow(SeedUnetConfig(), larger));
}

}  // namespace
}  // namespace denoised
