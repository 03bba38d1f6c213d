#include "common/engine/cuda/cuda_kernel.h"
#include "common/engine/cuda/cuda_step.h"

namespace denoised::cuda_step {
namespace {

template <typename T>
__global__ void __launch_bounds__(kThreads, 1) StepKernel(const __grid_constant__ Arguments<T> arguments) {
  extern __shared__ __align__(16) unsigned char shared[];
  BlockStep<T>(arguments, static_cast<int>(blockIdx.x), shared).Run();
}

}  // namespace

template <typename T>
cudaError_t AllowSharedMemory(int bytes) {
  return cudaFuncSetAttribute(reinterpret_cast<const void*>(&StepKernel<T>),
                              cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
}

template <typename T>
cudaError_t BlocksPerMultiprocessor(int shared_bytes, int* blocks) {
  return cudaOccupancyMaxActiveBlocksPerMultiprocessor(blocks, reinterpret_cast<const void*>(&StepKernel<T>), kThreads,
                                                       shared_bytes);
}

template <typename T>
cudaError_t LaunchStep(const Arguments<T>& arguments, int shared_bytes, cudaStream_t stream) {
  const int blocks = (arguments.num_rows + arguments.rows_per_block - 1) / arguments.rows_per_block;
  Arguments<T> copy = arguments;
  void* parameters[] = {&copy};
  return cudaLaunchKernel(reinterpret_cast<const void*>(&StepKernel<T>), dim3(blocks), dim3(kThreads), parameters,
                          shared_bytes, stream);
}

template cudaError_t AllowSharedMemory<Half>(int);
template cudaError_t AllowSharedMemory<float>(int);
template cudaError_t BlocksPerMultiprocessor<Half>(int, int*);
template cudaError_t BlocksPerMultiprocessor<float>(int, int*);
template cudaError_t LaunchStep<Half>(const Arguments<Half>&, int, cudaStream_t);
template cudaError_t LaunchStep<float>(const Arguments<float>&, int, cudaStream_t);

}  // namespace denoised::cuda_step
