// File: residual_blocks.h
//
// Which residual blocks the network "compact" (../checkpoint/unet.h) has, for all that lists, makes or runs them.
//
//   for (const ResidualBlock& block : BlocksOf(config, "down8")) ...  // "down8", then "down8_2" and so on
//
// Pure and thread-safe. `config` must be valid (ValidateUnetConfig).
#ifndef DENOISED_COMMON_WEIGHTS_RESIDUAL_BLOCKS_H_
#define DENOISED_COMMON_WEIGHTS_RESIDUAL_BLOCKS_H_

#include <string>
#include <vector>

#include "common/model/model_metadata.h"

namespace denoised {

struct ResidualBlock {
  std::string name;     // of its module
  int in = 0, out = 0;  // channels
};

// Blocks that follow one another at one resolution are a stage: these, in the order of the forward pass.
inline constexpr const char* kStages[] = {"down16", "down8", "down4", "middle", "up4", "up8", "up16"};

// Those of a stage, one after the other. On the way up the first takes twice the channels: those from below, and those
// of the way down.
std::vector<ResidualBlock> BlocksOf(const UnetConfig& config, const std::string& stage);

// Those of all stages.
std::vector<ResidualBlock> AllBlocksOf(const UnetConfig& config);

}  // namespace denoised

#endif  // DENOISED_COMMON_WEIGHTS_RESIDUAL_BLOCKS_H_
