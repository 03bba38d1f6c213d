// File: cuda_step.h
//
// One denoising step of some images as one CUDA kernel: for each image, the network (network_program.h), guidance,
// fresh noise and the row update, without leaving the multiprocessor. A block of threads has a few images to itself,
// keeps their activations in its shared memory where they fit, and reads the weights, which all blocks share, from the
// cache. So blocks never wait for one another, there is nothing to launch between layers, and any number of images is a
// shape.
//
//   BlockStep<Half>(arguments, index, shared).Run();  // for each index of a block
//
// An image's bits depend neither on the images beside it nor on their number: each output of a convolution is summed by
// one warp in one order, whatever else the warp sums.
//
// The same source is compiled for the GPU (cuda_kernel.cu) and, with the threads of a block taken in turn
// (cuda_threads.h) and PTX's matrix instruction done by hand (cuda_matrix.h), for the CPU (emulated_cuda_engine.cc),
// where tests can reach it.
#ifndef DENOISED_COMMON_ENGINE_CUDA_CUDA_STEP_H_
#define DENOISED_COMMON_ENGINE_CUDA_CUDA_STEP_H_

#include <array>
#include <cstdint>

#include "common/diffusion/noise.h"
#include "common/diffusion/row_update.h"
#include "common/engine/cuda/cuda_block.h"
#include "common/engine/cuda/cuda_convolution.h"
#include "common/engine/cuda/cuda_group_norm.h"
#include "common/engine/cuda/cuda_threads.h"
#include "common/engine/cuda/half.h"
#include "common/engine/cuda/network_program.h"
#include "common/image/image.h"
#include "common/support/host_device.h"

namespace denoised::cuda_step {

// ---- Operations on single values ----

// function(operation, activations, conditioning, line, column, channel, to) for each value of the operation's output.
template <typename T, typename Function>
DENOISED_HOST_DEVICE void ForEachValue(const Block<T>& block, const Operation& operation, const Function& function) {
  ForEachThread([&](int thread) {
    const Layout& out = operation.out;
    const int channels = out.channels, step = kThreads / channels > 0 ? kThreads / channels : 1;
    const int pixels = 1 << 2 * out.log2_size;
    for (int row = 0; row < block.num_rows(); ++row) {
      T* activations = block.ActivationsOf(row);
      const float* conditioning = block.Conditioning(row);
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

template <typename T>
DENOISED_HOST_DEVICE void MaxPool(const Block<T>& block, const Operation& operation) {
  ForEachValue(block, operation,
               [](const Operation& op, const T* activations, const float*, int line, int column, int channel, T* to) {
                 float largest = Load(PixelOf(activations, op.a, op.a.log2_size, 2 * line, 2 * column) + channel);
                 for (int i = 1; i < 4; ++i) {
                   const T* from = PixelOf(activations, op.a, op.a.log2_size, 2 * line + i / 2, 2 * column + i % 2);
                   const float value = Load(from + channel);
                   largest = value > largest ? value : largest;
                 }
                 Store(largest, to);
               });
}

template <typename T>
DENOISED_HOST_DEVICE void AddConditioning(const Block<T>& block, const Operation& operation) {
  ForEachValue(block, operation,
               [](const Operation&, const T*, const float* conditioning, int, int, int channel, T* to) {
                 Store(Load(to) + conditioning[channel], to);
               });
}

template <typename T>
DENOISED_HOST_DEVICE void Copy(const Block<T>& block, const Operation& operation) {
  ForEachValue(block, operation,
               [](const Operation& op, const T* activations, const float*, int line, int column, int channel, T* to) {
                 *to = PixelOf(activations, op.a, op.log2_size, line, column)[channel];
               });
}

template <typename T>
DENOISED_HOST_DEVICE void LoadImage(const Block<T>& block, const Operation& operation) {
  ForEachThread([&](int thread) {
    const Layout& out = operation.out;
    const int size = 1 << out.log2_size;
    const int blocks = kModelSize / size;  // pixels of the image on a side of each of the output's
    for (int i = thread; i < block.num_rows() * size * size; i += kThreads) {
      const int row = i / (size * size), line = i / size % size, column = i % size;
      const float* x = block.X(row);
      T* to = PixelOf(block.ActivationsOf(row), out, out.log2_size, line, column);
      for (int channel = 0; channel < out.channels; ++channel) {
        const bool real = channel < blocks * blocks;
        const int from_line = line * blocks + channel / blocks, from_column = column * blocks + channel % blocks;
        Store(real ? x[from_line * kModelSize + from_column] : 0.0f, to + channel);
      }
    }
  });
}

// ---- The step ----

// A block's part of a step.
template <typename T>
class BlockStep {
 public:
  // shared: BlockMemory::Bytes of the block's shared memory, aligned to 16 bytes.
  DENOISED_HOST_DEVICE BlockStep(const Arguments<T>& arguments, int index, void* shared)
      : block_(arguments, index, shared) {}

  DENOISED_HOST_DEVICE void Run() {
    block_.CopyOperations();
    StartChains();
    for (int pass = 0; pass < NumPasses(); ++pass) {
      block_.set_pass(pass);
      for (int i = 0; i < block_.arguments().num_operations; ++i) Perform(block_.operation(i));
    }
    UpdateImages();
  }

 private:
  // The network runs twice where an image of the block is guided.
  DENOISED_HOST_DEVICE int NumPasses() const {
    for (int row = 0; row < block_.num_rows(); ++row) {
      if (block_.RowAt(row).guidance_scale != 1) return 2;
    }
    return 1;
  }

  // Elements 4 * quad .. 4 * quad + 3 of a row's noise.
  static DENOISED_HOST_DEVICE std::array<float, 4> Noise(const Row& row, uint32_t stream, int quad) {
    const std::array<uint32_t, 4> words =
        Philox4x32({static_cast<uint32_t>(quad), row.image_index, stream, 0},
                   {static_cast<uint32_t>(row.seed), static_cast<uint32_t>(row.seed >> 32)});
    const std::array<float, 2> first = NormalPair(words[0], words[1]), second = NormalPair(words[2], words[3]);
    return {first[0], first[1], second[0], second[1]};
  }

  DENOISED_HOST_DEVICE void StartChains() const {
    ForEachThread([&](int thread) {
      for (int i = thread; i < block_.num_rows() * (kModelPixels / 4); i += kThreads) {
        const int row = i / (kModelPixels / 4), quad = i % (kModelPixels / 4);
        if (block_.RowAt(row).stream != 1) continue;
        const std::array<float, 4> noise = Noise(block_.RowAt(row), kInitialNoise, quad);
        for (int k = 0; k < 4; ++k) {
          block_.X(row)[4 * quad + k] = noise[k];
          block_.X0(row)[4 * quad + k] = 0;
        }
      }
    });
  }

  DENOISED_HOST_DEVICE void Perform(const Operation& operation) const {
    switch (operation.kind) {
      case Operation::Kind::kLoadImage:
        return LoadImage(block_, operation);
      case Operation::Kind::kNormalize:
        return GroupNorm<T>(block_, operation).Run();
      case Operation::Kind::kConvolve:
        return Convolution<T>(block_, operation).Run();
      case Operation::Kind::kMaxPool:
        return MaxPool(block_, operation);
      case Operation::Kind::kAddConditioning:
        return AddConditioning(block_, operation);
      case Operation::Kind::kCopy:
        return Copy(block_, operation);
    }
  }

  DENOISED_HOST_DEVICE void UpdateImages() const {
    ForEachThread([&](int thread) {
      for (int i = thread; i < block_.num_rows() * (kModelPixels / 4); i += kThreads) {
        const int row = i / (kModelPixels / 4), quad = i % (kModelPixels / 4);
        const Row& step = block_.RowAt(row);
        std::array<float, 4> noise = {0, 0, 0, 0};
        if (step.coefficients.d != 0) noise = Noise(step, step.stream, quad);
        for (int k = 0; k < 4; ++k) {
          const int pixel = 4 * quad + k;
          float e = block_.OutputOf(row, 0)[pixel];
          if (step.guidance_scale != 1) {
            const float null = block_.OutputOf(row, 1)[pixel];
            e = null + step.guidance_scale * (e - null);
          }
          UpdatePixel(step.coefficients, e, noise[k], block_.X(row)[pixel], block_.X0(row)[pixel]);
        }
      }
    });
  }

  Block<T> block_;
};

}  // namespace denoised::cuda_step

#endif  // DENOISED_COMMON_ENGINE_CUDA_CUDA_STEP_H_
