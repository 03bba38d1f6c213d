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

// 2, 4 or 8 neighbours, of which the first is at a multiple of as many, of floats at a multiple of at most 4.
template <int kCount>
struct Values {
  float v[kCount] = {};
};

template <int kCount>
DENOISED_HOST_DEVICE inline Values<kCount> LoadValues(const float* from) {
  Values<kCount> values;
#if defined(__CUDA_ARCH__)
  if constexpr (kCount == 2) {
    values.v[0] = reinterpret_cast<const float2*>(from)->x;
    values.v[1] = reinterpret_cast<const float2*>(from)->y;
  } else {
    for (int i = 0; i < kCount; i += 4) {
      const float4 four = *reinterpret_cast<const float4*>(from + i);
      values.v[i] = four.x;
      values.v[i + 1] = four.y;
      values.v[i + 2] = four.z;
      values.v[i + 3] = four.w;
    }
  }
#else
  for (int i = 0; i < kCount; ++i) values.v[i] = from[i];
#endif
  return values;
}

template <int kCount>
DENOISED_HOST_DEVICE inline Values<kCount> LoadValues(const Half* from) {
  Values<kCount> values;
#if defined(__CUDA_ARCH__)
  uint32_t words[kCount / 2];
  if constexpr (kCount == 8) {
    const uint4 all = *reinterpret_cast<const uint4*>(from);
    words[0] = all.x;
    words[1] = all.y;
    words[2] = all.z;
    words[3] = all.w;
  } else if constexpr (kCount == 4) {
    const uint2 both = *reinterpret_cast<const uint2*>(from);
    words[0] = both.x;
    words[1] = both.y;
  } else {
    words[0] = *reinterpret_cast<const uint32_t*>(from);
  }
  for (int i = 0; i < kCount / 2; ++i) {
    const float2 pair = __half22float2(*reinterpret_cast<const __half2*>(&words[i]));
    values.v[2 * i] = pair.x;
    values.v[2 * i + 1] = pair.y;
  }
#else
  for (int i = 0; i < kCount; ++i) values.v[i] = ToFloat(from[i]);
#endif
  return values;
}

template <int kCount>
DENOISED_HOST_DEVICE inline void StoreValues(const Values<kCount>& values, float* to) {
#if defined(__CUDA_ARCH__)
  for (int i = 0; i < kCount; i += 2) {
    *reinterpret_cast<float2*>(to + i) = make_float2(values.v[i], values.v[i + 1]);
  }
#else
  for (int i = 0; i < kCount; ++i) to[i] = values.v[i];
#endif
}

template <int kCount>
DENOISED_HOST_DEVICE inline void StoreValues(const Values<kCount>& values, Half* to) {
#if defined(__CUDA_ARCH__)
  uint32_t words[kCount / 2];
  for (int i = 0; i < kCount / 2; ++i) {
    const __half2 pair = __floats2half2_rn(values.v[2 * i], values.v[2 * i + 1]);
    words[i] = *reinterpret_cast<const uint32_t*>(&pair);
  }
  if constexpr (kCount == 8) {
    *reinterpret_cast<uint4*>(to) = make_uint4(words[0], words[1], words[2], words[3]);
  } else if constexpr (kCount == 4) {
    *reinterpret_cast<uint2*>(to) = make_uint2(words[0], words[1]);
  } else {
    *reinterpret_cast<uint32_t*>(to) = words[0];
  }
#else
  for (int i = 0; i < kCount; ++i) to[i] = ToHalf(values.v[i]);
#endif
}

}  // namespace cuda_step
}  // namespace denoised

#endif  // DENOISED_COMMON_ENGINE_CUDA_HALF_H_
