// File: cuda_kernel.h
//
// The one kernel of this project: cuda_step.h on a GPU. Raw pointers and a stream in, an error code of the CUDA runtime
// out.
#ifndef DENOISED_COMMON_ENGINE_CUDA_CUDA_KERNEL_H_
#define DENOISED_COMMON_ENGINE_CUDA_CUDA_KERNEL_H_

#include <cuda_runtime_api.h>

#include "common/engine/cuda/cuda_block.h"

namespace denoised::cuda_step {

// Lets blocks of the current device's kernels have up to `bytes` of shared memory.
template <typename T>
cudaError_t AllowSharedMemory(int bytes);

// Queues arguments.num_steps steps of arguments.num_rows network rows, at least one, with shared_bytes =
// BlockMemory::Bytes of a block. Returns at once; pointers in `arguments` are to the device's memory.
template <typename T>
cudaError_t LaunchSteps(const Arguments<T>& arguments, int shared_bytes, cudaStream_t stream);

// Queues GatherFrame (cuda_step.h) of num_frames frames, at least one. `frames` and `gathered` are of the host's
// memory, where the GPU reaches it.
template <typename T>
cudaError_t LaunchGather(const Arguments<T>& arguments, const int32_t* frames, int num_frames, float* gathered,
                         cudaStream_t stream);

}  // namespace denoised::cuda_step

#endif  // DENOISED_COMMON_ENGINE_CUDA_CUDA_KERNEL_H_
