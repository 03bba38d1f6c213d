// File: cpu_kernels.h
//
// The arithmetic between convolutions, for one image [pixels, channels] (channels last), on one thread. Written with
// vectors of 16 floats and compiled for several instruction sets, of which the best is chosen at start. Every result is
// rounded as the source says (no fused multiply-add), so that all instruction sets give the same bits.
//
// The functions are pure and thread-safe.
#ifndef DENOISED_COMMON_ENGINE_CPU_CPU_KERNELS_H_
#define DENOISED_COMMON_ENGINE_CPU_CPU_KERNELS_H_

#include <cstdint>

#include "common/weights/activation.h"

namespace denoised {

// Channels come in multiples of this.
inline constexpr int kVectorLanes = 16;
inline constexpr int kMaxGroupChannels = 256;

// A part of GroupNorm (Wu and He, arXiv 1803.08494; epsilon 1e-5) with an activation: channels [begin, end), which are
// whole groups of `group_channels`, of x [pixels, channels] to y, which may be x:
//
//   y = activation(scale[c] * (x - mean of c's group) / sqrt(variance of c's group + epsilon) + shift[c])
//
// pixels is a multiple of 4, begin and end of kVectorLanes; group_channels divides kVectorLanes or is a multiple of it,
// at most kMaxGroupChannels.
void NormalizeGroups(const float* x, int pixels, int channels, int group_channels, int begin, int end,
                     const float* scale, const float* shift, Activation activation, float* y);

// The largest of each 2x2 block: x [size, size, channels] to y [size/2, size/2, channels], for line `line` of y.
// size is even, channels a multiple of kVectorLanes.
void MaxPoolLine(const float* x, int size, int channels, int line, float* y);

// x [size, size] with each 2x2 block's four pixels side by side, as blocks [size/2, size/2, 4]; and back. size is even.
void PixelsToBlocks(const float* x, int size, float* blocks);
void BlocksToPixels(const float* blocks, int size, float* x);

// x [count] rounded to bfloat16, the upper halves of float32's bits: to the nearest, ties to even.
void ToBfloat16(const float* x, int64_t count, uint16_t* y);

// While one lives, the thread that made it, and those that this thread starts, take numbers below 1.2e-38 for zero:
// some processors need a hundred times as long for them. Then the thread is as it was. Only on x86; cheap. To be
// destroyed on the thread that made it.
class FlushDenormals {
 public:
  FlushDenormals();
  ~FlushDenormals();
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
  unsigned mode_ = 0;  // of the thread before
};

}  // namespace denoised

#endif  // DENOISED_COMMON_ENGINE_CPU_CPU_KERNELS_H_
