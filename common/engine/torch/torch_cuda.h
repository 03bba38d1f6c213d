// File: torch_cuda.h
//
// The GPU half of LibTorch, which is a library of its own, of a gigabyte with what it needs. Programs are linked
// without it: it is loaded when one asks for GPUs, and only where there is a driver.
//
// Thread-safe.
#ifndef DENOISED_COMMON_ENGINE_TORCH_TORCH_CUDA_H_
#define DENOISED_COMMON_ENGINE_TORCH_TORCH_CUDA_H_

namespace denoised {

// CUDA devices that LibTorch can use; 0 where it has no CUDA or there is no driver. Loads that half at the first call.
int TorchCudaDevices();

// Whether LibTorch has such a half, wanted or not.
bool TorchHasCuda();

}  // namespace denoised

#endif  // DENOISED_COMMON_ENGINE_TORCH_TORCH_CUDA_H_
