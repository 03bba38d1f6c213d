// File: cuda_block.h
//
// What a launch is told (Arguments, Row), what a block of threads keeps in shared memory (BlockMemory), and from both a
// block's network rows and where all that belongs to them lies (Block).
//
//   Block<Half, /*kShared=*/true> block(arguments, index, shared);
//   block.SetRows(first, count, step);
//   Half* pixels = block.activations() + block.PlaceOf(row) + layout.offset;
#ifndef DENOISED_COMMON_ENGINE_CUDA_CUDA_BLOCK_H_
#define DENOISED_COMMON_ENGINE_CUDA_CUDA_BLOCK_H_

#include <bit>
#include <cstdint>
#include <type_traits>

#include "common/diffusion/step_plan.h"
#include "common/engine/cuda/cuda_threads.h"
#include "common/engine/cuda/network_program.h"
#include "common/image/image.h"
#include "common/support/host_device.h"

namespace denoised::cuda_step {

// One row of the network. An image that is guided has two, one behind the other: with its label, with the null label.
struct Row {
  float guidance_scale = 1;  // 1: there is no second row
  bool null_label = false;   // the second row of the image before
  int32_t slot = 0;
  int32_t conditioning = 0;  // row of the table for timestep 0
  uint64_t seed = 0;
  uint32_t image_index = 0;
  uint32_t stream = 1;  // of the first step's noise; 1, where a chain begins, first fills the slot with initial noise
};

// Of a power of two.
DENOISED_HOST_DEVICE inline int Log2(int value) {
#if defined(__CUDA_ARCH__)
  return 31 - __clz(value);
#else
  return std::bit_width(static_cast<unsigned>(value)) - 1;
#endif
}

// Network rows that a block works on at the same time, at most.
inline constexpr int kMaxRowsAtOnce = 2;

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
  int values_per_image = 0;
  int widest = 0;  // channels of the layer that has most

  int num_steps = 1;
  const Row* rows = nullptr;
  int num_rows = 0;
  const StepCoefficients* coefficients = nullptr;  // [num_steps, num_rows]
  const int32_t* first_rows = nullptr;             // of each block, and num_rows
  int num_blocks = 0;
  int rows_at_once = 1;               // of a block, at most kMaxRowsAtOnce
  float *x = nullptr, *x0 = nullptr;  // [slots, kModelPixels]
  uint8_t* not_finite = nullptr;      // [slots] in the host's memory: 1 once a step of the chain has made x so
  float* e = nullptr;                 // [num_rows, kModelPixels], the network's output
  T* activations = nullptr;           // [num_blocks, StretchValues()] of zeros, where shared memory has no room
};

// Values after which the banks of shared memory begin again, of Half; of float they begin again there, too.
inline constexpr int kBankValues = 64;

// Values that are zero for ever, before the activations of a block: what lies beside an image.
template <typename T>
DENOISED_HOST_DEVICE inline int ZeroValues(const Arguments<T>& arguments) {
  return (arguments.widest + 2 * kBankValues - 1) / kBankValues * kBankValues;
}

// The activations of a block: zeros, then its network rows'.
template <typename T>
DENOISED_HOST_DEVICE inline int64_t StretchValues(const Arguments<T>& arguments) {
  return ZeroValues(arguments) + int64_t{arguments.rows_at_once} * arguments.values_per_image;
}

// What a block keeps in shared memory, behind one another: the operations, parts of sums, activations.
struct BlockMemory {
  static constexpr int kPartsPerWarp = 2;

  // Sums of a normalisation for each row, group and warp: mean, and sum of squared deviations.
  static DENOISED_HOST_DEVICE int WarpsPerGroup(int norm_groups) {
    return norm_groups < kWarps ? kWarps / norm_groups : 1;
  }
  // As many floats as keep what follows aligned.
  static DENOISED_HOST_DEVICE int NumParts(int rows, int norm_groups) {
    return (rows * norm_groups * WarpsPerGroup(norm_groups) * kPartsPerWarp + 3) / 4 * 4;
  }

  static_assert(std::is_trivially_copyable_v<Operation> && alignof(Operation) <= 16);
  static DENOISED_HOST_DEVICE int OperationBytes(int operations) {
    return (operations * static_cast<int>(sizeof(Operation)) + 15) / 16 * 16;
  }

  // All of it, in bytes.
  template <typename T>
  static int64_t Bytes(const Arguments<T>& arguments, bool with_activations) {
    return OperationBytes(arguments.num_operations) +
           NumParts(arguments.rows_at_once, arguments.norm_groups) * int64_t{sizeof(float)} +
           (with_activations ? StretchValues(arguments) * int64_t{sizeof(T)} : 0);
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

// Where pixel (line, column) of an image of 2^log2_size pixels a side is, which may be the enlarged layout.
DENOISED_HOST_DEVICE inline int PlaceOfPixel(const Layout& layout, int log2_size, int line, int column) {
  const int shift = log2_size - layout.log2_size;
  return layout.offset + (((line >> shift) << layout.log2_size) + (column >> shift)) * layout.stride;
}

// ---- A block ----

// The network rows that a block works on, and where they lie. Places are counted in values from activations().
template <typename ValueType, bool kShared>
class Block {
 public:
  using T = ValueType;
  static constexpr bool kActivationsInSharedMemory = kShared;

  // shared: BlockMemory::Bytes of the block's shared memory, aligned to 16 bytes.
  DENOISED_HOST_DEVICE Block(const Arguments<T>& arguments, int index, void* shared)
      : arguments_(arguments),
        operations_(static_cast<Operation*>(shared)),
        parts_(reinterpret_cast<float*>(static_cast<unsigned char*>(shared) +
                                        BlockMemory::OperationBytes(arguments.num_operations))),
        activations_((kShared ? reinterpret_cast<T*>(
                                    parts_ + BlockMemory::NumParts(arguments.rows_at_once, arguments.norm_groups))
                              : arguments.activations + index * StretchValues(arguments)) +
                     ZeroValues(arguments)) {}

  // To shared memory: from the GPU's own, reading an operation can take longer than performing it. And the zeros.
  DENOISED_HOST_DEVICE void Begin() {
    ForEachThread([&](int thread) {
      for (int i = thread; i < arguments_.num_operations; i += kThreads) operations_[i] = arguments_.operations[i];
      if constexpr (kShared) {
        for (int i = thread; i < ZeroValues(arguments_); i += kThreads) activations_[i - ZeroValues(arguments_)] = {};
      }
    });
  }

  // The rows that it works on from now on, and their step of the launch's.
  DENOISED_HOST_DEVICE void SetRows(int first, int count, int step) {
    static_assert(kMaxRowsAtOnce == 2);
    first_row_ = first;
    num_rows_ = count;
    conditioning_[0] = FindConditioning(first, step);
    conditioning_[1] = count > 1 ? FindConditioning(first + 1, step) : conditioning_[0];
  }

  DENOISED_HOST_DEVICE const Arguments<T>& arguments() const { return arguments_; }
  DENOISED_HOST_DEVICE int num_rows() const { return num_rows_; }
  DENOISED_HOST_DEVICE const Operation& operation(int i) const { return operations_[i]; }
  DENOISED_HOST_DEVICE float* parts() const { return parts_; }
  DENOISED_HOST_DEVICE T* activations() const { return activations_; }
  DENOISED_HOST_DEVICE int zeros() const { return -ZeroValues(arguments_); }

  // Of row `row` of num_rows().
  DENOISED_HOST_DEVICE int PlaceOf(int row) const { return row * arguments_.values_per_image; }
  DENOISED_HOST_DEVICE const Row& RowAt(int row) const { return arguments_.rows[first_row_ + row]; }
  DENOISED_HOST_DEVICE const float* X(int row) const { return arguments_.x + int64_t{RowAt(row).slot} * kModelPixels; }
  DENOISED_HOST_DEVICE float* OutputOf(int row) const {
    return arguments_.e + int64_t{first_row_ + row} * kModelPixels;
  }
  DENOISED_HOST_DEVICE const float* Conditioning(int row) const {
    return row == 0 ? conditioning_[0] : conditioning_[1];
  }

 private:
  // NOTE: it takes two loads, one after the other, from the GPU's own memory.
  DENOISED_HOST_DEVICE const float* FindConditioning(int row, int step) const {
    const int timestep = arguments_.coefficients[step * arguments_.num_rows + row].timestep;
    return arguments_.conditioning +
           int64_t{arguments_.rows[row].conditioning + timestep} * arguments_.conditioning_width;
  }

  const Arguments<T>& arguments_;
  Operation* const operations_;
  float* const parts_;  // see BlockMemory
  T* const activations_;
  int first_row_ = 0, num_rows_ = 0;
  const float* conditioning_[kMaxRowsAtOnce] = {};  // of each row
};

}  // namespace denoised::cuda_step

#endif  // DENOISED_COMMON_ENGINE_CUDA_CUDA_BLOCK_H_
