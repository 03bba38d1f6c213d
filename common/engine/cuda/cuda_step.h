// File: cuda_step.h
//
// One denoising step of some images as one CUDA kernel: for each image, the network (network_program.h), guidance,
// fresh noise and the row update, without leaving the multiprocessor. A block of threads has a few images to itself,
// keeps their activations in its shared memory where they fit, and reads the weights, which all blocks share, from the
// cache. So blocks never wait for one another, there is nothing to launch between layers, and any number of images is a
// shape.
//
// An image's bits depend neither on the images beside it nor on their number: each output of a convolution is summed by
// one warp in one order, whatever else the warp sums.
//
// The same source is compiled for the GPU (cuda_kernel.cu) and, with the threads of a block taken in turn and PTX's
// matrix instruction done by hand, for the CPU (emulated_cuda_engine.cc), where tests can reach it. What follows is
// written for that: a block is asked to run a function for each thread, or each warp, and waits for all of them; within
// a warp, a function is run for each lane, and what a lane keeps is a PerLane.
#ifndef DENOISED_COMMON_ENGINE_CUDA_CUDA_STEP_H_
#define DENOISED_COMMON_ENGINE_CUDA_CUDA_STEP_H_

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "common/diffusion/noise.h"
#include "common/diffusion/row_update.h"
#include "common/diffusion/step_plan.h"
#include "common/engine/cuda/half.h"
#include "common/engine/cuda/network_program.h"
#include "common/image/image.h"
#include "common/support/host_device.h"

namespace denoised::cuda_step {

inline constexpr int kThreads = 512;  // of a block
inline constexpr int kLanes = 32;     // of a warp
inline constexpr int kWarps = kThreads / kLanes;
inline constexpr int kTilePixels = 16;  // of a matrix instruction

// One image's step.
struct Row {
  StepCoefficients coefficients;
  float guidance_scale = 1;  // 1: the second network row is not computed
  uint64_t seed = 0;
  uint32_t image_index = 0;
  uint32_t stream = 1;  // of the noise; 1, the first step's, first fills the slot with the initial noise
  int32_t slot = 0;
  int32_t conditioning[2] = {0, 0};  // rows of the table: the label's, the null label's
};

// T is Half or float. Pointers are to the device's memory.
template <typename T>
struct Arguments {
  const Operation* operations = nullptr;
  int num_operations = 0;
  const T* weights = nullptr;
  const float* constants = nullptr;
  const float* conditioning = nullptr;  // [rows of the table, conditioning_width]
  int conditioning_width = 0;
  int norm_groups = 0;
  int64_t values_per_image = 0;

  const Row* rows = nullptr;
  int num_rows = 0;
  int rows_per_block = 1;
  float *x = nullptr, *x0 = nullptr;  // [slots, kModelPixels]
  T* activations = nullptr;           // [num_rows, values_per_image]; null: they are in shared memory
};

// What a block keeps in shared memory, behind one another: the operations, outputs, parts of sums, activations.
struct BlockMemory {
  static constexpr int kPartsPerWarp = 2;

  // Sums of a normalisation for each image, group and warp: mean, and sum of squared deviations.
  static DENOISED_HOST_DEVICE int WarpsPerGroup(int norm_groups) {
    return norm_groups < kWarps ? kWarps / norm_groups : 1;
  }
  static DENOISED_HOST_DEVICE int64_t NumParts(int rows, int norm_groups) {
    return int64_t{rows} * norm_groups * WarpsPerGroup(norm_groups) * kPartsPerWarp;
  }
  // e of each image, with its label and with the null label.
  static DENOISED_HOST_DEVICE int64_t NumOutputs(int rows) { return int64_t{rows} * 2 * kModelPixels; }

  static_assert(std::is_trivially_copyable_v<Operation> && alignof(Operation) <= 16);
  static DENOISED_HOST_DEVICE int64_t OperationBytes(int operations) {
    return (operations * int64_t{sizeof(Operation)} + 15) / 16 * 16;
  }

  // All of it, in bytes; values: of the activations.
  static int64_t Bytes(int operations, int rows, int norm_groups, int64_t values, int64_t bytes_per_value) {
    return OperationBytes(operations) + (NumOutputs(rows) + NumParts(rows, norm_groups)) * int64_t{sizeof(float)} +
           values * bytes_per_value;
  }
};

// ---- Threads, on a GPU and by hand
// ------------------------------------------------------------------------------------

#if defined(__CUDA_ARCH__)

// A lane's own.
template <typename Value>
struct PerLane {
  __device__ Value& operator[](int) { return value; }
  Value value = {};
};

template <typename Function>
__device__ void ForEachThread(const Function& function) {
  function(static_cast<int>(threadIdx.x));
  __syncthreads();
}

template <typename Function>
__device__ void ForEachWarp(const Function& function) {
  function(static_cast<int>(threadIdx.x) / kLanes);
  __syncthreads();
}

template <typename Function>
__device__ void ForEachLane(const Function& function) {
  function(static_cast<int>(threadIdx.x) % kLanes);
}

// The sum of value(lane) over the warp's lanes, for all of them.
template <typename Value>
__device__ float WarpSum(const Value& value) {
  float sum = value(static_cast<int>(threadIdx.x) % kLanes);
  for (int distance = kLanes / 2; distance > 0; distance /= 2) {
    sum += __shfl_xor_sync(0xFFFFFFFFu, sum, distance);
  }
  return sum;
}

#else

template <typename Value>
struct PerLane {
  Value& operator[](int lane) { return values[lane]; }
  Value values[kLanes] = {};
};

template <typename Function>
void ForEachThread(const Function& function) {
  for (int thread = 0; thread < kThreads; ++thread) function(thread);
}

template <typename Function>
void ForEachWarp(const Function& function) {
  for (int warp = 0; warp < kWarps; ++warp) function(warp);
}

template <typename Function>
void ForEachLane(const Function& function) {
  for (int lane = 0; lane < kLanes; ++lane) function(lane);
}

template <typename Value>
float WarpSum(const Value& value) {
  float sums[kLanes], next[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) sums[lane] = value(lane);
  for (int distance = kLanes / 2; distance > 0; distance /= 2) {
    for (int lane = 0; lane < kLanes; ++lane) next[lane] = sums[lane] + sums[lane ^ distance];
    std::copy_n(next, kLanes, sums);
  }
  return sums[0];
}

#endif

// ---- Values
// ------------------------------------------------------------------------------------------------------------

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

DENOISED_HOST_DEVICE inline float Activate(Activation activation, float v) {
  if (activation == Activation::kLeakyRelu) return v > 0 ? v : v * 0.1f;
#if defined(__CUDA_ARCH__)
  return __fdividef(v, 1.0f + __expf(-v));
#else
  return v / (1.0f + std::exp(-v));
#endif
}

// Pixel (line, column) of an image of 2^log2_size pixels a side, which may be the enlarged layout.
template <typename T>
DENOISED_HOST_DEVICE T* PixelOf(T* activations, const Layout& layout, int log2_size, int line, int column) {
  const int shift = log2_size - layout.log2_size;
  return activations + layout.offset +
         (((line >> shift) << layout.log2_size) + (column >> shift)) * static_cast<int64_t>(layout.stride);
}

// ---- Matrix products
// ---------------------------------------------------------------------------------------------------

// C [16, 8] += A [16, 16] B [16, 8], by a warp. Lane l holds, of C, rows l/4 and l/4+8 at columns 2(l%4) and one more:
// the fragments of PTX's mma.m16n8k16 (PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type").
struct Sums {
  float c[4] = {0, 0, 0, 0};  // two columns of the first row, then of the second
};

DENOISED_HOST_DEVICE inline int TileRow(int lane, int element) { return lane / 4 + element / 2 * 8; }
DENOISED_HOST_DEVICE inline int TileColumn(int lane, int element) { return lane % 4 * 2 + element % 2; }

// The pixels that a lane reads for A: those of its two rows; null: zeros.
template <typename T>
struct PixelPair {
  const T* pixel[2] = {nullptr, nullptr};
};

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

// ---- The step
// ----------------------------------------------------------------------------------------------------------

// A block's part of a step.
template <typename T>
class BlockStep {
 public:
  // shared: BlockMemory::Bytes of the block's shared memory, aligned to 16 bytes.
  DENOISED_HOST_DEVICE BlockStep(const Arguments<T>& arguments, int block, void* shared)
      : arguments_(arguments),
        first_row_(block * arguments.rows_per_block),
        num_rows_(arguments.num_rows - first_row_ < arguments.rows_per_block ? arguments.num_rows - first_row_
                                                                             : arguments.rows_per_block),
        operations_(static_cast<Operation*>(shared)),
        outputs_(reinterpret_cast<float*>(static_cast<unsigned char*>(shared) +
                                          BlockMemory::OperationBytes(arguments.num_operations))),
        parts_(outputs_ + BlockMemory::NumOutputs(arguments.rows_per_block)),
        activations_(arguments.activations != nullptr
                         ? arguments.activations + first_row_ * arguments.values_per_image
                         : reinterpret_cast<T*>(
                               parts_ + BlockMemory::NumParts(arguments.rows_per_block, arguments.norm_groups))) {}

  DENOISED_HOST_DEVICE void Run() {
    CopyOperations();
    StartChains();
    for (pass_ = 0; pass_ < NumPasses(); ++pass_) {
      for (int i = 0; i < arguments_.num_operations; ++i) Perform(operations_[i]);
    }
    UpdateImages();
  }

 private:
  DENOISED_HOST_DEVICE const Row& RowAt(int row) const { return arguments_.rows[first_row_ + row]; }
  DENOISED_HOST_DEVICE float* X(int row) const { return arguments_.x + int64_t{RowAt(row).slot} * kModelPixels; }
  DENOISED_HOST_DEVICE float* X0(int row) const { return arguments_.x0 + int64_t{RowAt(row).slot} * kModelPixels; }
  DENOISED_HOST_DEVICE T* ActivationsOf(int row) const { return activations_ + row * arguments_.values_per_image; }
  DENOISED_HOST_DEVICE float* OutputOf(int row, int pass) const { return outputs_ + (2 * row + pass) * kModelPixels; }
  DENOISED_HOST_DEVICE const float* Conditioning(int row) const {
    return arguments_.conditioning + int64_t{RowAt(row).conditioning[pass_]} * arguments_.conditioning_width;
  }

  // The network runs twice where an image of the block is guided.
  DENOISED_HOST_DEVICE int NumPasses() const {
    for (int row = 0; row < num_rows_; ++row) {
      if (RowAt(row).guidance_scale != 1) return 2;
    }
    return 1;
  }

  // To shared memory: from the GPU's own, reading an operation can take longer than performing it.
  DENOISED_HOST_DEVICE void CopyOperations() {
    ForEachThread([&](int thread) {
      for (int i = thread; i < arguments_.num_operations; i += kThreads) operations_[i] = arguments_.operations[i];
    });
  }

  // Elements 4 * block .. 4 * block + 3 of a row's noise.
  static DENOISED_HOST_DEVICE std::array<float, 4> Noise(const Row& row, uint32_t stream, int block) {
    const std::array<uint32_t, 4> words =
        Philox4x32({static_cast<uint32_t>(block), row.image_index, stream, 0},
                   {static_cast<uint32_t>(row.seed), static_cast<uint32_t>(row.seed >> 32)});
    const std::array<float, 2> first = NormalPair(words[0], words[1]), second = NormalPair(words[2], words[3]);
    return {first[0], first[1], second[0], second[1]};
  }

  DENOISED_HOST_DEVICE void StartChains() {
    ForEachThread([&](int thread) {
      for (int i = thread; i < num_rows_ * (kModelPixels / 4); i += kThreads) {
        const int row = i / (kModelPixels / 4), block = i % (kModelPixels / 4);
        if (RowAt(row).stream != 1) continue;
        const std::array<float, 4> noise = Noise(RowAt(row), kInitialNoise, block);
        for (int k = 0; k < 4; ++k) {
          X(row)[4 * block + k] = noise[k];
          X0(row)[4 * block + k] = 0;
        }
      }
    });
  }

  DENOISED_HOST_DEVICE void UpdateImages() {
    ForEachThread([&](int thread) {
      for (int i = thread; i < num_rows_ * (kModelPixels / 4); i += kThreads) {
        const int row = i / (kModelPixels / 4), block = i % (kModelPixels / 4);
        const Row& step = RowAt(row);
        std::array<float, 4> noise = {0, 0, 0, 0};
        if (step.coefficients.d != 0) noise = Noise(step, step.stream, block);
        for (int k = 0; k < 4; ++k) {
          const int pixel = 4 * block + k;
          float e = OutputOf(row, 0)[pixel];
          if (step.guidance_scale != 1) {
            const float null = OutputOf(row, 1)[pixel];
            e = null + step.guidance_scale * (e - null);
          }
          UpdatePixel(step.coefficients, e, noise[k], X(row)[pixel], X0(row)[pixel]);
        }
      }
    });
  }

  DENOISED_HOST_DEVICE void Perform(const Operation& operation) {
    switch (operation.kind) {
      case Operation::Kind::kLoadImage:
        return LoadImage(operation);
      case Operation::Kind::kNormalize:
        return Normalize(operation);
      case Operation::Kind::kConvolve:
        return Convolve(operation);
      case Operation::Kind::kMaxPool:
        return ForEachValue(operation, [](const Operation& op, const T* activations, const float*, int line, int column,
                                          int channel, T* to) {
          float largest = Load(PixelOf(activations, op.a, op.a.log2_size, 2 * line, 2 * column) + channel);
          for (int i = 1; i < 4; ++i) {
            const T* from = PixelOf(activations, op.a, op.a.log2_size, 2 * line + i / 2, 2 * column + i % 2);
            const float value = Load(from + channel);
            largest = value > largest ? value : largest;
          }
          Store(largest, to);
        });
      case Operation::Kind::kAddConditioning:
        return ForEachValue(operation, [](const Operation&, const T*, const float* conditioning, int, int, int channel,
                                          T* to) { Store(Load(to) + conditioning[channel], to); });
      case Operation::Kind::kCopy:
        return ForEachValue(
            operation, [](const Operation& op, const T* activations, const float*, int line, int column, int channel,
                          T* to) { *to = PixelOf(activations, op.a, op.log2_size, line, column)[channel]; });
    }
  }

  // function(operation, activations, conditioning, line, column, channel, to) for each value of the operation's output.
  template <typename Function>
  DENOISED_HOST_DEVICE void ForEachValue(const Operation& operation, const Function& function) {
    ForEachThread([&](int thread) {
      const Layout& out = operation.out;
      const int channels = out.channels, step = kThreads / channels > 0 ? kThreads / channels : 1;
      const int pixels = 1 << 2 * out.log2_size;
      for (int row = 0; row < num_rows_; ++row) {
        T* activations = ActivationsOf(row);
        const float* conditioning = Conditioning(row);
        for (int channel = thread % channels; channel < channels; channel += kThreads) {
          for (int pixel = thread / channels; pixel < pixels; pixel += step) {
            const int line = pixel >> out.log2_size, column = pixel & ((1 << out.log2_size) - 1);
            function(operation, activations, conditioning, line, column, channel,
                     PixelOf(activations, out, out.log2_size, line, column) + channel);
          }
        }
      }
    });
  }

  DENOISED_HOST_DEVICE void LoadImage(const Operation& operation) {
    ForEachThread([&](int thread) {
      const Layout& out = operation.out;
      const int size = 1 << out.log2_size;
      const int blocks = kModelSize / size;  // pixels of the image on a side of each of the output's
      for (int i = thread; i < num_rows_ * size * size; i += kThreads) {
        const int row = i / (size * size), line = i / size % size, column = i % size;
        const float* x = X(row);
        T* to = PixelOf(ActivationsOf(row), out, out.log2_size, line, column);
        for (int channel = 0; channel < out.channels; ++channel) {
          const bool real = channel < blocks * blocks;
          const int from_line = line * blocks + channel / blocks, from_column = column * blocks + channel % blocks;
          Store(real ? x[from_line * kModelSize + from_column] : 0.0f, to + channel);
        }
      }
    });
  }

  // ---- GroupNorm (Wu and He, arXiv 1803.08494)
  // ------------------------------------------------------------------------

  // The tensor that holds a channel of the operation's input, and the channel's place in it.
  static DENOISED_HOST_DEVICE Layout SourceOf(const Operation& operation, int& channel) {
    const bool first = channel < operation.a.channels;
    if (!first) channel -= operation.a.channels;
    return Input(operation, first ? 0 : 1);
  }

  // a or b, value by value: which of two structures is not known at compile time, so those would have to be in memory.
  static DENOISED_HOST_DEVICE Layout Input(const Operation& operation, int index) {
    const Layout &a = operation.a, &b = operation.b;
    return {.offset = index == 0 ? a.offset : b.offset,
            .channels = index == 0 ? a.channels : b.channels,
            .stride = index == 0 ? a.stride : b.stride,
            .log2_size = index == 0 ? a.log2_size : b.log2_size};
  }

  DENOISED_HOST_DEVICE void Normalize(const Operation& operation) {
    const int groups = arguments_.norm_groups, parts = BlockMemory::WarpsPerGroup(groups);
    const int pixels = 1 << 2 * operation.log2_size, pixels_of_part = pixels / parts;
    const int mask = (1 << operation.log2_size) - 1;
    const auto count = static_cast<float>(pixels_of_part * operation.group_channels);

    // Each warp takes mean and squared deviations of its share of a group's pixels; each lane has two channels.
    ForEachWarp([&](int warp) {
      for (int job = warp; job < num_rows_ * groups * parts; job += kWarps) {
        const int part = job % parts, group = job / parts % groups, row = job / parts / groups;
        const T* activations = ActivationsOf(row);
        int channel = group * operation.group_channels;
        const Layout source = SourceOf(operation, channel);
        const int pairs = operation.group_channels / 2;
        const auto sum = [&](const auto& term) {
          return WarpSum([&](int lane) {
            float of_lane = 0;
            for (int i = lane / pairs; i < pixels_of_part; i += kLanes / pairs) {
              const int pixel = part * pixels_of_part + i;
              const Pair pair = LoadPair(
                  PixelOf(activations, source, operation.log2_size, pixel >> operation.log2_size, pixel & mask) +
                  channel + lane % pairs * 2);
              of_lane += term(pair.values[0]) + term(pair.values[1]);
            }
            return of_lane;
          });
        };
        const float mean = sum([](float v) { return v; }) / count;
        const float squares = sum([mean](float v) { return (v - mean) * (v - mean); });
        ForEachLane([&](int lane) {
          if (lane != 0) return;
          parts_[2 * job] = mean;
          parts_[2 * job + 1] = squares;
        });
      }
    });

    // The parts put together (Chan, Golub and LeVeque, 1979), and the group normalised; each thread has two channels.
    ForEachThread([&](int thread) {
      const int channels = operation.a.channels + operation.b.channels, pairs = channels / 2;
      const int first = thread % pairs * 2, group = first / operation.group_channels;
      int channel = first;
      const Layout source = SourceOf(operation, channel);
      for (int row = 0; row < num_rows_; ++row) {
        const float* part = parts_ + 2 * (row * groups + group) * parts;
        float mean = 0, squares = 0;
        for (int i = 0; i < parts; ++i) mean += part[2 * i];
        mean /= static_cast<float>(parts);
        for (int i = 0; i < parts; ++i) {
          squares += part[2 * i + 1] + count * (part[2 * i] - mean) * (part[2 * i] - mean);
        }
        const float inverse = 1.0f / sqrtf(squares / (count * static_cast<float>(parts)) + 1e-5f);
        const float* scale =
            (operation.conditional ? Conditioning(row) : arguments_.constants) + operation.scale + first;
        const float* shift =
            (operation.conditional ? Conditioning(row) : arguments_.constants) + operation.shift + first;
        const float factors[2] = {inverse * scale[0], inverse * scale[1]};
        const float addends[2] = {shift[0] - mean * factors[0], shift[1] - mean * factors[1]};
        T* activations = ActivationsOf(row);
        for (int pixel = thread / pairs; pixel < pixels; pixel += kThreads / pairs) {
          const int line = pixel >> operation.log2_size, column = pixel & mask;
          Pair pair = LoadPair(PixelOf(activations, source, operation.log2_size, line, column) + channel);
          DENOISED_UNROLL(2)
          for (int k = 0; k < 2; ++k) {
            pair.values[k] = Activate(operation.activation, pair.values[k] * factors[k] + addends[k]);
          }
          StorePair(pair, PixelOf(activations, operation.out, operation.log2_size, line, column) + first);
        }
      }
    });
  }

  // ---- Convolution as a product of matrices: [pixels, kernel^2 * in] times [kernel^2 * in, out]
  // -----------------------

  DENOISED_HOST_DEVICE void Convolve(const Operation& operation) {
    // Larger shares of a warp read less; but every warp shall have one. Their size does not change a sum.
    const int rows = num_rows_ << 2 * operation.log2_size >> 4, columns = operation.column_tiles;
    const bool two = rows % 2 == 0;
    if (columns % 4 == 0 && two && rows * columns >= 8 * kWarps) return ConvolveTiles<2, 4>(operation, rows);
    if (columns % 4 == 0 && rows * columns >= 4 * kWarps) return ConvolveTiles<1, 4>(operation, rows);
    if (columns % 2 == 0 && two && rows * columns >= 4 * kWarps) return ConvolveTiles<2, 2>(operation, rows);
    if (columns % 2 == 0 && rows * columns >= 2 * kWarps) return ConvolveTiles<1, 2>(operation, rows);
    ConvolveTiles<1, 1>(operation, rows);
  }

  // The input pixels of tile row `tile_row` for the kernel's element (kernel_line, kernel_column).
  DENOISED_HOST_DEVICE const T* InputPixel(const Operation& operation, const Layout& source, int tile_row,
                                           int kernel_line, int kernel_column) const {
    const int log2_size = operation.log2_size, log2_input = log2_size + operation.log2_stride;
    const int row = tile_row >> 2 * log2_size;
    const int line = (tile_row >> log2_size & ((1 << log2_size) - 1)) << operation.log2_stride;
    const int column = (tile_row & ((1 << log2_size) - 1)) << operation.log2_stride;
    const int margin = operation.kernel_size / 2, size = 1 << log2_input;
    const int from_line = line + kernel_line - margin, from_column = column + kernel_column - margin;
    if (from_line < 0 || from_line >= size || from_column < 0 || from_column >= size) return nullptr;
    return PixelOf(static_cast<const T*>(ActivationsOf(row)), source, log2_input, from_line, from_column);
  }

  // Each warp sums tiles of 16 * kRows pixels and 8 * kColumns output channels.
  template <int kRows, int kColumns>
  DENOISED_HOST_DEVICE void ConvolveTiles(const Operation& operation, int tile_rows) {
    ForEachWarp([&](int warp) {
      const int row_jobs = tile_rows / kRows, column_jobs = operation.column_tiles / kColumns;
      for (int job = warp; job < row_jobs * column_jobs; job += kWarps) {
        const int tile_row = job % row_jobs * kRows, tile_column = job / row_jobs * kColumns;
        PerLane<Sums> sums[kRows][kColumns];
        SumTiles<kRows, kColumns>(operation, tile_row, tile_column, sums);
        ForEachLane([&](int lane) {
          DENOISED_UNROLL(kRows)
          for (int row = 0; row < kRows; ++row) {
            DENOISED_UNROLL(kColumns)
            for (int column = 0; column < kColumns; ++column) {
              DENOISED_UNROLL(2)
              for (int i = 0; i < 4; i += 2) {
                const float* c = sums[row][column][lane].c + i;
                StoreOutputs(operation, (tile_row + row) * kTilePixels + TileRow(lane, i),
                             (tile_column + column) * kTileChannels + TileColumn(lane, i), {{c[0], c[1]}});
              }
            }
          }
        });
      }
    });
  }

  template <int kRows, int kColumns>
  DENOISED_HOST_DEVICE void SumTiles(const Operation& operation, int tile_row, int tile_column,
                                     PerLane<Sums> (&sums)[kRows][kColumns]) {
    const int depth = (operation.a.channels + operation.b.channels) / kTileDepth;
    const int taps = operation.kernel_size * operation.kernel_size;
    const int64_t column_stride = int64_t{depth} * taps * kTileValues;
    const T* tiles = arguments_.weights + operation.weights * kTileValues + tile_column * column_stride;
    // Weights come from far: those of the next few products are on their way while these are computed. fp32, which is
    // for comparison, has no registers to spare for that.
    constexpr bool kReadAhead = std::is_same_v<T, Half>;
    constexpr int kAhead = kReadAhead ? kTilesAhead / kColumns : 1;
    PerLane<typename Matrix<T>::B> ahead[kAhead][kColumns];
    if constexpr (kReadAhead) LoadTiles<kAhead, kColumns>(tiles, column_stride, ahead);
    for (int tap = 0; tap < taps; ++tap) {
      for (int source = 0; source < 2; ++source) {
        const Layout in = Input(operation, source);
        if (in.channels == 0) continue;
        PerLane<PixelPair<T>> pixels[kRows];
        DENOISED_UNROLL(kRows)
        for (int row = 0; row < kRows; ++row) {
          ForEachLane([&](int lane) {
            DENOISED_UNROLL(2)
            for (int i = 0; i < 2; ++i) {
              pixels[row][lane].pixel[i] =
                  InputPixel(operation, in, (tile_row + row) * kTilePixels + TileRow(lane, 2 * i),
                             tap / operation.kernel_size, tap % operation.kernel_size);
            }
          });
        }
        for (int channel = 0; channel < in.channels; channel += kAhead * kTileDepth) {
          const int left = (in.channels - channel) / kTileDepth, steps = left < kAhead ? left : kAhead;
          PerLane<typename Matrix<T>::B> b[kAhead][kColumns];
          if constexpr (kReadAhead) {
            DENOISED_UNROLL(kAhead)
            for (int step = 0; step < kAhead; ++step) {
              DENOISED_UNROLL(kColumns)
              for (int column = 0; column < kColumns; ++column) b[step][column] = ahead[step][column];
            }
            LoadTiles<kAhead, kColumns>(tiles + steps * kTileValues, column_stride, ahead);
          } else {
            LoadTiles<kAhead, kColumns>(tiles, column_stride, b);
          }
          tiles += steps * kTileValues;
          DENOISED_UNROLL(kAhead)
          for (int step = 0; step < kAhead; ++step) {
            if (step >= steps) continue;
            PerLane<typename Matrix<T>::A> a[kRows];
            DENOISED_UNROLL(kRows)
            for (int row = 0; row < kRows; ++row) {
              ForEachLane([&](int lane) {
                a[row][lane] = Matrix<T>::LoadA(pixels[row][lane], channel + step * kTileDepth, lane);
              });
            }
            DENOISED_UNROLL(kColumns)
            for (int column = 0; column < kColumns; ++column) {
              DENOISED_UNROLL(kRows)
              for (int row = 0; row < kRows; ++row) {
                Matrix<T>::MultiplyAdd(a[row], b[step][column], sums[row][column]);
              }
            }
          }
        }
      }
    }
  }

  // The weights of the next kSteps products, of each column of tiles.
  template <int kSteps, int kColumns>
  static DENOISED_HOST_DEVICE void LoadTiles(const T* tiles, int64_t column_stride,
                                             PerLane<typename Matrix<T>::B> (&to)[kSteps][kColumns]) {
    DENOISED_UNROLL(kSteps)
    for (int step = 0; step < kSteps; ++step) {
      DENOISED_UNROLL(kColumns)
      for (int column = 0; column < kColumns; ++column) {
        const T* tile = tiles + column * column_stride + step * kTileValues;
        ForEachLane([&](int lane) { to[step][column][lane] = Matrix<T>::LoadB(tile, lane); });
      }
    }
  }

  // Outputs `channel`, an even one, and the next of the pixel that is tile row `tile_row`.
  DENOISED_HOST_DEVICE void StoreOutputs(const Operation& operation, int tile_row, int channel, Pair pair) {
    const int log2_size = operation.log2_size, row = tile_row >> 2 * log2_size;
    const int line = tile_row >> log2_size & ((1 << log2_size) - 1), column = tile_row & ((1 << log2_size) - 1);
    if (operation.predicts_noise) {
      for (int k = 0; k < 2 && channel + k < operation.out_channels; ++k) {
        const int block = channel + k, scale = operation.spread ? 2 : 1;
        OutputOf(row, pass_)[(scale * line + block / 2) * kModelSize + scale * column + block % 2] =
            pair.values[k] + arguments_.constants[operation.bias + channel + k];
      }
      return;
    }
    // Of layers there are even numbers of channels.
    if (channel >= operation.out_channels) return;
    const int channels = operation.spread ? operation.out_channels / 4 : operation.out_channels;
    const int block = channel / channels;  // of the four pixels
    T* to =
        PixelOf(ActivationsOf(row), operation.out, operation.out.log2_size,
                operation.spread ? 2 * line + block / 2 : line, operation.spread ? 2 * column + block % 2 : column) +
        channel % channels;
    const Pair before = operation.add ? LoadPair(to) : Pair{{0, 0}};
    DENOISED_UNROLL(2)
    for (int k = 0; k < 2; ++k) {
      const float value = pair.values[k] + arguments_.constants[operation.bias + channel + k];
      pair.values[k] = operation.add ? before.values[k] + value : value;
    }
    StorePair(pair, to);
  }

  const Arguments<T>& arguments_;
  const int first_row_;
  const int num_rows_;
  Operation* const operations_;
  float* const outputs_;  // [rows, 2, kModelPixels]
  float* const parts_;    // see BlockMemory
  T* const activations_;  // [rows, values_per_image]
  int pass_ = 0;          // 0: with the images' labels, 1: with the null label
};

}  // namespace denoised::cuda_step

#endif  // DENOISED_COMMON_ENGINE_CUDA_CUDA_STEP_H_
