// File: cpu_network.h
//
// The network on CPU cores, as the engine calls it; oneDNN (onednn_network.h) and LibTorch
// (../torch/torch_script_network.h) run it.
//
//   std::unique_ptr<CpuNetwork> network = ...;             // one for each thread that calls it
//   network->Predict({{.x = image, .t = 999, .y = 7}}, e);  // e = network(x, t, y)
#ifndef DENOISED_COMMON_ENGINE_CPU_CPU_NETWORK_H_
#define DENOISED_COMMON_ENGINE_CPU_CPU_NETWORK_H_

#include <cstdint>

#include "absl/types/span.h"

namespace denoised {

// One row of a call.
struct NetworkRow {
  const float* x = nullptr;  // the image, [kModelPixels]
  int64_t t = 0;             // timestep
  int64_t y = 0;             // label
};

// Not thread-safe: one call at a time.
class CpuNetwork {
 public:
  virtual ~CpuNetwork() = default;

  // The network's output e [rows, kModelPixels], which overlaps no image. The first calls with a number of rows compile
  // it. Throws std::exception when the library below fails.
  virtual void Predict(absl::Span<const NetworkRow> rows, float* e) = 0;

  // Lets go of threads that watch for the next call, which they do for milliseconds. That call is a little slower.
  virtual void Rest() {}
};

}  // namespace denoised

#endif  // DENOISED_COMMON_ENGINE_CPU_CPU_NETWORK_H_
