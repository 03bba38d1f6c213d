// In the place of cuda_engine.cc in a build without the CUDA Toolkit.
#include "common/engine/cuda/cuda_engine.h"

namespace denoised {

int CudaDeviceCount() { return 0; }

bool HasCudaKernel() { return false; }

absl::StatusOr<std::unique_ptr<Engine>> MakeCudaEngine(const NetworkProgram& /*program*/,
                                                       const CudaEngineOptions& /*options*/) {
  return absl::UnimplementedError("this build of denoised was made without the CUDA Toolkit");
}

}  // namespace denoised
