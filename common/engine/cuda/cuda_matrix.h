// File: cuda_matrix.h
//
// A product of matrices by a warp, C [16, 16] += A [16, 16] B [16, 16]: pixels times a weight tile (network_program.h),
// in fp16 by PTX's matrix instruction, which the CPU does by hand, or in fp32.
//
//   PerLane<int> places;   // of the pixels, see LoadA
//   PerLane<Matrix<Half>::A> a;
//   PerLane<Matrix<Half>::B> b;
//   PerLane<Sums> sums;
//   ForEachLane([&](int lane) { b[lane] = Matrix<Half>::LoadB(tile, lane); });
//   Matrix<Half>::LoadA<kShared>(activations, places, channel, a);
//   Matrix<Half>::MultiplyAdd(activations, a, b, sums);
//
// Lane l holds, of C, rows l/4 and l/4+8 at columns 2(l%4), one more, and both 8 further on: the fragments of two of
// PTX's mma.m16n8k16 (PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type").
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
  float c[8] = {0, 0, 0, 0, 0, 0, 0, 0};  // two columns of the first row, of the second; then 8 columns further on
};

// Where in C element `element` of a lane's Sums is.
DENOISED_HOST_DEVICE inline int TileRow(int lane, int element) { return lane / 4 + element % 4 / 2 * 8; }
DENOISED_HOST_DEVICE inline int TileColumn(int lane, int element) {
  return lane % 4 * 2 + element % 2 + element / 4 * 8;
}

// Where lane l finds what LoadA wants of it: in row l%16 of A, 8 * (l/16) channels on.
DENOISED_HOST_DEVICE inline int RowOfLane(int lane) { return lane % kTilePixels; }
DENOISED_HOST_DEVICE inline int ChannelOfLane(int lane) { return lane / kTilePixels * 8; }

// What a lane holds of A, 16 channels of 16 pixels, and of B, a weight tile; and their product.
template <typename T>
struct Matrix;

template <>
struct Matrix<Half> {
  struct A {
    uint32_t words[4];  // of two values each: row, row+8, then the same 8 columns on
  };
  struct B {
    uint32_t words[4];  // for columns 0 to 7, then 8 to 15
  };

  // Channels `channel` to channel + 15 of 16 pixels: of the pixel of row RowOfLane(l), lane l's place is that of
  // channel ChannelOfLane(l), in values from `activations`, which are in shared memory if kShared.
  template <bool kShared>
  static DENOISED_HOST_DEVICE void LoadA(const Half* activations, PerLane<int>& places, int channel, PerLane<A>& a) {
#if defined(__CUDA_ARCH__)
    uint32_t* words = a[0].words;
    const Half* from = activations + places[0] + channel;
    if constexpr (kShared) {
      asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                   : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                   : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(from)))
                   : "memory");
    } else {
      const int lane = static_cast<int>(threadIdx.x) % kLanes;
      const Half* rows[2];
      for (int i = 0; i < 2; ++i) {
        rows[i] = activations + FromLane(places, lane / 4 + 8 * i) + channel + lane % 4 * 2;
      }
      for (int i = 0; i < 4; ++i) words[i] = *reinterpret_cast<const uint32_t*>(rows[i % 2] + i / 2 * 8);
    }
#else
    for (int lane = 0; lane < kLanes; ++lane) {
      for (int i = 0; i < 4; ++i) {
        const Half* row = activations + places[lane / 4 + i % 2 * 8 + i / 2 * kTilePixels] + channel;
        std::memcpy(&a[lane].words[i], row + lane % 4 * 2, sizeof(uint32_t));
      }
    }
#endif
  }

  static DENOISED_HOST_DEVICE B LoadB(const Half* tile, int lane) {
    B b;
#if defined(__CUDA_ARCH__)
    const uint4 words = __ldg(reinterpret_cast<const uint4*>(tile) + lane);
    b.words[0] = words.x;
    b.words[1] = words.y;
    b.words[2] = words.z;
    b.words[3] = words.w;
#else
    std::memcpy(b.words, tile + lane * 8, sizeof b.words);
#endif
    return b;
  }

  static DENOISED_HOST_DEVICE void MultiplyAdd(const Half* /*activations*/, PerLane<A>& a, PerLane<B>& b,
                                               PerLane<Sums>& sums) {
#if defined(__CUDA_ARCH__)
    const uint32_t* x = a[0].words;
    DENOISED_UNROLL(2)
    for (int half = 0; half < 2; ++half) {
      const uint32_t* y = b[0].words + 2 * half;
      float* c = sums[0].c + 4 * half;
      asm volatile(
          "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
          : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
          : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(y[0]), "r"(y[1]));
    }
#else
    float left[kTilePixels][kTileDepth], right[kTileDepth][kTileChannels], product[kTilePixels][kTileChannels] = {};
    const auto value = [](uint32_t word, int half) { return ToFloat({static_cast<uint16_t>(word >> 16 * half)}); };
    for (int lane = 0; lane < kLanes; ++lane) {
      const int group = lane / 4, pair = lane % 4 * 2;
      for (int half = 0; half < 2; ++half) {
        for (int word = 0; word < 4; ++word) {
          left[group + word % 2 * 8][pair + word / 2 * 8 + half] = value(a[lane].words[word], half);
          right[pair + word % 2 * 8 + half][group + word / 2 * 8] = value(b[lane].words[word], half);
        }
      }
    }
    for (int row = 0; row < kTilePixels; ++row) {
      for (int k = 0; k < kTileDepth; ++k) {
        for (int column = 0; column < kTileChannels; ++column) product[row][column] += left[row][k] * right[k][column];
      }
    }
    for (int lane = 0; lane < kLanes; ++lane) {
      for (int i = 0; i < 8; ++i) sums[lane].c[i] += product[TileRow(lane, i)][TileColumn(lane, i)];
    }
#endif
  }
};

template <>
struct Matrix<float> {
  struct A {
    int rows[2];  // places of 16 values each
  };
  struct B {
    const float* tile;
  };

  template <bool kShared>
  static DENOISED_HOST_DEVICE void LoadA(const float* /*activations*/, PerLane<int>& places, int channel,
                                         PerLane<A>& a) {
    ForEachLane([&](int lane) {
      for (int i = 0; i < 2; ++i) a[lane].rows[i] = FromLane(places, lane / 4 + 8 * i) + channel;
    });
  }
  static DENOISED_HOST_DEVICE B LoadB(const float* tile, int /*lane*/) { return {tile}; }

  static DENOISED_HOST_DEVICE void MultiplyAdd(const float* activations, PerLane<A>& a, PerLane<B>& b,
                                               PerLane<Sums>& sums) {
    ForEachLane([&](int lane) {
      DENOISED_UNROLL(8)
      for (int i = 0; i < 8; ++i) {
        const float* row = activations + a[lane].rows[i % 4 / 2];
        const float* column = b[lane].tile + TileColumn(lane, i);
        DENOISED_UNROLL(4)
        for (int k = 0; k < kTileDepth; ++k) sums[lane].c[i] += row[k] * column[k * kTileChannels];
      }
    });
  }
};

}  // namespace denoised::cuda_step

#endif  // DENOISED_COMMON_ENGINE_CUDA_CUDA_MATRIX_H_
