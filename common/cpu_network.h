// File: cpu_network.h
//
// The network on CPU cores, as the engine calls it; oneDNN (onednn_network.h) and LibTorch (torch_engine.cc) run it.
//
//   std::unique_ptr<CpuNetwork> network = ...;             // one for each thread that calls it
//   network->Predict(rows, x, t, y, e);                    // e = network(x, t, y)
#ifndef DENOISED_COMMON_CPU_NETWORK_H_
#define DENOISED_COMMON_CPU_NETWORK_H_

#include <cstdint>

namespace denoised {

// Not thread-safe: one call at a time.
class CpuNetwork {
 public:
  virtual ~CpuNetwork() = default;

  // The network's output e [rows, kModelPixels] for the images x [rows, kModelPixels], timesteps t [rows] and labels
  // y [rows]. The first calls with a number of rows compile it. Throws std::exception when the library below fails.
  virtual void Predict(int rows, const float* x, const int64_t* t, const int64_t* y, float* e) = 0;

  // Lets go of threads that watch for the next call, which they do for milliseconds. That call is a little slower.
  virtual void Rest() {}
};

}  // namespace denoised

#endif  // DENOISED_COMMON_CPU_NETWORK_H_
