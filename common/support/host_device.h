// File: host_device.h
//
// DENOISED_HOST_DEVICE before a function compiles it for the CPU and, under nvcc, for the GPU too: one source for
// arithmetic that must agree to the last bit. There it is always inlined: what a call takes the address of would lie in
// slow memory. DENOISED_UNROLL(n) before a loop unrolls it on the GPU.
#ifndef DENOISED_COMMON_SUPPORT_HOST_DEVICE_H_
#define DENOISED_COMMON_SUPPORT_HOST_DEVICE_H_

#if defined(__CUDA_ARCH__)
#define DENOISED_HOST_DEVICE __host__ __device__ __attribute__((always_inline))
#elif defined(__CUDACC__)
#define DENOISED_HOST_DEVICE __host__ __device__
#else
#define DENOISED_HOST_DEVICE
#endif

#if defined(__CUDA_ARCH__)
#define DENOISED_PRAGMA(text) _Pragma(#text)
#define DENOISED_UNROLL(n) DENOISED_PRAGMA(unroll n)
#else
#define DENOISED_UNROLL(n)
#endif

#endif  // DENOISED_COMMON_SUPPORT_HOST_DEVICE_H_
