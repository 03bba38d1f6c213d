// File: torch_script_network.h
//
// A network that LibTorch's own interpreter runs in fp32 on the CPU, for what oneDNN alone cannot run.
//
//   const torch::jit::Module unet = OptimizeForCpu(checkpoint.unet);
//   std::unique_ptr<CpuNetwork> network = MakeTorchScriptNetwork(unet, /*max_rows=*/16);
#ifndef DENOISED_COMMON_ENGINE_TORCH_TORCH_SCRIPT_NETWORK_H_
#define DENOISED_COMMON_ENGINE_TORCH_TORCH_SCRIPT_NETWORK_H_

#include <torch/script.h>

#include <memory>

#include "common/engine/cpu/cpu_network.h"

namespace denoised {

// A copy with constant weights, in the layout that LibTorch's convolutions want, once and for all. Besides its speed,
// this is what makes a row's bits independent of the rows beside it: without, LibTorch chooses layouts and algorithms
// anew for each number of rows.
torch::jit::Module OptimizeForCpu(const torch::jit::Module& unet);

// A network for calls of at most max_rows rows, which shares the weights of `unet`, as OptimizeForCpu made it.
std::unique_ptr<CpuNetwork> MakeTorchScriptNetwork(const torch::jit::Module& unet, int max_rows);

}  // namespace denoised

#endif  // DENOISED_COMMON_ENGINE_TORCH_TORCH_SCRIPT_NETWORK_H_
