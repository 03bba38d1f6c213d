// File: half.h
//
// IEEE 754 binary16 as storage: arithmetic happens in float. The same bits on a CPU and on a GPU.
// The kernel stores Halfs or, where numbers are to be compared, floats: Load and Store take either.
#ifndef DENOISED_COMMON_ENGINE_CUDA_HALF_H_
#define DENOISED_COMMON_ENGINE_CUDA_HALF_H_

#include <bit>
#include <cstdint>

#include "common/support/host_device.h"

#if defined(__CUDACC__)
#include <cuda_fp16.h>
#endif

namespace denoised {

struct Half {
  uint16_t bits = 0;
};

// Exact.
DENOISED_HOST_DEVICE inline float ToFloat(Half half) {
#if defined(__CUDA_ARCH__)
  return __half2float(__ushort_as_half(half.bits));
#else
  // Exponent and fraction moved to their places in a float, then 2^112 for the difference of the exponents' biases.
  const float magnitude = std::bit_cast<float>((half.bits & 0x7FFFu) << 13) * 0x1p112f;
  const uint32_t infinite = (half.bits & 0x7C00u) == 0x7C00u ? 0x7F800000u : 0;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | infinite | (half.bits & 0x8000u) << 16);
#endif
}

// The nearest, ties to even; beyond 65519 infinity.
DENOISED_HOST_DEVICE inline Half ToHalf(float value) {
#if defined(__CUDA_ARCH__)
  return {__half_as_ushort(__float2half_rn(value))};
#else
  const auto word = std::bit_cast<uint32_t>(value);
  const uint32_t sign = word >> 16 & 0x8000u, magnitude = word & 0x7FFFFFFFu;
  uint32_t bits = 0;
  if (magnitude > 0x7F800000u) {
    bits = 0x7E00u;  // not a number
  } else if (magnitude >= 0x477FF000u) {
    bits = 0x7C00u;
  } else if (magnitude >= 0x38800000u) {
    bits = (magnitude + 0xFFFu + (magnitude >> 13 & 1) - 0x38000000u) >> 13;
  } else {
    // Below 2^-14 the unit is 2^-24, which is that of the floats from 0.5 to 1: the sum rounds as it should.
    bits = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - std::bit_cast<uint32_t>(0.5f);
  }
  return {static_cast<uint16_t>(sign | bits)};
#endif
}

namespace cuda_step {

DENOISED_HOST_DEVICE inline float Load(const float* from) { return *from; }
DENOISED_HOST_DEVICE inline float Load(const Half* from) { return ToFloat(*from); }
DENOISED_HOST_DEVICE inline void Store(float value, float* to) { *to = value; }
DENOISED_HOST_DEVICE inline void Store(float value, Half* to) { *to = ToHalf(value); }

// Two neighbours, of which the first has an even place; Halfs in one access of the memory.
struct Pair {
  float values[2];
};

DENOISED_HOST_DEVICE inline Pair LoadPair(const float* from) { return {{from[0], from[1]}}; }
DENOISED_HOST_DEVICE inline Pair LoadPair(const Half* from) {
#if defined(__CUDA_ARCH__)
  const float2 pair = __half22float2(*reinterpret_cast<const __half2*>(from));
  return {{pair.x, pair.y}};
#else
  return {{ToFloat(from[0]), ToFloat(from[1])}};
#endif
}
DENOISED_HOST_DEVICE inline void StorePair(const Pair& pair, float* to) {
  to[0] = pair.values[0];
  to[1] = pair.values[1];
}
DENOISED_HOST_DEVICE inline void StorePair(const Pair& pair, Half* to) {
#if defined(__CUDA_ARCH__)
  *reinterpret_cast<__half2*>(to) = __floats2half2_rn(pair.values[0], pair.values[1]);
#else
  to[0] = ToHalf(pair.values[0]);
  to[1] = ToHalf(pair.values[1]);
#endif
}

}  // namespace cuda_step
}  // namespace denoised

#endif  // DENOISED_COMMON_ENGINE_CUDA_HALF_H_
