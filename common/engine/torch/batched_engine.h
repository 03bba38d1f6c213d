// File: batched_engine.h
//
// LibTorch's way to run a step on any device: all rows are one network call, padded up to a size from a small fixed
// set. The images in the making stay in host memory, and may differ in their last bits between batch sizes. It is for
// GPUs on which the kernel of ../cuda/ cannot run.
//
//   absl::StatusOr<std::unique_ptr<Engine>> engine =
//       MakeBatchedEngine(checkpoint.unet, {.device = "cuda:0", .num_slots = 16, .max_rows = 32});
#ifndef DENOISED_COMMON_ENGINE_TORCH_BATCHED_ENGINE_H_
#define DENOISED_COMMON_ENGINE_TORCH_BATCHED_ENGINE_H_

#include <torch/script.h>

#include <memory>

#include "absl/status/statusor.h"
#include "common/diffusion/engine.h"
#include "common/engine/torch/torch_engines.h"

namespace denoised {

// Copies `unet`, and returns once every batch size has run. INTERNAL if the network fails; LibTorch's exceptions for a
// device that is not there.
absl::StatusOr<std::unique_ptr<Engine>> MakeBatchedEngine(const torch::jit::Module& unet,
                                                          const BatchedEngineOptions& options);

}  // namespace denoised

#endif  // DENOISED_COMMON_ENGINE_TORCH_BATCHED_ENGINE_H_
