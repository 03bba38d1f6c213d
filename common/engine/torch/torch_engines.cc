#include "common/engine/torch/torch_engines.h"

#include <torch/script.h>

#include "absl/strings/str_cat.h"
#include "common/checkpoint/torch_error.h"
#include "common/checkpoint/unet.h"
#include "common/engine/torch/batched_engine.h"
#include "common/engine/torch/torch_script_network.h"

namespace denoised {
namespace {

absl::Status Failed(const std::exception& e) {
  return absl::InternalError(absl::StrCat("LibTorch cannot run the network: ", TorchErrorText(e)));
}

}  // namespace

bool HasTorch() { return true; }

absl::StatusOr<CpuNetworkFactory> TorchNetworks(const UnetConfig& config, const HostTensors& tensors) {
  try {
    const torch::jit::Module unet = OptimizeForCpu(UnetOf(config, tensors));
    return [unet](int max_rows, int threads) -> std::unique_ptr<CpuNetwork> {
      if (threads > 1) return nullptr;
      return MakeTorchScriptNetwork(unet, max_rows);
    };
  } catch (const std::exception& e) {
    return Failed(e);
  }
}

absl::StatusOr<std::unique_ptr<Engine>> MakeTorchEngine(const UnetConfig& config, const HostTensors& tensors,
                                                        const BatchedEngineOptions& options) {
  try {
    return MakeBatchedEngine(UnetOf(config, tensors), options);
  } catch (const std::exception& e) {
    return Failed(e);
  }
}

}  // namespace denoised
