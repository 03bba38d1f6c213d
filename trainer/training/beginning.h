// File: beginning.h
//
// The checkpoints that a run begins with, checked against what it is to become.
//
//   DENOISED_ASSIGN_OR_RETURN(const Beginning beginning, LoadBeginning(options, torch::kCPU));
#ifndef DENOISED_TRAINER_TRAINING_BEGINNING_H_
#define DENOISED_TRAINER_TRAINING_BEGINNING_H_

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "common/checkpoint/checkpoint.h"
#include "trainer/training/teacher.h"
#include "trainer/training/training_options.h"

namespace denoised {

struct Beginning {
  // Whose weights the network begins with, or grows from: --init's or else the teacher's; none: random ones.
  std::optional<Checkpoint> init;
  std::optional<Teacher> teacher;  // of options.distill; none: the data alone
  std::string teacher_sha256;      // of its file
};

// The teacher computes on `device`. FAILED_PRECONDITION for checkpoints of other classes or another kind of network,
// and for a teacher that cannot teach; INVALID_ARGUMENT for steps that do not fit each other; and LoadCheckpoint's.
absl::StatusOr<Beginning> LoadBeginning(const TrainingOptions& options, torch::Device device);

}  // namespace denoised

#endif  // DENOISED_TRAINER_TRAINING_BEGINNING_H_
