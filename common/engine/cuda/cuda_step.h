// File: cuda_step.h
//
// Denoising steps of some images as one CUDA kernel: for each image, the network (network_program.h), guidance, fresh
// noise and the row update, without leaving the multiprocessor. A block of threads has a few images to itself, keeps
// their activations in its shared memory where they fit, and reads the weights, which all blocks share, from the cache.
// So blocks never wait for one another, there is nothing to launch between layers or steps, and any number of images is
// a shape.
//
//   BlockStep<Half, /*kShared=*/true>(arguments, index, shared).Run();  // for each index of a block
//
// An image's bits depend neither on the images beside it nor on their number, nor on how many steps a launch has: each
// output of a convolution is summed in one order, whatever else is summed beside it.
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

// function(activations, conditioning, line, column, channel, to) for each value of the operation's output, with the
// activations of the value's row.
template <typename BlockType, typename Function>
DENOISED_HOST_DEVICE inline void ForEachValue(const BlockType& block, const Operation& operation,
                                              const Function& function) {
  ForEachThread([&](int thread) {
    const Layout& out = operation.out;
    const int channels = out.channels, step = kThreads / channels > 0 ? kThreads / channels : 1;
    const int pixels = 1 << 2 * out.log2_size;
    for (int row = 0; row < block.num_rows(); ++row) {
      typename BlockType::T* activations = block.activations() + block.PlaceOf(row);
      const float* conditioning = block.Conditioning(row);
      for (int channel = thread % channels; channel < channels; channel += kThreads) {
        for (int pixel = thread / channels; pixel < pixels; pixel += step) {
          const int line = pixel >> out.log2_size, column = pixel & ((1 << out.log2_size) - 1);
          function(activations, conditioning, line, column, channel,
                   activations + out.offset + pixel * out.stride + channel);
        }
      }
    }
  });
}

template <typename BlockType>
DENOISED_HOST_DEVICE inline void MaxPool(const BlockType& block, const Operation& operation) {
  using T = typename BlockType::T;
  ForEachValue(block, operation, [&](const T* activations, const float*, int line, int column, int channel, T* to) {
    const T* from = activations + channel;
    const int log2_size = operation.a.log2_size;
    float largest = Load(from + PlaceOfPixel(operation.a, log2_size, 2 * line, 2 * column));
    for (int i = 1; i < 4; ++i) {
      const float value = Load(from + PlaceOfPixel(operation.a, log2_size, 2 * line + i / 2, 2 * column + i % 2));
      largest = value > largest ? value : largest;
    }
    Store(largest, to);
  });
}

template <typename BlockType>
DENOISED_HOST_DEVICE inline void AddConditioning(const BlockType& block, const Operation& operation) {
  using T = typename BlockType::T;
  ForEachValue(block, operation, [](const T*, const float* conditioning, int, int, int channel, T* to) {
    Store(Load(to) + conditioning[channel], to);
  });
}

template <typename BlockType>
DENOISED_HOST_DEVICE inline void Copy(const BlockType& block, const Operation& operation) {
  using T = typename BlockType::T;
  ForEachValue(block, operation, [&](const T* activations, const float*, int line, int column, int channel, T* to) {
    *to = activations[PlaceOfPixel(operation.a, operation.log2_size, line, column) + channel];
  });
}

template <typename BlockType>
DENOISED_HOST_DEVICE inline void LoadImage(const BlockType& block, const Operation& operation) {
  ForEachThread([&](int thread) {
    const Layout& out = operation.out;
    const int pixels = 1 << 2 * out.log2_size;
    const int blocks = kModelSize >> out.log2_size;  // pixels of the image on a side of each of the output's
    for (int i = thread; i < block.num_rows() * pixels; i += kThreads) {
      const int row = i >> 2 * out.log2_size, pixel = i & (pixels - 1);
      const int line = pixel >> out.log2_size, column = pixel & ((1 << out.log2_size) - 1);
      const float* x = block.X(row) + line * blocks * kModelSize + column * blocks;
      typename BlockType::T* to = block.activations() + block.PlaceOf(row) + out.offset + pixel * out.stride;
      for (int channel = 0; channel < out.channels; channel += 2) {
        // Two channels are beside each other in the image, but for an output of the image's size.
        const float* from = x + channel / 2 * kModelSize;
        const bool real = channel < blocks * blocks;
        StoreValues<2>({{real ? from[0] : 0.0f, real && blocks == 2 ? from[1] : 0.0f}}, to + channel);
      }
    }
  });
}

// ---- The steps ----

// A block's part of a launch.
template <typename T, bool kShared>
class BlockStep {
 public:
  // shared: BlockMemory::Bytes of the block's shared memory, aligned to 16 bytes.
  DENOISED_HOST_DEVICE BlockStep(const Arguments<T>& arguments, int index, void* shared)
      : arguments_(arguments),
        first_row_(arguments.first_rows[index]),
        last_row_(arguments.first_rows[index + 1]),
        block_(arguments, index, shared) {}

  DENOISED_HOST_DEVICE void Run() {
    block_.Begin();
    for (int step = 0; step < arguments_.num_steps; ++step) {
      if (step == 0) StartChains();
      for (int row = first_row_; row < last_row_; row += arguments_.rows_at_once) {
        const int left = last_row_ - row;
        block_.SetRows(row, left < arguments_.rows_at_once ? left : arguments_.rows_at_once, step);
        for (int i = 0; i < arguments_.num_operations; ++i) Perform(block_.operation(i));
      }
      UpdateImages(step);
    }
  }

 private:
  // Elements 4 * quad .. 4 * quad + 3 of a row's noise.
  static DENOISED_HOST_DEVICE std::array<float, 4> Noise(const Row& row, uint32_t stream, int quad) {
    const std::array<uint32_t, 4> words =
        Philox4x32({static_cast<uint32_t>(quad), row.image_index, stream, 0},
                   {static_cast<uint32_t>(row.seed), static_cast<uint32_t>(row.seed >> 32)});
    const std::array<float, 2> first = NormalPair(words[0], words[1]), second = NormalPair(words[2], words[3]);
    return {first[0], first[1], second[0], second[1]};
  }

  // function(row, quad) for each four pixels of each image.
  template <typename Function>
  DENOISED_HOST_DEVICE void ForEachQuad(const Function& function) const {
    constexpr int kQuads = kModelPixels / 4;
    ForEachThread([&](int thread) {
      for (int i = thread; i < (last_row_ - first_row_) * kQuads; i += kThreads) {
        const int row = first_row_ + i / kQuads;
        if (!arguments_.rows[row].null_label) function(row, i % kQuads);
      }
    });
  }

  DENOISED_HOST_DEVICE void StartChains() const {
    ForEachQuad([&](int index, int quad) {
      const Row& row = arguments_.rows[index];
      if (row.stream != 1) return;
      const std::array<float, 4> noise = Noise(row, kInitialNoise, quad);
      const int64_t first = int64_t{row.slot} * kModelPixels + 4 * quad;
      for (int k = 0; k < 4; ++k) {
        arguments_.x[first + k] = noise[k];
        arguments_.x0[first + k] = 0;
      }
    });
  }

  DENOISED_HOST_DEVICE void Perform(const Operation& operation) const {
    switch (operation.kind) {
      case Operation::Kind::kLoadImage:
        return LoadImage(block_, operation);
      case Operation::Kind::kNormalize:
        return GroupNorm(block_, operation).Run();
      case Operation::Kind::kConvolve:
        return Convolution(block_, operation).Run();
      case Operation::Kind::kMaxPool:
        return MaxPool(block_, operation);
      case Operation::Kind::kAddConditioning:
        return AddConditioning(block_, operation);
      case Operation::Kind::kCopy:
        return Copy(block_, operation);
    }
  }

  DENOISED_HOST_DEVICE void UpdateImages(int step) const {
    ForEachQuad([&](int index, int quad) {
      const Row& row = arguments_.rows[index];
      const StepCoefficients coefficients = arguments_.coefficients[step * arguments_.num_rows + index];
      std::array<float, 4> noise = {0, 0, 0, 0};
      if (coefficients.d != 0) noise = Noise(row, row.stream + static_cast<uint32_t>(step), quad);
      const float* e = arguments_.e + int64_t{index} * kModelPixels + 4 * quad;
      const int64_t first = int64_t{row.slot} * kModelPixels + 4 * quad;
      for (int k = 0; k < 4; ++k) {
        float output = e[k];
        if (row.guidance_scale != 1) {
          const float null = e[kModelPixels + k];
          output = null + row.guidance_scale * (output - null);
        }
        UpdatePixel(coefficients, output, noise[k], arguments_.x[first + k], arguments_.x0[first + k]);
        const float difference = arguments_.x[first + k] - arguments_.x[first + k];
        if (difference != 0) arguments_.not_finite[row.slot] = 1;  // threads that find the same write the same
      }
    });
  }

  const Arguments<T>& arguments_;
  const int first_row_, last_row_;
  Block<T, kShared> block_;
};

// ---- Frames ----

// Block `index` of so many copies a frame into the host's memory: frames[index] is 2 * slot, and 1 more for x0.
template <typename T>
DENOISED_HOST_DEVICE inline void GatherFrame(const Arguments<T>& arguments, const int32_t* frames, int index,
                                             float* gathered) {
  const float* images = frames[index] % 2 == 0 ? arguments.x : arguments.x0;
  const float* from = images + int64_t{frames[index] / 2} * kModelPixels;
  float* to = gathered + int64_t{index} * kModelPixels;
  ForEachThread([&](int thread) {
    for (int i = thread; i < kModelPixels; i += kThreads) to[i] = from[i];
  });
}

}  // namespace denoised::cuda_step

#endif  // DENOISED_COMMON_ENGINE_CUDA_CUDA_STEP_H_
