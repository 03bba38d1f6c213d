// In place of the other files of this room in builds without LibTorch.
#include "absl/status/status.h"
#include "common/engine/torch/torch_cuda.h"
#include "common/engine/torch/torch_engines.h"

namespace denoised {
namespace {

absl::Status NoTorch() {
  return absl::UnimplementedError("this build of denoised was made without LibTorch, which could run it");
}

}  // namespace

bool HasTorch() { return false; }

absl::StatusOr<CpuNetworkFactory> TorchNetworks(const UnetConfig& /*config*/, const HostTensors& /*tensors*/) {
  return NoTorch();
}

absl::StatusOr<std::unique_ptr<Engine>> MakeTorchEngine(const UnetConfig& /*config*/, const HostTensors& /*tensors*/,
                                                        const BatchedEngineOptions& /*options*/) {
  return NoTorch();
}

bool TorchHasCuda() { return false; }
int TorchCudaDevices() { return 0; }

}  // namespace denoised
