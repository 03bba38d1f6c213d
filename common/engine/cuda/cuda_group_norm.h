// File: cuda_group_norm.h
//
// GroupNorm (Wu and He, arXiv 1803.08494) and the activation behind it, for the images of a block:
//
//   GroupNorm<T>(block, operation).Run();
//
// Several warps share a group's pixels where there are more warps than groups. First each takes mean and squared
// deviations of its part; then every thread puts the parts together and normalises two channels.
#ifndef DENOISED_COMMON_ENGINE_CUDA_CUDA_GROUP_NORM_H_
#define DENOISED_COMMON_ENGINE_CUDA_CUDA_GROUP_NORM_H_

#include <cmath>

#include "common/engine/cuda/cuda_block.h"
#include "common/engine/cuda/cuda_threads.h"
#include "common/engine/cuda/half.h"
#include "common/engine/cuda/network_program.h"
#include "common/support/host_device.h"
#include "common/weights/activation.h"

namespace denoised::cuda_step {

DENOISED_HOST_DEVICE inline float Activate(Activation activation, float v) {
  if (activation == Activation::kLeakyRelu) return v > 0 ? v : v * 0.1f;
#if defined(__CUDA_ARCH__)
  return __fdividef(v, 1.0f + __expf(-v));
#else
  return v / (1.0f + std::exp(-v));
#endif
}

template <typename T>
class GroupNorm {
 public:
  DENOISED_HOST_DEVICE GroupNorm(const Block<T>& block, const Operation& operation)
      : block_(block),
        operation_(operation),
        groups_(block.arguments().norm_groups),
        parts_per_group_(BlockMemory::WarpsPerGroup(groups_)),
        pixels_(1 << 2 * operation.log2_size),
        pixels_of_part_(pixels_ / parts_per_group_),
        mask_((1 << operation.log2_size) - 1),
        pairs_(operation.group_channels / 2),
        count_(static_cast<float>(pixels_of_part_ * operation.group_channels)) {}

  DENOISED_HOST_DEVICE void Run() const {
    ForEachWarp([&](int warp) {
      for (int job = warp; job < block_.num_rows() * groups_ * parts_per_group_; job += kWarps) MeasurePart(job);
    });
    ForEachThread([&](int thread) { Normalize(thread); });
  }

 private:
  // value * factor + addend, of two channels.
  struct Affine {
    float factors[2], addends[2];
  };

  // The tensor that holds a channel of the operation's input, and the channel's place in it.
  DENOISED_HOST_DEVICE Layout SourceOf(int& channel) const {
    const bool first = channel < operation_.a.channels;
    if (!first) channel -= operation_.a.channels;
    return Input(operation_, first ? 0 : 1);
  }

  // Mean and squared deviations of one part of one group of one row.
  DENOISED_HOST_DEVICE void MeasurePart(int job) const {
    const int part = job % parts_per_group_, group = job / parts_per_group_ % groups_,
              row = job / parts_per_group_ / groups_;
    const T* activations = block_.ActivationsOf(row);
    int channel = group * operation_.group_channels;
    const Layout source = SourceOf(channel);
    const auto sum = [&](const auto& term) { return SumOfPart(activations, source, channel, part, term); };
    const float mean = sum([](float v) { return v; }) / count_;
    const float squares = sum([mean](float v) { return (v - mean) * (v - mean); });
    ForEachLane([&](int lane) {
      if (lane != 0) return;
      block_.parts()[2 * job] = mean;
      block_.parts()[2 * job + 1] = squares;
    });
  }

  // The sum of term(value) over the part of the group that begins with `channel`; each lane has two channels.
  template <typename Term>
  DENOISED_HOST_DEVICE float SumOfPart(const T* activations, const Layout& source, int channel, int part,
                                       const Term& term) const {
    return WarpSum([&](int lane) {
      float of_lane = 0;
      for (int i = lane / pairs_; i < pixels_of_part_; i += kLanes / pairs_) {
        const int pixel = part * pixels_of_part_ + i;
        const Pair pair =
            LoadPair(PixelOf(activations, source, operation_.log2_size, pixel >> operation_.log2_size, pixel & mask_) +
                     channel + lane % pairs_ * 2);
        of_lane += term(pair.values[0]) + term(pair.values[1]);
      }
      return of_lane;
    });
  }

  // A thread's two channels, of every row.
  DENOISED_HOST_DEVICE void Normalize(int thread) const {
    const int channels = operation_.a.channels + operation_.b.channels, pairs = channels / 2;
    const int first = thread % pairs * 2, group = first / operation_.group_channels;
    int channel = first;
    const Layout source = SourceOf(channel);
    for (int row = 0; row < block_.num_rows(); ++row) {
      const Affine affine = AffineOf(row, group, first);
      T* activations = block_.ActivationsOf(row);
      for (int pixel = thread / pairs; pixel < pixels_; pixel += kThreads / pairs) {
        const int line = pixel >> operation_.log2_size, column = pixel & mask_;
        Pair pair = LoadPair(PixelOf(activations, source, operation_.log2_size, line, column) + channel);
        DENOISED_UNROLL(2)
        for (int k = 0; k < 2; ++k) {
          pair.values[k] = Activate(operation_.activation, pair.values[k] * affine.factors[k] + affine.addends[k]);
        }
        StorePair(pair, PixelOf(activations, operation_.out, operation_.log2_size, line, column) + first);
      }
    }
  }

  // Normalisation, scale and shift of channels `first` and the next, which are of group `group`: its parts are put
  // together (Chan, Golub and LeVeque, 1979).
  DENOISED_HOST_DEVICE Affine AffineOf(int row, int group, int first) const {
    const float* part = block_.parts() + 2 * (row * groups_ + group) * parts_per_group_;
    float mean = 0, squares = 0;
    for (int i = 0; i < parts_per_group_; ++i) mean += part[2 * i];
    mean /= static_cast<float>(parts_per_group_);
    for (int i = 0; i < parts_per_group_; ++i) {
      squares += part[2 * i + 1] + count_ * (part[2 * i] - mean) * (part[2 * i] - mean);
    }
    const float inverse = 1.0f / sqrtf(squares / (count_ * static_cast<float>(parts_per_group_)) + 1e-5f);
    const float* constants = operation_.conditional ? block_.Conditioning(row) : block_.arguments().constants;
    const float* scale = constants + operation_.scale + first;
    const float* shift = constants + operation_.shift + first;
    const float factors[2] = {inverse * scale[0], inverse * scale[1]};
    return {.factors = {factors[0], factors[1]},
            .addends = {shift[0] - mean * factors[0], shift[1] - mean * factors[1]}};
  }

  const Block<T>& block_;
  const Operation& operation_;
  const int groups_, parts_per_group_;
  const int pixels_, pixels_of_part_;
  const int mask_;     // of a pixel's column
  const int pairs_;    // of a group's channels
  const float count_;  // values of a part
};

}  // namespace denoised::cuda_step

#endif  // DENOISED_COMMON_ENGINE_CUDA_CUDA_GROUP_NORM_H_
