// File: noise.h
//
// Random numbers as a pure function of what they are for, so that an image does not depend on its neighbours, on the
// batch, on the load or on the device.
//
//   float pixels[1024];
//   FillNoise({.seed = 42, .image_index = 0, .stream = kInitialNoise}, pixels);   // x_T
//   FillNoise({.seed = 42, .image_index = 0, .stream = 1}, pixels);               // z of the first step
//
// The definition, exact enough to be repeated in any language:
//
//   * Element n of a field takes output n mod 4 of one Philox4x32-10 block (Salmon et al., "Parallel Random Numbers: As
//     Easy as 1, 2, 3", SC 2011) with key (seed mod 2^32, seed div 2^32) and counter (n div 4, image_index, stream, 0).
//   * The stream is 0 for the initial noise and k for the k-th denoising step, counted from 1.
//   * Outputs r0..r3 become normals by Box-Muller, in IEEE single precision, every operation rounded once (no fused
//     multiply-add): with u = (r0 div 2^9 + 0.5) * 2^-23 and v = (r1 div 2^8) * 2^-24, elements 0 and 1 are
//     sqrt(-2 ln u) * cos(2 pi v) and sqrt(-2 ln u) * sin(2 pi v); elements 2 and 3 likewise from r2 and r3.
//   * ln, cos and sin are the polynomials of NormalPair below, which use only + - * / and sqrt: those are exact to the
//     last bit on every IEEE machine, CPU or GPU, which a libm is not. Their error is below 3e-7.
//
// All functions are pure and thread-safe.
#ifndef DENOISED_COMMON_DIFFUSION_NOISE_H_
#define DENOISED_COMMON_DIFFUSION_NOISE_H_

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>

#include "absl/types/span.h"
#include "common/support/host_device.h"

namespace denoised {

// Ten rounds of Philox4x32. `counter` and `key` as in the paper's reference. Of a wider Word the lower 32 bits count,
// and are the result; vector code is faster for Words as wide as the products.
template <typename Word = uint32_t>
DENOISED_HOST_DEVICE inline std::array<Word, 4> Philox4x32(std::array<Word, 4> counter, std::array<uint32_t, 2> key) {
  constexpr uint32_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
  constexpr uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{kMultiplier0} * static_cast<uint32_t>(counter[0]);
    const uint64_t product1 = uint64_t{kMultiplier1} * static_cast<uint32_t>(counter[2]);
    counter = {static_cast<Word>(product1 >> 32) ^ counter[1] ^ key[0], static_cast<Word>(product1),
               static_cast<Word>(product0 >> 32) ^ counter[3] ^ key[1], static_cast<Word>(product0)};
    key = {key[0] + kWeyl0, key[1] + kWeyl1};
  }
  return counter;
}

// Two independent standard normals from two uniform 32-bit words. |result| < 5.8.
DENOISED_HOST_DEVICE inline std::array<float, 2> NormalPair(uint32_t r0, uint32_t r1) {
  // u = bits * 2^-24 = m * 2^exponent with m in [0.5, 1), read off the float's own representation.
  const float bits = static_cast<float>(((r0 >> 9) << 1) | 1);
  const auto word = std::bit_cast<uint32_t>(bits);
  int exponent = static_cast<int>(word >> 23) - 126 - 24;
  float m = std::bit_cast<float>((word & 0x007FFFFF) | 0x3F000000);
  if (m < 0.70710678f) {
    m *= 2.0f;
    --exponent;
  }
  // ln m = 2 artanh((m-1)/(m+1)), its series to the 11th power.
  const float s = (m - 1.0f) / (m + 1.0f);
  const float s2 = s * s;
  const float series = 1.0f + s2 * (1.0f / 3 + s2 * (1.0f / 5 + s2 * (1.0f / 7 + s2 * (1.0f / 9 + s2 * (1.0f / 11)))));
  const float ln_u = static_cast<float>(exponent) * 0.69314718f + 2.0f * s * series;
  const float radius = std::sqrt(-2.0f * ln_u);

  // The angle is a quarter turn times `quadrant` plus f, with |f| at most an eighth of a turn; Taylor series in f.
  const int32_t turn = static_cast<int32_t>(r1 >> 8);  // of 2^24
  const int32_t quadrant = (turn + (1 << 21)) >> 22;
  const float f = static_cast<float>(turn - quadrant * (1 << 22)) * (6.28318531f / 16777216.0f);
  const float f2 = f * f;
  const float sine = f * (1.0f + f2 * (-1.0f / 6 + f2 * (1.0f / 120 + f2 * (-1.0f / 5040 + f2 * (1.0f / 362880)))));
  const float cosine = 1.0f + f2 * (-0.5f + f2 * (1.0f / 24 + f2 * (-1.0f / 720 + f2 * (1.0f / 40320))));
  const bool swap = (quadrant & 1) != 0;
  const float c = swap ? -sine : cosine;
  const float si = swap ? cosine : sine;
  const float sign = (quadrant & 2) != 0 ? -radius : radius;
  return {sign * c, sign * si};
}

inline constexpr uint32_t kInitialNoise = 0;

// Which field of noise: see the definition at the top of this file.
struct NoiseKey {
  uint64_t seed = 0;
  uint32_t image_index = 0;
  uint32_t stream = kInitialNoise;
};

// Fills `out` with the field's elements 0 .. out.size()-1.
void FillNoise(const NoiseKey& key, absl::Span<float> out);

}  // namespace denoised

#endif  // DENOISED_COMMON_DIFFUSION_NOISE_H_
