// File: cuda_trouble.h
//
// Why a GPU that seems to be there is not used, in words for a log:
//
//   if (const std::string trouble = DescribeTrouble(facts); !trouble.empty()) LOG(trouble);
//
// Pure and thread-safe.
#ifndef DENOISED_COMMON_ENGINE_CUDA_CUDA_TROUBLE_H_
#define DENOISED_COMMON_ENGINE_CUDA_CUDA_TROUBLE_H_

#include <string>

namespace denoised {

// What can be seen of a machine's first GPU. Versions are as CUDA numbers them, 13020 for 13.2.
struct CudaFacts {
  bool has_kernel = true;        // of this build
  bool has_device_file = false;  // /dev/nvidiactl, which drivers and container runtimes make
  int driver_version = 0;        // the newest CUDA that it can run; 0: there is no driver library
  int runtime_version = 0;       // this build's
  std::string error = {};        // the runtime's words when asked for devices; "" if it had none to say
  int devices = 0;
  std::string name = {};  // of the first, and its compute capability:
  int major = 0, minor = 0;
};

// The oldest compute capability that the kernel is compiled for: major, of minor 0.
inline constexpr int kOldestCudaMajor = 8;

// "" if the first GPU can be used, or if nothing hints at there being one.
std::string DescribeTrouble(const CudaFacts& facts);

}  // namespace denoised

#endif  // DENOISED_COMMON_ENGINE_CUDA_CUDA_TROUBLE_H_
