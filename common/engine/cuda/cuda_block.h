// File: cuda_block.h
//
// What a step is told (Arguments, Row), what a block of threads keeps in shared memory (BlockMemory), and from both a
// block's images and where all that belongs to them lies (Block).
//
//   const Block<Half> block(arguments, index, shared);
//   for (int row = 0; row < block.num_rows(); ++row) {
//     Half* pixel = PixelOf(block.ActivationsOf(row), layout, layout.log2_size, line, column);  // its channels
//   }
#ifndef DENOISED_COMMON_ENGINE_CUDA_CUDA_BLOCK_H_
#define DENOISED_COMMON_ENGINE_CUDA_CUDA_BLOCK_H_

#include <cstdint>
#include <type_traits>

#include "common/diffusion/step_plan.h"
#include "common/engine/cuda/cuda_threads.h"
#include "common/engine/cuda/network_program.h"
#include "common/image/image.h"
#include "common/support/host_device.h"

namespace denoised::cuda_step {

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

// ---- Layouts ----

// The operation's a (0) or b (1), value by value: which of two structures is not known at compile time, so those would
// have to be in memory.
DENOISED_HOST_DEVICE inline Layout Input(const Operation& operation, int index) {
  const Layout &a = operation.a, &b = operation.b;
  return {.offset = index == 0 ? a.offset : b.offset,
          .channels = index == 0 ? a.channels : b.channels,
          .stride = index == 0 ? a.stride : b.stride,
          .log2_size = index == 0 ? a.log2_size : b.log2_size};
}

// Pixel (line, column) of an image of 2^log2_size pixels a side, which may be the enlarged layout.
template <typename T>
DENOISED_HOST_DEVICE T* PixelOf(T* activations, const Layout& layout, int log2_size, int line, int column) {
  const int shift = log2_size - layout.log2_size;
  return activations + layout.offset +
         (((line >> shift) << layout.log2_size) + (column >> shift)) * static_cast<int64_t>(layout.stride);
}

// ---- A block ----

// The images of block `index` of a step, and where they lie.
template <typename T>
class Block {
 public:
  // shared: BlockMemory::Bytes of the block's shared memory, aligned to 16 bytes.
  DENOISED_HOST_DEVICE Block(const Arguments<T>& arguments, int index, void* shared)
      : arguments_(arguments),
        first_row_(index * arguments.rows_per_block),
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

  // To shared memory: from the GPU's own, reading an operation can take longer than performing it.
  DENOISED_HOST_DEVICE void CopyOperations() {
    ForEachThread([&](int thread) {
      for (int i = thread; i < arguments_.num_operations; i += kThreads) operations_[i] = arguments_.operations[i];
    });
  }

  DENOISED_HOST_DEVICE const Arguments<T>& arguments() const { return arguments_; }
  DENOISED_HOST_DEVICE int num_rows() const { return num_rows_; }
  DENOISED_HOST_DEVICE const Operation& operation(int i) const { return operations_[i]; }
  DENOISED_HOST_DEVICE float* parts() const { return parts_; }

  // The pass of the network that is under way. 0: with the images' labels, 1: with the null label.
  DENOISED_HOST_DEVICE int pass() const { return pass_; }
  DENOISED_HOST_DEVICE void set_pass(int pass) { pass_ = pass; }

  // Of row `row` of the block.
  DENOISED_HOST_DEVICE const Row& RowAt(int row) const { return arguments_.rows[first_row_ + row]; }
  DENOISED_HOST_DEVICE float* X(int row) const { return arguments_.x + int64_t{RowAt(row).slot} * kModelPixels; }
  DENOISED_HOST_DEVICE float* X0(int row) const { return arguments_.x0 + int64_t{RowAt(row).slot} * kModelPixels; }
  DENOISED_HOST_DEVICE T* ActivationsOf(int row) const { return activations_ + row * arguments_.values_per_image; }
  DENOISED_HOST_DEVICE float* OutputOf(int row, int pass) const { return outputs_ + (2 * row + pass) * kModelPixels; }
  DENOISED_HOST_DEVICE const float* Conditioning(int row) const {
    return arguments_.conditioning + int64_t{RowAt(row).conditioning[pass_]} * arguments_.conditioning_width;
  }

 private:
  const Arguments<T>& arguments_;
  const int first_row_;
  const int num_rows_;
  Operation* const operations_;
  float* const outputs_;  // [rows, 2, kModelPixels]
  float* const parts_;    // see BlockMemory
  T* const activations_;  // [rows, values_per_image]
  int pass_ = 0;
};

}  // namespace denoised::cuda_step

#endif  // DENOISED_COMMON_ENGINE_CUDA_CUDA_BLOCK_H_
