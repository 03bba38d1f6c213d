#include "common/engine/cpu/cpu_kernels.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "common/support/vector_clones.h"

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace denoised {
namespace {

using Vector = float __attribute__((vector_size(kVectorLanes * sizeof(float)), aligned(4)));
using Words = int32_t __attribute__((vector_size(kVectorLanes * sizeof(int32_t))));

// Inlined always: a function of its own would be compiled for the baseline.
#define DENOISED_INLINE inline __attribute__((always_inline))

DENOISED_INLINE void Load(const float* from, Vector& v) { std::memcpy(&v, from, sizeof v); }
DENOISED_INLINE void Store(const Vector& v, float* to) { std::memcpy(to, &v, sizeof v); }

// exp(v) for v in [-87, 87], to a relative 2e-7: v = n ln 2 + r, |r| at most half of ln 2, Taylor's series in r.
DENOISED_INLINE void Exp(Vector& v) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it leaves n in the lowest bits
  v = v < -87.0f ? Vector{} - 87.0f : v;
  v = v > 87.0f ? Vector{} + 87.0f : v;
  const Vector shifted = v * 1.44269504f + kRound;
  const Vector n = shifted - kRound;
  const Vector r = (v - n * 0.693359375f) - n * -2.12194440e-4f;  // ln 2 in two parts: Cody and Waite
  const Vector series =
      1.0f + r * (1.0f + r * (1.0f / 2 + r * (1.0f / 6 + r * (1.0f / 24 + r * (1.0f / 120 + r * (1.0f / 720))))));
  Words bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = ((bits - 0x4B400000) << 23) + 0x3F800000;  // 2^n
  Vector power;
  std::memcpy(&power, &bits, sizeof power);
  v = series * power;
}

template <Activation activation>
DENOISED_INLINE void Activate(Vector& v) {
  if constexpr (activation == Activation::kSilu) {
    Vector e = -v;
    Exp(e);
    v = v / (1.0f + e);
  } else {
    v = v > 0.0f ? v : v * 0.1f;
  }
}

// The sums over the pixels of (x - centre) or of its square, for 16 channels from x.
template <bool squares>
DENOISED_INLINE void Sum(const float* x, int pixels, int channels, const float* centre, float* sums) {
  Vector middle, v, partial[4] = {};
  Load(centre, middle);
  for (int pixel = 0; pixel < pixels; pixel += 4) {
    for (int k = 0; k < 4; ++k) {
      Load(x + static_cast<int64_t>(pixel + k) * channels, v);
      v -= middle;
      partial[k] += squares ? v * v : v;
    }
  }
  Store((partial[0] + partial[1]) + (partial[2] + partial[3]), sums);
}

template <Activation activation>
DENOISED_INLINE void Apply(const float* x, int pixels, int channels, const float* a, const float* b, float* y) {
  Vector multiplier, offset, v;
  Load(a, multiplier);
  Load(b, offset);
  for (int pixel = 0; pixel < pixels; ++pixel) {
    Load(x + static_cast<int64_t>(pixel) * channels, v);
    v = v * multiplier + offset;
    Activate<activation>(v);
    Store(v, y + static_cast<int64_t>(pixel) * channels);
  }
}

// Turns each channel's sum into the mean of its group.
void GroupMeans(int unit, int group_channels, int pixels, float* sums) {
  for (int first = 0; first < unit; first += group_channels) {
    double total = 0;
    for (int c = first; c < first + group_channels; ++c) total += sums[c];
    const float mean = static_cast<float>(total / (static_cast<double>(pixels) * group_channels));
    for (int c = first; c < first + group_channels; ++c) sums[c] = mean;
  }
}

}  // namespace

FlushDenormals::FlushDenormals() {
#if defined(__SSE2__)
  constexpr unsigned kFlushToZero = 0x8000, kDenormalsAreZero = 0x0040;
  mode_ = _mm_getcsr();
  _mm_setcsr(mode_ | kFlushToZero | kDenormalsAreZero);
#endif
}

FlushDenormals::~FlushDenormals() {
#if defined(__SSE2__)
  _mm_setcsr(mode_);
#endif
}

DENOISED_VECTOR_CLONES
void NormalizeGroups(const float* x, int pixels, int channels, int group_channels, int begin, int end,
                     const float* scale, const float* shift, Activation activation, float* y) {
  float means[kMaxGroupChannels], variances[kMaxGroupChannels], a[kMaxGroupChannels], b[kMaxGroupChannels];
  const float zeros[kVectorLanes] = {};
  const int step = group_channels > kVectorLanes ? group_channels : kVectorLanes;
  for (int first = begin; first < end; first += step) {
    for (int c = 0; c < step; c += kVectorLanes) Sum<false>(x + first + c, pixels, channels, zeros, means + c);
    GroupMeans(step, group_channels, pixels, means);
    for (int c = 0; c < step; c += kVectorLanes) Sum<true>(x + first + c, pixels, channels, means + c, variances + c);
    GroupMeans(step, group_channels, pixels, variances);
    for (int c = 0; c < step; ++c) {
      a[c] = scale[first + c] / std::sqrt(variances[c] + 1e-5f);
      b[c] = shift[first + c] - means[c] * a[c];
    }
    for (int c = 0; c < step; c += kVectorLanes) {
      const float* from = x + first + c;
      float* to = y + first + c;
      if (activation == Activation::kSilu) {
        Apply<Activation::kSilu>(from, pixels, channels, a + c, b + c, to);
      } else {
        Apply<Activation::kLeakyRelu>(from, pixels, channels, a + c, b + c, to);
      }
    }
  }
}

DENOISED_VECTOR_CLONES
void ToBfloat16(const float* x, int64_t count, uint16_t* y) {
  for (int64_t i = 0; i < count; ++i) {
    const auto bits = std::bit_cast<uint32_t>(x[i]);
    const bool number = (bits & 0x7FFFFFFF) <= 0x7F800000;  // others stay what they are: not numbers
    y[i] = static_cast<uint16_t>(number ? (bits + 0x7FFF + (bits >> 16 & 1)) >> 16 : bits >> 16 | 0x40);
  }
}

DENOISED_VECTOR_CLONES
void PixelsToBlocks(const float* x, int size, float* blocks) {
  for (int line = 0; line < size; line += 2) {
    const float* upper = x + static_cast<int64_t>(line) * size;
    const float* lower = upper + size;
    for (int column = 0; column < size; column += 2, blocks += 4) {
      blocks[0] = upper[column];
      blocks[1] = upper[column + 1];
      blocks[2] = lower[column];
      blocks[3] = lower[column + 1];
    }
  }
}

DENOISED_VECTOR_CLONES
void BlocksToPixels(const float* blocks, int size, float* x) {
  for (int line = 0; line < size; line += 2) {
    float* upper = x + static_cast<int64_t>(line) * size;
    float* lower = upper + size;
    for (int column = 0; column < size; column += 2, blocks += 4) {
      upper[column] = blocks[0];
      upper[column + 1] = blocks[1];
      lower[column] = blocks[2];
      lower[column + 1] = blocks[3];
    }
  }
}

DENOISED_VECTOR_CLONES
void MaxPoolLine(const float* x, int size, int channels, int line, float* y) {
  const float* upper = x + static_cast<int64_t>(2 * line) * size * channels;
  const float* lower = upper + static_cast<int64_t>(size) * channels;
  float* to = y + static_cast<int64_t>(line) * (size / 2) * channels;
  for (int column = 0; column < size / 2; ++column) {
    const int64_t left = static_cast<int64_t>(2 * column) * channels, right = left + channels;
    for (int c = 0; c < channels; c += kVectorLanes) {
      Vector v, w;
      const float* const others[] = {upper + right + c, lower + left + c, lower + right + c};
      Load(upper + left + c, v);
      for (const float* other : others) {
        Load(other, w);
        v = v > w ? v : w;
      }
      Store(v, to + static_cast<int64_t>(column) * channels + c);
    }
  }
}

}  // namespace denoised
