// File: cuda_rows.h
//
// From what the scheduler asks for and what the compiler of networks gives to what the kernel of cuda_step.h takes.
#ifndef DENOISED_COMMON_ENGINE_CUDA_CUDA_ROWS_H_
#define DENOISED_COMMON_ENGINE_CUDA_CUDA_ROWS_H_

#include <type_traits>
#include <vector>

#include "common/diffusion/engine.h"
#include "common/engine/cuda/cuda_block.h"
#include "common/engine/cuda/cuda_engine.h"
#include "common/engine/cuda/half.h"
#include "common/engine/cuda/network_program.h"

namespace denoised::cuda_step {

inline Row ToRow(const StepRow& row, const CudaEngineOptions& options) {
  const StepCoefficients& coefficients = (*row.plan)[row.step];
  const auto conditioning = [&](int label) { return label * options.num_train_timesteps + coefficients.timestep; };
  return {.coefficients = coefficients,
          .guidance_scale = row.guidance_scale,
          .seed = row.seed,
          .image_index = row.image_index,
          .stream = static_cast<uint32_t>(row.step) + 1,
          .slot = row.slot,
          .conditioning = {conditioning(row.label), conditioning(options.null_label)}};
}

// A program's weights as the kernel stores them.
template <typename T>
std::vector<T> RoundedWeights(const NetworkProgram& program) {
  std::vector<T> rounded(program.weights.size());
  for (size_t i = 0; i < rounded.size(); ++i) Store(program.weights[i], &rounded[i]);
  return rounded;
}

// All but the pointers.
template <typename T>
Arguments<T> ShapeOf(const NetworkProgram& program) {
  Arguments<T> arguments;
  arguments.num_operations = static_cast<int>(program.operations.size());
  arguments.conditioning_width = static_cast<int>(program.conditioning.shape.back());
  arguments.norm_groups = program.norm_groups;
  arguments.values_per_image = program.values_per_image;
  return arguments;
}

}  // namespace denoised::cuda_step

#endif  // DENOISED_COMMON_ENGINE_CUDA_CUDA_ROWS_H_
