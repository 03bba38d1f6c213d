// File: make_engine.h
//
// The engine that draws with a checkpoint, on the CPU or on a CUDA device.
//
//   absl::StatusOr<std::unique_ptr<Engine>> engine =
//       MakeEngine(checkpoint, {.device = "auto", .num_slots = 16, .num_threads = 2});
//
// On the CPU it is the engine of cpu/cpu_engine.h: rows shared out over the cores, the same bits in any company. The
// network is run by oneDNN (cpu/onednn_network.h) where that can, else by LibTorch's interpreter, in fp32.
//
// On CUDA it is the engine of cuda/cuda_engine.h, with the same promise. In a build without that, and for networks of
// sizes that it cannot run, a LibTorch with CUDA takes its place by the engine of torch/batched_engine.h.
//
// A build without LibTorch has what of this needs none.
#ifndef DENOISED_COMMON_ENGINE_MAKE_ENGINE_H_
#define DENOISED_COMMON_ENGINE_MAKE_ENGINE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/diffusion/engine.h"
#include "common/model/precision.h"
#include "common/weights/plain_checkpoint.h"

namespace denoised {

enum class EnginePath {
  kFastest,      // what the device runs best
  kTorchScript,  // on the CPU, LibTorch's interpreter even where oneDNN could
  kBatched,      // LibTorch's path for CUDA whatever the device, to test it where there is no GPU
};

struct EngineOptions {
  // "auto": CUDA where there is one, else the CPU; "cpu"; "cuda" or "cuda:N"; "emulated-cuda": the CUDA kernel's
  // arithmetic on the CPU, very slowly.
  std::string device = "auto";
  int num_slots = 16;   // images in the making at once, at least 1
  int max_rows = 0;     // network rows of one step at most; 0: 2 * num_slots, for guided images in all slots
  int num_threads = 0;  // CPU workers; 0: one per core that this process may use
  Precision precision = Precision::kAuto;
  EnginePath path = EnginePath::kFastest;
  // An engine of these sizes that this process made before may be at work: what was measured for it is not measured
  // again, on cores that are busy.
  bool beside_another = false;
  std::shared_ptr<const AnotherAtWork> another_at_work = nullptr;  // meanwhile this one gives way
};

// Copies what it needs from the checkpoint, and warms up: every shape that a step of max_rows rows or less can have has
// run when it returns. On CUDA a step of more rows is INTERNAL.
absl::StatusOr<std::unique_ptr<Engine>> MakeEngine(const PlainCheckpoint& checkpoint, const EngineOptions& options);

}  // namespace denoised

#endif  // DENOISED_COMMON_ENGINE_MAKE_ENGINE_H_
