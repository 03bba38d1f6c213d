#include "common/engine/torch/torch_cuda.h"

#include <dlfcn.h>
#include <torch/cuda.h>

#include <filesystem>

namespace denoised {
namespace {

// Beside the half that is loaded already.
std::filesystem::path CudaLibrary() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&torch::cuda::device_count), &info) == 0) return {};
  return std::filesystem::path(info.dli_fname).parent_path() / "libtorch_cuda.so";
}

// NOTE: never unloaded; LibTorch registers what is in it.
bool LoadCuda() {
  constexpr int kFlags = RTLD_NOW | RTLD_GLOBAL;
  return TorchHasCuda() && dlopen("libcuda.so.1", kFlags) != nullptr &&
         dlopen(CudaLibrary().c_str(), kFlags) != nullptr;
}

}  // namespace

bool TorchHasCuda() {
  std::error_code ignored;
  return std::filesystem::exists(CudaLibrary(), ignored);
}

int TorchCudaDevices() {
  static const bool loaded = LoadCuda();
  return loaded ? static_cast<int>(torch::cuda::device_count()) : 0;
}

}  // namespace denoised
