#include "common/weights/residual_blocks.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace denoised {

std::vector<ResidualBlock> BlocksOf(const UnetConfig& config, const std::string& stage) {
  const size_t level = stage.ends_with("16") ? 0 : stage.ends_with("8") ? 1 : 2;
  const int channels = config.channels[level], count = stage == "middle" ? 1 : config.blocks[level];
  std::vector<ResidualBlock> blocks;
  for (int i = 0; i < count; ++i) {
    const bool concatenated = i == 0 && stage.starts_with("up");
    blocks.push_back({.name = i == 0 ? stage : absl::StrCat(stage, "_", i + 1),
                      .in = concatenated ? 2 * channels : channels,
                      .out = channels});
  }
  return blocks;
}

std::vector<ResidualBlock> AllBlocksOf(const UnetConfig& config) {
  std::vector<ResidualBlock> all;
  for (const char* stage : kStages) {
    for (ResidualBlock& block : BlocksOf(config, stage)) all.push_back(std::move(block));
  }
  return all;
}

}  // namespace denoised
