// File: cuda_engine.h
//
// The engine for NVIDIA GPUs: a denoising step of any number of images is one launch of the kernel of cuda_step.h. The
// images in the making stay on the GPU; only frames that are wanted are copied back, those of a step all at once.
//
//   absl::StatusOr<NetworkProgram> program = CompileNetwork(weights, Precision::kFp16);
//   absl::StatusOr<std::unique_ptr<Engine>> engine = MakeCudaEngine(*program, {.device = 0, .num_slots = 256});
//
// An image's bits depend neither on its company nor on the load. They are not those of the CPU: the noise is, to the
// last bit, but sums round differently. After an error inside the kernel a process has to start anew to use the GPU.
#ifndef DENOISED_COMMON_ENGINE_CUDA_CUDA_ENGINE_H_
#define DENOISED_COMMON_ENGINE_CUDA_CUDA_ENGINE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/diffusion/engine.h"
#include "common/engine/cuda/network_program.h"

namespace denoised {

struct CudaEngineOptions {
  int device = 0;               // as the CUDA runtime numbers them; not for the emulation
  int null_label = 0;           // the label of a guided image's second network row
  int num_slots = 256;          // images in the making at once, at least 1
  int max_images = 0;           // of a step; 0: num_slots
  int num_threads = 1;          // of the emulation
  int num_train_timesteps = 1;  // T
  int disorder = 0;          // of the emulation; if not 0, a seed: threads take turns at random, memory holds rubbish
  int images_per_block = 0;  // that share the weights a block reads; a power of two; 0: what is fastest
};

// GPUs that this build of denoised and this machine's driver can use together; 0 in a build without CUDA.
int CudaDeviceCount();

// Network rows of a step that fill a GPU: two for each of its multiprocessors, which is what a block works on at the
// same time. 0 if there is no such GPU.
int CudaRowsThatFill(int device);

// What keeps a GPU that seems to be here from being used, in words; "" if nothing does, or nothing hints at a GPU.
std::string CudaTrouble();

// Whether this build has the kernel.
bool HasCudaKernel();

// Warms up: the kernel has run with one image and with max_images when it returns. UNIMPLEMENTED in a build without
// CUDA and for a GPU or driver that is too old; INTERNAL, with the runtime's words, when the GPU fails. A launch that
// has not ended within ten seconds is such a failure too; the engine then fails for good.
absl::StatusOr<std::unique_ptr<Engine>> MakeCudaEngine(const NetworkProgram& program, const CudaEngineOptions& options);

// The kernel's arithmetic on the CPU, thread by thread: for tests, and to judge its rounding where there is no GPU.
// About a hundred times slower than the CPU's own engine.
std::unique_ptr<Engine> MakeEmulatedCudaEngine(const NetworkProgram& program, const CudaEngineOptions& options);

}  // namespace denoised

#endif  // DENOISED_COMMON_ENGINE_CUDA_CUDA_ENGINE_H_
