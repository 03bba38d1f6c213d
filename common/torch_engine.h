// File: torch_engine.h
//
// The engine that runs a checkpoint with LibTorch, on the CPU or on a CUDA device.
//
//   absl::StatusOr<std::unique_ptr<Engine>> engine =
//       MakeTorchEngine(checkpoint, {.device = "auto", .num_slots = 16, .num_threads = 2});
//
// On the CPU the rows of a step are shared out over single-threaded workers, each of which runs its rows in network
// calls of up to 16: a network this small spends its time waiting for its own threads when one call is spread over
// cores, and is more than twice as fast a row when rows share a call. An image's bits depend neither on its company nor
// on the load: oneDNN's convolutions on prepared weights treat every row alike. That is checked at start, and where it
// does not hold (another LibTorch or processor), fewer rows share a call, down to one.
//
// On CUDA all rows of a step are one network call, padded up to a size from a small fixed set, the largest of which is
// options.max_rows. Images may then differ in their last bits between batch sizes.
#ifndef DENOISED_COMMON_TORCH_ENGINE_H_
#define DENOISED_COMMON_TORCH_ENGINE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/checkpoint.h"
#include "common/engine.h"

namespace denoised {

struct TorchEngineOptions {
  std::string device = "auto";  // "auto": CUDA where there is one, else the CPU; "cpu"; "cuda" or "cuda:N"
  int num_slots = 16;           // images in the making at once, at least 1
  int max_rows = 0;             // network rows of one step at most; 0: 2 * num_slots, for guided images in all slots
  int num_threads = 0;          // CPU workers; 0: one per core that this process may use
  // Uses the batched path of CUDA whatever the device, to test it where there is no GPU.
  bool force_batched = false;
};

// "cpu" or "cuda:N" for options.device on this machine. INVALID_ARGUMENT for a malformed name; FAILED_PRECONDITION,
// saying why, for a device that is not there.
absl::StatusOr<std::string> ResolveDevice(const std::string& device);

// Cores that this process may run on: its CPU affinity, lowered by a container's CPU quota. At least 1.
int AvailableCores();

// Copies what it needs from the checkpoint, and warms up: every shape that a step of max_rows rows or less can have has
// run when it returns. On CUDA a step of more rows is INTERNAL.
absl::StatusOr<std::unique_ptr<Engine>> MakeTorchEngine(const Checkpoint& checkpoint,
                                                        const TorchEngineOptions& options);

}  // namespace denoised

#endif  // DENOISED_COMMON_TORCH_ENGINE_H_
