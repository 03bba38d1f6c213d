// File: torch_engines.h
//
// What LibTorch runs, for whoever chooses an engine: without LibTorch's headers, and in builds without it too, where
// none of this can be had.
//
//   DENOISED_ASSIGN_OR_RETURN(const CpuNetworkFactory make_network, TorchNetworks(config, tensors));
//
// Thread-safe.
#ifndef DENOISED_COMMON_ENGINE_TORCH_TORCH_ENGINES_H_
#define DENOISED_COMMON_ENGINE_TORCH_TORCH_ENGINES_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/diffusion/engine.h"
#include "common/engine/cpu/cpu_engine.h"
#include "common/model/model_metadata.h"
#include "common/weights/unet_weights.h"

namespace denoised {

struct BatchedEngineOptions {
  std::string device = "cpu";  // as LibTorch names it
  int null_label = 0;          // of guided images' second rows
  int num_slots = 16;
  int max_rows = 32;  // of a step; powers of two up to it, and it, are the batch sizes. A step of more is INTERNAL
};

// Whether this build has LibTorch. Without it the functions below are UNIMPLEMENTED.
bool HasTorch();

// The network by LibTorch's interpreter in fp32 (torch_script_network.h), for one thread each: null for more, whose
// threads cost more than they bring in a network this small. `tensors` are all of UnetParameters(config). INTERNAL if
// LibTorch fails.
absl::StatusOr<CpuNetworkFactory> TorchNetworks(const UnetConfig& config, const HostTensors& tensors);

// The engine of batched_engine.h. INTERNAL if LibTorch fails.
absl::StatusOr<std::unique_ptr<Engine>> MakeTorchEngine(const UnetConfig& config, const HostTensors& tensors,
                                                        const BatchedEngineOptions& options);

}  // namespace denoised

#endif  // DENOISED_COMMON_ENGINE_TORCH_TORCH_ENGINES_H_
