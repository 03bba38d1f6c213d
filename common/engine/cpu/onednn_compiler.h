// File: onednn_compiler.h
//
// A U-Net as the list of operations that run it for one number of rows B: oneDNN's convolutions, and between them the
// arithmetic of cpu_kernels.h.
//
//   OneDnnMemory memory(model.engine(), options.max_rows);
//   const OneDnnProgram program = CompileOneDnn(model, options, /*rows=*/3, memory);
//   for (const OneDnnOperation& operation : program) operation(call);  // call.e = network(call.x)
//
// A program keeps pointers into the model and the memory, which must outlive it; programs of one memory run one at a
// time. Compiled and called with OpenMP's teams set to options.threads, for which oneDNN plans its convolutions. Both
// throw dnnl::error where oneDNN fails. NOTE: for the onednn_*.cc of this folder alone, as onednn_model.h says.
#ifndef DENOISED_COMMON_ENGINE_CPU_ONEDNN_COMPILER_H_
#define DENOISED_COMMON_ENGINE_CPU_ONEDNN_COMPILER_H_

#include <functional>
#include <oneapi/dnnl/dnnl.hpp>
#include <vector>

#include "common/engine/cpu/onednn_memory.h"
#include "common/engine/cpu/onednn_model.h"
#include "common/engine/cpu/onednn_network.h"

namespace denoised {

// What the operations read and write besides layers and weights: as many rows as their program was compiled for.
struct OneDnnCall {
  dnnl::stream stream;                     // of the model's engine
  std::vector<const float*> x;             // by row: the image, [kModelPixels]
  std::vector<const float*> conditioning;  // by row: OneDnnModel::Conditioning
  float* e = nullptr;                      // the network's output, [B, kModelPixels]
};

using OneDnnOperation = std::function<void(const OneDnnCall&)>;
using OneDnnProgram = std::vector<OneDnnOperation>;

// For `rows` rows, at most options.max_rows.
OneDnnProgram CompileOneDnn(const OneDnnModel& model, const OneDnnNetworkOptions& options, int rows,
                            OneDnnMemory& memory);

}  // namespace denoised

#endif  // DENOISED_COMMON_ENGINE_CPU_ONEDNN_COMPILER_H_
