// The readers with and without LibTorch make the same of a checkpoint.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/checkpoint/checkpoint.h"
#include "common/checkpoint/unet.h"
#include "common/weights/conditioning.h"
#include "common/weights/plain_checkpoint.h"
#include "common/weights/residual_blocks.h"
#include "common/weights/unet_parameters.h"
#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

std::vector<UnetConfig> Configs() {
  UnetConfig seed = SeedUnetConfig();
  seed.channels = {8, 16, 24, 32};
  seed.embedding_dim = 12;
  seed.num_labels = 4;
  const UnetConfig odd = {.channels = {12, 8, 20}, .embedding_dim = 10, .norm_groups = 4, .num_labels = 3};
  const UnetConfig deep = {.channels = {8, 8, 16}, .blocks = {2, 1, 3}, .embedding_dim = 10, .num_labels = 3};
  return {UnetConfig(), odd, deep, SeedUnetConfig(), seed};
}

torch::jit::Module Disturbed(const UnetConfig& config) {
  torch::manual_seed(3);
  torch::jit::Module unet = MakeUnet(config);
  const torch::NoGradGuard no_grad;
  for (const at::Tensor& parameter : unet.parameters()) parameter.add_(0.05 * torch::randn_like(parameter));
  return unet;
}

TEST(UnetParametersTest, AreTheModulesInItsOrder) {
  for (const UnetConfig& config : Configs()) {
    const torch::jit::Module unet = MakeUnet(config);
    std::vector<UnetParameter> found;
    for (const auto& parameter : unet.named_parameters()) {
      found.push_back({.name = parameter.name, .shape = parameter.value.sizes().vec()});
    }
    for (const auto& buffer : unet.named_buffers()) {
      found.push_back({.name = buffer.name, .shape = buffer.value.sizes().vec()});
    }
    EXPECT_EQ(UnetParameters(config), found) << config.architecture;
  }
}

// What LibTorch makes of timestep and label, layer by layer.
at::Tensor TableByLibTorch(const UnetConfig& config, torch::jit::Module unet, int num_train_timesteps) {
  const torch::NoGradGuard no_grad;
  const auto parameter = [&unet](const std::string& block, const std::string& layer, const std::string& name) {
    return unet.attr(block).toModule().attr(layer).toModule().attr(name).toTensor();
  };
  const at::Tensor t = torch::arange(num_train_timesteps, torch::kInt64);
  std::vector<at::Tensor> of_labels;
  for (int64_t label = 0; label < config.num_labels; ++label) {
    const at::Tensor e = unet.run_method("embed", t, torch::full_like(t, label)).toTensor();
    std::vector<at::Tensor> columns;
    if (config.architecture == "seed") {
      columns.push_back(e);
    } else {
      for (const auto& [block, in, out] : AllBlocksOf(config)) {
        const at::Tensor film =
            torch::linear(e, parameter(block, "embedding", "weight"), parameter(block, "embedding", "bias"));
        const std::vector<at::Tensor> scale_and_shift = film.chunk(2, 1);
        const at::Tensor scale = scale_and_shift[0] + 1;
        columns.push_back(scale * parameter(block, "norm2", "weight"));
        columns.push_back(scale * parameter(block, "norm2", "bias") + scale_and_shift[1]);
      }
    }
    of_labels.push_back(torch::cat(columns, 1));
  }
  return torch::stack(of_labels).contiguous();
}

TEST(ConditioningTableTest, IsWhatLibTorchMakesOfTimestepAndLabel) {
  for (const UnetConfig& config : Configs()) {
    const torch::jit::Module unet = Disturbed(config);
    const HostTensor table = ConditioningTable(config, HostTensorsOf(unet), 50);
    const at::Tensor expected = TableByLibTorch(config, unet, 50);
    ASSERT_EQ(table.shape, expected.sizes().vec());
    double largest = 0;
    for (size_t i = 0; i < table.values.size(); ++i) {
      largest = std::max(largest, std::abs(double{table.values[i]} - expected.data_ptr<float>()[i]));
    }
    EXPECT_LT(largest, 2e-5) << config.architecture;
  }
}

TEST(PlainTest, BothReadersFindTheSame) {
  for (const UnetConfig& config : Configs()) {
    ModelMetadata metadata;
    metadata.unet = config;
    metadata.class_names.resize(3);
    const std::string bytes = *SerializeCheckpoint(metadata, Disturbed(config));
    const absl::StatusOr<Checkpoint> by_libtorch = ParseCheckpoint("m", bytes);
    const absl::StatusOr<PlainCheckpoint> plain = ParsePlainCheckpoint("m", bytes);
    ASSERT_THAT(by_libtorch, IsOk());
    ASSERT_THAT(plain, IsOk());
    const PlainCheckpoint expected = Plain(*by_libtorch);
    EXPECT_EQ(plain->metadata, expected.metadata);
    EXPECT_EQ(plain->sha256, expected.sha256);
    EXPECT_EQ(plain->parameter_count, expected.parameter_count);
    EXPECT_EQ(plain->golden, expected.golden);
    EXPECT_EQ(plain->tensors, expected.tensors);
  }
}

TEST(PlainTest, NetworkComesBackFromItsTensors) {
  const UnetConfig config = Configs()[1];
  const torch::jit::Module unet = Disturbed(config);
  EXPECT_EQ(HostTensorsOf(UnetOf(config, HostTensorsOf(unet))), HostTensorsOf(unet));
}

}  // namespace
}  // namespace denoised
