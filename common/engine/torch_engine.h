// File: torch_engine.h
//
// The engine that draws with a checkpoint, on the CPU or on a CUDA device.
//
//   absl::StatusOr<std::unique_ptr<Engine>> engine =
//       MakeTorchEngine(checkpoint, {.device = "auto", .num_slots = 16, .num_threads = 2});
//
// On the CPU it is the engine of cpu_engine.h: rows shared out over the cores, the same bits in any company. The
// network is run by oneDNN (onednn_network.h) where that can, else by LibTorch's interpreter, in fp32.
//
// On CUDA it is the engine of cuda_engine.h, with the same promise. In a build without that, and for networks of sizes
// that it cannot run, a LibTorch with CUDA takes its place: all rows of a step are one network call, padded up to a
// size from a small fixed set, the largest of which is options.max_rows, and images may differ in their last bits
// between batch sizes.
#ifndef DENOISED_COMMON_ENGINE_TORCH_ENGINE_H_
#define DENOISED_COMMON_ENGINE_TORCH_ENGINE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/checkpoint/checkpoint.h"
#include "common/diffusion/engine.h"
#include "common/model/precision.h"

namespace denoised {

enum class EnginePath {
  kFastest,      // what the device runs best
  kTorchScript,  // on the CPU, LibTorch's interpreter even where oneDNN could
  kBatched,      // LibTorch's path for CUDA whatever the device, to test it where there is no GPU
};

struct TorchEngineOptions {
  // "auto": CUDA where there is one, else the CPU; "cpu"; "cuda" or "cuda:N"; "emulated-cuda": the CUDA kernel's
  // arithmetic on the CPU, very slowly.
  std::string device = "auto";
  int num_slots = 16;   // images in the making at once, at least 1
  int max_rows = 0;     // network rows of one step at most; 0: 2 * num_slots, for guided images in all slots
  int num_threads = 0;  // CPU workers; 0: one per core that this process may use
  Precision precision = Precision::kAuto;
  EnginePath path = EnginePath::kFastest;
};

// "cpu", "cuda:N" or "emulated-cuda" for options.device on this machine. INVALID_ARGUMENT for a malformed name;
// FAILED_PRECONDITION, saying why, for a device that is not there.
absl::StatusOr<std::string> ResolveDevice(const std::string& device);

// "cpu" or "cuda:N" likewise, of the devices that LibTorch itself can use: those that can train.
absl::StatusOr<std::string> ResolveTorchDevice(const std::string& device);

// kFp32, kFp16 or kBf16 for `precision` on a device that ResolveDevice named: kAuto is kFp16 on CUDA, and on a CPU
// kBf16 where the processor has instructions for it. INVALID_ARGUMENT or FAILED_PRECONDITION, saying what to use, for
// precisions that the device does not have. Networks that only LibTorch can run have kFp32 alone, whatever this says.
absl::StatusOr<Precision> ResolvePrecision(Precision precision, const std::string& device);

// Cores that this process may run on: its CPU affinity, lowered by a container's CPU quota. At least 1.
int AvailableCores();

// Copies what it needs from the checkpoint, and warms up: every shape that a step of max_rows rows or less can have has
// run when it returns. On CUDA a step of more rows is INTERNAL.
absl::StatusOr<std::unique_ptr<Engine>> MakeTorchEngine(const Checkpoint& checkpoint,
                                                        const TorchEngineOptions& options);

}  // namespace denoised

#endif  // DENOISED_COMMON_ENGINE_TORCH_ENGINE_H_
