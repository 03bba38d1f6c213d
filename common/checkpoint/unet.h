// File: unet.h
//
// The networks, as TorchScript modules: one definition that trains, is saved, and is served.
//
//   torch::jit::Module unet = MakeUnet(config);            // random weights from torch's generator
//   at::Tensor e = unet.forward({x, t, y}).toTensor();     // x [B,1,32,32] float32, t [B] int64, y [B] int64
//
// B rows, C channels, H and W pixels. The output has the shape of x. Rows never influence one another: all
// normalisation is GroupNorm, because clean and noisy images share a batch.
//
// "compact", the default: a 2x2 space-to-depth stem, residual blocks on the way down and up at 16x16, 8x8 and 4x4
// (channels[0..2], blocks[0..2] of them each way) and one in the middle; GroupNorm and SiLU, each block's scale and
// shift from timestep and label (Nichol and Dhariwal, arXiv 2102.09672); second convolutions start at zero. 1.6 M
// parameters and 0.09 GFLOP a row with the default sizes.
//
// "seed": the U-Net this project grew from, 6,593,729 parameters and 0.86 GFLOP a row with channels 64, 128, 256, 512
// and embedding_dim 256: (3x3 convolution, GroupNorm, LeakyReLU 0.1) twice per level, max-pooling down, transposed
// convolutions up, label and timestep added once, at the bottleneck.
#ifndef DENOISED_COMMON_CHECKPOINT_UNET_H_
#define DENOISED_COMMON_CHECKPOINT_UNET_H_

#include <torch/script.h>

#include "common/model/model_metadata.h"
#include "common/weights/unet_weights.h"

namespace denoised {

// The sizes of --arch=seed; those of "compact" are UnetConfig's defaults.
UnetConfig SeedUnetConfig();

// A new network on the CPU, with PyTorch's usual random initialisation. `config` must be valid (ValidateUnetConfig).
// Uses torch's global random generator: seed it with torch::manual_seed.
torch::jit::Module MakeUnet(const UnetConfig& config);

// The same with these weights, all of UnetParameters(config) (../weights/unet_parameters.h).
torch::jit::Module UnetOf(const UnetConfig& config, const HostTensors& tensors);

// The inverse: parameters and buffers of a network on any device, in plain memory.
HostTensors HostTensorsOf(const torch::jit::Module& unet);

}  // namespace denoised

#endif  // DENOISED_COMMON_CHECKPOINT_UNET_H_
