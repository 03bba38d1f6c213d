// File: cuda_group_norm.h
//
// GroupNorm (Wu and He, arXiv 1803.08494) and the activation behind it, for the rows of a block:
//
//   GroupNorm(block, operation).Run();
//
// Several warps share a group's pixels where there are more warps than groups, but for small layers. First each takes
// mean and squared deviations of its part; then every thread puts the parts together and normalises eight channels of
// some pixels.
#ifndef DENOISED_COMMON_ENGINE_CUDA_CUDA_GROUP_NORM_H_
#define DENOISED_COMMON_ENGINE_CUDA_CUDA_GROUP_NORM_H_

#include <bit>
#include <cmath>
#include <cstdint>

#include "common/engine/cuda/cuda_block.h"
#include "common/engine/cuda/cuda_threads.h"
#include "common/engine/cuda/half.h"
#include "common/engine/cuda/network_program.h"
#include "common/support/host_device.h"
#include "common/weights/activation.h"

namespace denoised::cuda_step {

// To some 22 bits, on a GPU.
DENOISED_HOST_DEVICE inline float ReciprocalRoot(float v) {
#if defined(__CUDA_ARCH__)
  return rsqrtf(v);
#else
  return 1.0f / std::sqrt(v);
#endif
}

template <Activation kActivation>
DENOISED_HOST_DEVICE inline float Activate(float v) {
  if constexpr (kActivation == Activation::kLeakyRelu) return v > 0 ? v : v * 0.1f;
#if defined(__CUDA_ARCH__)
  float power, quotient;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(-1.44269504f * v));
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(quotient) : "f"(1.0f + power));
  return v * quotient;
#else
  return v / (1.0f + std::exp(-v));
#endif
}

// 2^-exponent.
DENOISED_HOST_DEVICE inline float InversePower(int exponent) {
  return std::bit_cast<float>(static_cast<uint32_t>(127 - exponent) << 23);
}

// a * b + c, rounded once.
DENOISED_HOST_DEVICE inline float MultiplyAdd(float a, float b, float c) {
#if defined(__CUDA_ARCH__)
  return __fmaf_rn(a, b, c);
#else
  return std::fma(a, b, c);
#endif
}

template <typename BlockType>
class GroupNorm {
 public:
  using T = typename BlockType::T;

  DENOISED_HOST_DEVICE GroupNorm(const BlockType& block, const Operation& operation)
      : block_(block),
        operation_(operation),
        log2_groups_(Log2(block.arguments().norm_groups)),
        log2_parts_((operation.group_channels << 2 * operation.log2_size) <= kLanes * kVector
                        ? 0
                        : Log2(BlockMemory::WarpsPerGroup(block.arguments().norm_groups))),
        pixels_(1 << 2 * operation.log2_size),
        pixels_of_part_(pixels_ >> log2_parts_) {}

  DENOISED_HOST_DEVICE void Run() const {
    if (operation_.activation == Activation::kSilu) {
      operation_.group_channels >= 8 ? RunBy<8, Activation::kSilu>() : RunBy<4, Activation::kSilu>();
    } else {
      operation_.group_channels >= 8 ? RunBy<8, Activation::kLeakyRelu>() : RunBy<4, Activation::kLeakyRelu>();
    }
  }

 private:
  static constexpr int kVector = 8;  // channels that a thread normalises: always the same ones
  static_assert(kVector % 8 == 0 && kChannelUnit % kVector == 0);

  struct Affine {
    Values<kVector> scale, shift;
  };

  // kCount of a thread's channels are of one group.
  template <int kCount, Activation kActivation>
  DENOISED_HOST_DEVICE void RunBy() const {
    // Scale and shift come from far: they are on their way while the sums are taken.
    static_assert(kMaxRowsAtOnce == 2);
    PerThread<Affine> affine[kMaxRowsAtOnce];
    ForEachWarp([&](int warp) {
      ForEachLane([&](int lane) {
        const int thread = warp * kLanes + lane;
        affine[0][thread] = ScaleAndShift(0, FirstChannel(thread));
        if (block_.num_rows() > 1) affine[1][thread] = ScaleAndShift(1, FirstChannel(thread));
      });
      const int jobs = block_.num_rows() << log2_groups_ << log2_parts_;
      DENOISED_UNROLL(1)
      for (int job = warp; job < jobs; job += kWarps) MeasurePart<kCount>(job);
    });
    ForEachThread([&](int thread) {
      DENOISED_UNROLL(1)
      for (int row = 0; row < block_.num_rows(); ++row) {
        Normalize<kCount, kActivation>(thread, row, row == 0 ? affine[0][thread] : affine[1][thread]);
      }
    });
  }

  DENOISED_HOST_DEVICE int FirstChannel(int thread) const {
    return (thread & (operation_.out.channels / kVector - 1)) * kVector;
  }

  DENOISED_HOST_DEVICE Affine ScaleAndShift(int row, int channel) const {
    const float* constants = operation_.conditional ? block_.Conditioning(row) : block_.arguments().constants;
    return {.scale = LoadValues<kVector>(constants + operation_.scale + channel),
            .shift = LoadValues<kVector>(constants + operation_.shift + channel)};
  }

  // The tensor that holds a channel of the operation's input, and the channel's place in it.
  DENOISED_HOST_DEVICE Layout SourceOf(int& channel) const {
    const bool first = channel < operation_.a.channels;
    if (!first) channel -= operation_.a.channels;
    return Input(operation_, first ? 0 : 1);
  }

  // Where a pixel of the normalised image lies, which may be enlarged.
  DENOISED_HOST_DEVICE int PlaceOf(const Layout& source, int pixel) const {
    const int log2_size = operation_.log2_size;
    if (source.log2_size == log2_size) return source.offset + pixel * source.stride;
    return PlaceOfPixel(source, log2_size, pixel >> log2_size, pixel & ((1 << log2_size) - 1));
  }

  // Mean and squared deviations of one part of one group of one row. Sums are taken of differences from one of the
  // values, so that they do not cancel where the mean is large.
  template <int kCount>
  DENOISED_HOST_DEVICE void MeasurePart(int job) const {
    const int part = job & ((1 << log2_parts_) - 1), group = job >> log2_parts_ & ((1 << log2_groups_) - 1),
              row = job >> log2_parts_ >> log2_groups_;
    int channel = group * operation_.group_channels;
    const Layout source = SourceOf(channel);
    const T* activations = block_.activations() + block_.PlaceOf(row) + channel;
    const float pivot = Load(activations + PlaceOf(source, part * pixels_of_part_));
    PerLane<float> sums, squares;
    ForEachLane([&](int lane) {
      const int log2_vectors = Log2(operation_.group_channels / kCount), step = kLanes >> log2_vectors;
      const int vector = lane & ((1 << log2_vectors) - 1);
      float sum = 0, square = 0;
      for (int i = lane >> log2_vectors; i < pixels_of_part_; i += step) {
        const int place = PlaceOf(source, part * pixels_of_part_ + i) + vector * kCount;
        const Values<kCount> values = LoadValues<kCount>(activations + place);
        DENOISED_UNROLL(kCount)
        for (int k = 0; k < kCount; ++k) {
          const float difference = values.v[k] - pivot;
          sum += difference;
          square = MultiplyAdd(difference, difference, square);
        }
      }
      sums[lane] = sum;
      squares[lane] = square;
    });
    const float mean = WarpSum([&](int lane) { return sums[lane]; }) * InversePower(Log2OfPart());
    const float square = WarpSum([&](int lane) { return squares[lane]; });
    ForEachLane([&](int lane) {
      if (lane != 0) return;
      block_.parts()[2 * job] = pivot + mean;
      block_.parts()[2 * job + 1] = square - CountOfPart() * mean * mean;
    });
  }

  // Values of a part: a power of two.
  DENOISED_HOST_DEVICE int Log2OfPart() const { return Log2(pixels_of_part_ * operation_.group_channels); }
  DENOISED_HOST_DEVICE float CountOfPart() const {
    return static_cast<float>(pixels_of_part_ * operation_.group_channels);
  }

  template <int kCount, Activation kActivation>
  DENOISED_HOST_DEVICE void Normalize(int thread, int row, Affine affine) const {
    static_assert(kMaxChannels <= kThreads * kVector);  // every channel is some thread's
    const int log2_vectors = Log2(operation_.out.channels / kVector), first = FirstChannel(thread);
    // Of layers that have less pixels than there are threads for, each has pixels of one row only.
    const int step = kThreads >> log2_vectors, mine = thread >> log2_vectors;
    const int first_pixel = step > pixels_ ? mine - row * pixels_ : mine;
    if (first_pixel < 0 || first_pixel >= pixels_) return;
    DENOISED_UNROLL(kVector / kCount)
    for (int k = 0; k < kVector; k += kCount) {
      const Standard standard = PutTogether(row, (first + k) >> Log2(operation_.group_channels));
      DENOISED_UNROLL(kCount)
      for (int i = k; i < k + kCount; ++i) {
        affine.scale.v[i] *= standard.inverse;
        affine.shift.v[i] -= standard.mean * affine.scale.v[i];
      }
    }
    int channel = first;
    const Layout source = SourceOf(channel);
    T* activations = block_.activations() + block_.PlaceOf(row);
    DENOISED_UNROLL(2)
    for (int pixel = first_pixel; pixel < pixels_; pixel += step) {
      Values<kVector> values = LoadValues<kVector>(activations + PlaceOf(source, pixel) + channel);
      DENOISED_UNROLL(kVector)
      for (int k = 0; k < kVector; ++k) {
        values.v[k] = Activate<kActivation>(MultiplyAdd(values.v[k], affine.scale.v[k], affine.shift.v[k]));
      }
      StoreValues(values, activations + operation_.out.offset + pixel * operation_.out.stride + first);
    }
  }

  struct Standard {
    float mean, inverse;  // of the deviation
  };

  // Of a group, from its parts (Chan, Golub and LeVeque, 1979).
  DENOISED_HOST_DEVICE Standard PutTogether(int row, int group) const {
    const int parts = 1 << log2_parts_;
    const float* part = block_.parts() + (2 * ((row << log2_groups_) + group) << log2_parts_);
    const float count = CountOfPart(), share = InversePower(log2_parts_);
    float mean = 0, squares = 0;
    for (int i = 0; i < parts; ++i) mean += part[2 * i];
    mean *= share;
    for (int i = 0; i < parts; ++i) {
      squares += part[2 * i + 1] + count * (part[2 * i] - mean) * (part[2 * i] - mean);
    }
    return {.mean = mean, .inverse = ReciprocalRoot(squares * InversePower(Log2OfPart() + log2_parts_) + 1e-5f)};
  }

  const BlockType& block_;
  const Operation operation_;  // a copy: what is stored might lie in the original
  const int log2_groups_, log2_parts_;
  const int pixels_, pixels_of_part_;
};

}  // namespace denoised::cuda_step

#endif  // DENOISED_COMMON_ENGINE_CUDA_CUDA_GROUP_NORM_H_
