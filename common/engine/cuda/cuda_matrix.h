// File: cuda_matrix.h
//
// A product of matrices by a warp, C [16, 8] += A [16, 16] B [16, 8]: pixels times a weight tile (network_program.h),
// in fp16 by PTX's matrix instruction, which the CPU does by hand, or in fp32.
//
//   PerLane<Matrix<Half>::A> a;
//   PerLane<Matrix<Half>::B> b;
//   PerLane<Sums> sums;
//   ForEachLane([&](int lane) {
//     a[lane] = Matrix<Half>::LoadA(pixels[lane], channel, lane);
//     b[lane] = Matrix<Half>::LoadB(tile, lane);
//   });
//   Matrix<Half>::MultiplyAdd(a, b, sums);
//
// Lane l holds, of C, rows l/4 and l/4+8 at columns 2(l%4) and one more: the fragments of PTX's mma.m16n8k16 (PTX ISA,
// "Matrix Fragments for mma.m16n8k16 with floating point type").
#ifndef DENOISED_COMMON_ENGINE_CUDA_CUDA_MATRIX_H_
#define DENOISED_COMMON_ENGINE_CUDA_CUDA_MATRIX_H_

#include <cstdint>
#include <cstring>

#include "common/engine/cuda/cuda_threads.h"
#include "common/engine/cuda/half.h"
#include "common/engine/cuda/network_program.h"
#include "common/support/host_device.h"

namespace denoised::cuda_step {

inline constexpr int kTilePixels = 16;  // rows of A and of C

// What a lane holds of C.
struct Sums {
  float c[4] = {0, 0, 0, 0};  // two columns of the first row, then of the second
};

// Where in C element `element` of a lane's Sums is.
DENOISED_HOST_DEVICE inline int TileRow(int lane, int element) { return lane / 4 + element / 2 * 8; }
DENOISED_HOST_DEVICE inline int TileColumn(int lane, int element) { return lane % 4 * 2 + element % 2; }

// The pixels that a lane reads for A: those of its two rows; null: zeros.
template <typename T>
struct PixelPair {
  const T* pixel[2] = {nullptr, nullptr};
};

// What a lane holds of A, 16 channels of 16 pixels, and of B, a weight tile; and their product.
template <typename T>
struct Matrix;

template <>
struct Matrix<Half> {
  struct A {
    uint32_t words[4];  // of two values each: row, row+8, then the same 8 columns on
  };
  struct B {
    uint32_t words[2];
  };

  static DENOISED_HOST_DEVICE uint32_t Word(const Half* from) {
#if defined(__CUDA_ARCH__)
    return *reinterpret_cast<const uint32_t*>(from);  // in one load: two channels from an even one on
#else
    uint32_t word;
    std::memcpy(&word, from, sizeof word);
    return word;
#endif
  }
  static DENOISED_HOST_DEVICE A LoadA(const PixelPair<Half>& pixels, int channel, int lane) {
    const int offset = channel + lane % 4 * 2;
    const Half *first = pixels.pixel[0], *second = pixels.pixel[1];
    return {{first != nullptr ? Word(first + offset) : 0, second != nullptr ? Word(second + offset) : 0,
             first != nullptr ? Word(first + offset + 8) : 0, second != nullptr ? Word(second + offset + 8) : 0}};
  }
  static DENOISED_HOST_DEVICE B LoadB(const Half* tile, int lane) {
    B b;
#if defined(__CUDA_ARCH__)
    const uint2 words = __ldg(reinterpret_cast<const uint2*>(tile) + lane);
    b.words[0] = words.x;
    b.words[1] = words.y;
#else
    std::memcpy(b.words, tile + lane * 4, sizeof b.words);
#endif
    return b;
  }

  static DENOISED_HOST_DEVICE void MultiplyAdd(PerLane<A>& a, PerLane<B>& b, PerLane<Sums>& sums) {
#if defined(__CUDA_ARCH__)
    const uint32_t *x = a[0].words, *y = b[0].words;
    float* c = sums[0].c;
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(y[0]), "r"(y[1]));
#else
    float left[kTilePixels][kTileDepth], right[kTileDepth][kTileChannels], product[kTilePixels][kTileChannels] = {};
    const auto value = [](uint32_t word, int half) { return ToFloat({static_cast<uint16_t>(word >> 16 * half)}); };
    for (int lane = 0; lane < kLanes; ++lane) {
      const int group = lane / 4, pair = lane % 4 * 2;
      for (int half = 0; half < 2; ++half) {
        for (int word = 0; word < 4; ++word) {
          left[group + word % 2 * 8][pair + word / 2 * 8 + half] = value(a[lane].words[word], half);
        }
        for (int word = 0; word < 2; ++word) right[pair + word * 8 + half][group] = value(b[lane].words[word], half);
      }
    }
    for (int row = 0; row < kTilePixels; ++row) {
      for (int k = 0; k < kTileDepth; ++k) {
        for (int column = 0; column < kTileChannels; ++column) product[row][column] += left[row][k] * right[k][column];
      }
    }
    for (int lane = 0; lane < kLanes; ++lane) {
      for (int i = 0; i < 4; ++i) sums[lane].c[i] += product[TileRow(lane, i)][TileColumn(lane, i)];
    }
#endif
  }
};

template <>
struct Matrix<float> {
  struct A {
    const float* rows[2];  // 16 values each, or null
  };
  struct B {
    const float* tile;
  };

  static DENOISED_HOST_DEVICE A LoadA(const PixelPair<float>& pixels, int channel, int /*lane*/) {
    return {{pixels.pixel[0] != nullptr ? pixels.pixel[0] + channel : nullptr,
             pixels.pixel[1] != nullptr ? pixels.pixel[1] + channel : nullptr}};
  }
  static DENOISED_HOST_DEVICE B LoadB(const float* tile, int /*lane*/) { return {tile}; }

  static DENOISED_HOST_DEVICE void MultiplyAdd(PerLane<A>& a, PerLane<B>& b, PerLane<Sums>& sums) {
    ForEachLane([&](int lane) {
      DENOISED_UNROLL(4)
      for (int i = 0; i < 4; ++i) {
        const float* row = a[lane].rows[i / 2];
        if (row == nullptr) continue;
        const float* column = b[lane].tile + TileColumn(lane, i);
        DENOISED_UNROLL(1)
        for (int k = 0; k < kTileDepth; ++k) sums[lane].c[i] += row[k] * column[k * kTileChannels];
      }
    });
  }
};

}  // namespace denoised::cuda_step

#endif  // DENOISED_COMMON_ENGINE_CUDA_CUDA_MATRIX_H_
