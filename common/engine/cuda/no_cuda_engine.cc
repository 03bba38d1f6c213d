// In the place of cuda_engine.cc in a build without the CUDA Toolkit.
#include <filesystem>
#include <system_error>

#include "common/engine/cuda/cuda_engine.h"
#include "common/engine/cuda/cuda_trouble.h"

namespace denoised {

int CudaDeviceCount() { return 0; }

int CudaRowsThatFill(int /*device*/) { return 0; }

std::string CudaTrouble() {
  std::error_code ignored;
  return DescribeTrouble({.has_kernel = false, .has_device_file = std::filesystem::exists("/dev/nvidiactl", ignored)});
}

bool HasCudaKernel() { return false; }

absl::StatusOr<std::unique_ptr<Engine>> MakeCudaEngine(const NetworkProgram& /*program*/,
                                                       const CudaEngineOptions& /*options*/) {
  return absl::UnimplementedError("this build of denoised was made without the CUDA Toolkit");
}

}  // namespace denoised
