// File: cuda_rows.h
//
// From what the scheduler asks for and what the compiler of networks gives to what the kernel of cuda_step.h takes.
#ifndef DENOISED_COMMON_ENGINE_CUDA_CUDA_ROWS_H_
#define DENOISED_COMMON_ENGINE_CUDA_CUDA_ROWS_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "common/diffusion/engine.h"
#include "common/diffusion/step_plan.h"
#include "common/engine/cuda/cuda_block.h"
#include "common/engine/cuda/cuda_engine.h"
#include "common/engine/cuda/half.h"
#include "common/engine/cuda/network_program.h"

namespace denoised::cuda_step {

// What a launch is told of its images, as Arguments has it.
struct PackedRows {
  std::vector<Row> rows;
  std::vector<StepCoefficients> coefficients;  // [num_steps, rows]
  std::vector<int32_t> first_rows;             // [blocks + 1]

  int num_blocks() const { return static_cast<int>(first_rows.size()) - 1; }
};

// The rows' next num_steps steps, rows_per_block network rows to a block. The two of a guided image are always in one
// block: those images come first, so that no place beside them stays empty.
inline void PackRows(absl::Span<const StepRow> rows, int num_steps, int rows_per_block,
                     const CudaEngineOptions& options, PackedRows& packed) {
  std::vector<const StepRow*> in_order;
  for (const bool guided : {true, false}) {
    for (const StepRow& row : rows) {
      if ((NetworkRows(row) == 2) == guided) in_order.push_back(&row);
    }
  }
  packed.rows.clear();
  packed.coefficients.clear();
  packed.first_rows.clear();
  int left = 0;  // places in the block
  for (const StepRow* row : in_order) {
    if (left < NetworkRows(*row)) {
      packed.first_rows.push_back(static_cast<int32_t>(packed.rows.size()));
      left = rows_per_block;
    }
    left -= NetworkRows(*row);
    Row next = {.guidance_scale = row->guidance_scale,
                .slot = row->slot,
                .conditioning = row->label * options.num_train_timesteps,
                .seed = row->seed,
                .image_index = row->image_index,
                .stream = static_cast<uint32_t>(row->step) + 1};
    packed.rows.push_back(next);
    if (NetworkRows(*row) == 1) continue;
    next.null_label = true;
    next.conditioning = options.null_label * options.num_train_timesteps;
    packed.rows.push_back(next);
  }
  packed.first_rows.push_back(static_cast<int32_t>(packed.rows.size()));
  for (int step = 0; step < num_steps; ++step) {
    for (const StepRow* row : in_order) {
      packed.coefficients.insert(packed.coefficients.end(), NetworkRows(*row), (*row->plan)[row->step + step]);
    }
  }
}

// A program's weights as the kernel stores them.
template <typename T>
std::vector<T> RoundedWeights(const NetworkProgram& program) {
  std::vector<T> rounded(program.weights.size());
  for (size_t i = 0; i < rounded.size(); ++i) Store(program.weights[i], &rounded[i]);
  return rounded;
}

// All but the pointers and what PackedRows says.
template <typename T>
Arguments<T> ShapeOf(const NetworkProgram& program) {
  Arguments<T> arguments;
  arguments.num_operations = static_cast<int>(program.operations.size());
  arguments.conditioning_width = static_cast<int>(program.conditioning.shape.back());
  arguments.norm_groups = program.norm_groups;
  arguments.values_per_image = program.values_per_image;
  arguments.widest = program.widest;
  return arguments;
}

}  // namespace denoised::cuda_step

#endif  // DENOISED_COMMON_ENGINE_CUDA_CUDA_ROWS_H_
