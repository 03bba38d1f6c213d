// File: process_group.h
//
// Several processes that train one network: each computes gradients for its share of a batch, and sums go over the
// network by LibTorch's own c10d process groups, gloo on the CPU and NCCL on CUDA.
//
//   absl::StatusOr<std::unique_ptr<ProcessGroup>> group = ProcessGroup::FromEnvironment(place, device);
//   if (*group != nullptr) (*group)->Sum(gradients);
//
// There is no launcher here. torchrun and Kubernetes' PyTorchJob set what is read: RANK, WORLD_SIZE, MASTER_ADDR,
// MASTER_PORT, and LOCAL_RANK for a machine's several GPUs; TORCHELASTIC_USE_AGENT_STORE says that torchrun already
// serves the store. GLOO_SOCKET_IFNAME names the network interface where the default one is wrong.
//
// Not thread-safe. Every process must make the same calls in the same order. They throw c10::Error when another
// process has gone.
#ifndef DENOISED_TRAINER_TRAINING_PROCESS_GROUP_H_
#define DENOISED_TRAINER_TRAINING_PROCESS_GROUP_H_

#include <torch/types.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace denoised {

// This process's place among those that train together.
struct ProcessPlace {
  int rank = 0;        // 0 to size-1; 0 writes the files
  int size = 1;        // processes
  int local_rank = 0;  // on this machine
};

// Read from RANK, WORLD_SIZE and LOCAL_RANK; one process where they are absent. INVALID_ARGUMENT, naming the variable,
// for a value that is not a number in range or is missing beside the others.
absl::StatusOr<ProcessPlace> PlaceFromEnvironment();

// How long to wait for another process: enough for a machine that is still pulling its image.
inline constexpr std::chrono::seconds kMeetingTimeout{600};

class ProcessGroup {
 public:
  // Meets the other processes, or null where place.size is 1. `device` is what this one trains on, or why it cannot
  // begin, which the others hear. Errors: this process's own, else that of the lowest rank, "the process with RANK 1
  // cannot begin: ..."; INVALID_ARGUMENT for MASTER_ADDR or MASTER_PORT that is missing or malformed; UNAVAILABLE when
  // the others do not come within `timeout`; FAILED_PRECONDITION in a build without gloo (or NCCL, for a CUDA device).
  static absl::StatusOr<std::unique_ptr<ProcessGroup>> FromEnvironment(const ProcessPlace& place,
                                                                       const absl::StatusOr<torch::Device>& device,
                                                                       std::chrono::seconds timeout = kMeetingTimeout);
  virtual ~ProcessGroup() = default;

  // Replaces the tensor by its sum over all processes; every one gets the same bits.
  virtual void Sum(at::Tensor& tensor) = 0;

  // Replaces the tensor by process 0's. Same shape and type everywhere.
  virtual void Broadcast(at::Tensor& tensor) = 0;
};

// Whether any process says yes. A null group: whether this one does. `device` is the group's.
bool AnySaysYes(ProcessGroup* group, const torch::Device& device, bool yes);

// Process 0's bytes, of any number; what the others give is left aside. `device` is the group's.
std::string BytesOfFirst(ProcessGroup& group, const torch::Device& device, const std::string& bytes);

// Replaces the tensors, all of one type, by process 0's, as one message, and returns how far the farthest number was
// from its own here. A null group: 0, and nothing changes.
double TakeFromFirst(ProcessGroup* group, const std::vector<at::Tensor>& tensors);

// Process 0's number. A null group: `number`. `device` is the group's.
int64_t NumberOfFirst(ProcessGroup* group, const torch::Device& device, int64_t number);

// The same of a number with a fraction, to the last bit.
double DoubleOfFirst(ProcessGroup* group, const torch::Device& device, double number);

// What process 0 alone does, and all must know of: its answer or its error, at every process. What the others give is
// left aside. A null group: `answer`. `device` is the group's.
absl::StatusOr<std::string> AnswerOfFirst(ProcessGroup* group, const torch::Device& device,
                                          const absl::StatusOr<std::string>& answer);

}  // namespace denoised

#endif  // DENOISED_TRAINER_TRAINING_PROCESS_GROUP_H_
