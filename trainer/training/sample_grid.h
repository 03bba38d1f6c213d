// File: sample_grid.h
//
// What a checkpoint draws, as one picture to look at while it learns.
#ifndef DENOISED_TRAINER_TRAINING_SAMPLE_GRID_H_
#define DENOISED_TRAINER_TRAINING_SAMPLE_GRID_H_

#include <string>

#include "absl/status/statusor.h"
#include "common/checkpoint/checkpoint.h"

namespace denoised {

// A PNG of ten columns, one for each digit, and four rows, drawn by 50 DDIM steps, or a student's own, with fixed
// seeds, so that pictures of successive epochs show the same digits getting better. Takes about two seconds on two
// cores.
absl::StatusOr<std::string> DrawSampleGrid(const Checkpoint& checkpoint, int threads);

}  // namespace denoised

#endif  // DENOISED_TRAINER_TRAINING_SAMPLE_GRID_H_
