#include "common/engine/cuda/cuda_kernel.h"
#include "common/engine/cuda/cuda_step.h"

namespace denoised::cuda_step {
namespace {

template <typename T, bool kShared>
__global__ void __launch_bounds__(kThreads, 1) StepKernel(const __grid_constant__ Arguments<T> arguments) {
  extern __shared__ __align__(16) unsigned char shared[];
  BlockStep<T, kShared>(arguments, static_cast<int>(blockIdx.x), shared).Run();
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    GatherKernel(const __grid_constant__ Arguments<T> arguments, const int32_t* frames, float* gathered) {
  GatherFrame(arguments, frames, static_cast<int>(blockIdx.x), gathered);
}

template <typename T>
const void* KernelFor(bool activations_in_shared_memory) {
  return activations_in_shared_memory ? reinterpret_cast<const void*>(&StepKernel<T, true>)
                                      : reinterpret_cast<const void*>(&StepKernel<T, false>);
}

}  // namespace

template <typename T>
cudaError_t AllowSharedMemory(int bytes) {
  for (const bool shared : {false, true}) {
    const cudaError_t error =
        cudaFuncSetAttribute(KernelFor<T>(shared), cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

template <typename T>
cudaError_t LaunchSteps(const Arguments<T>& arguments, int shared_bytes, cudaStream_t stream) {
  Arguments<T> copy = arguments;
  void* parameters[] = {&copy};
  return cudaLaunchKernel(KernelFor<T>(arguments.activations == nullptr), dim3(arguments.num_blocks), dim3(kThreads),
                          parameters, shared_bytes, stream);
}

template <typename T>
cudaError_t LaunchGather(const Arguments<T>& arguments, const int32_t* frames, int num_frames, float* gathered,
                         cudaStream_t stream) {
  Arguments<T> copy = arguments;
  void* parameters[] = {&copy, &frames, &gathered};
  return cudaLaunchKernel(reinterpret_cast<const void*>(&GatherKernel<T>), dim3(num_frames), dim3(kThreads), parameters,
                          0, stream);
}

template cudaError_t AllowSharedMemory<Half>(int);
template cudaError_t AllowSharedMemory<float>(int);
template cudaError_t LaunchSteps<Half>(const Arguments<Half>&, int, cudaStream_t);
template cudaError_t LaunchSteps<float>(const Arguments<float>&, int, cudaStream_t);
template cudaError_t LaunchGather<Half>(const Arguments<Half>&, const int32_t*, int, float*, cudaStream_t);
template cudaError_t LaunchGather<float>(const Arguments<float>&, const int32_t*, int, float*, cudaStream_t);

}  // namespace denoised::cuda_step
