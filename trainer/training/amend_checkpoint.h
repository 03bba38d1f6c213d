// File: amend_checkpoint.h
//
// What is found out about a checkpoint after it was trained, written into the file: figures of denoise-eval, where
// whoever has the file finds them, and how black its black is.
//
//   absl::Status status = AddEvaluations("models/mnist.pt", {"eval/seeds.json"});
//   status = SetBlackBelow("models/mnist.pt", 4);
//
// In denoised.json, `evaluation` is then {"runs": [...]}, each as denoise-eval wrote it.
#ifndef DENOISED_TRAINER_TRAINING_AMEND_CHECKPOINT_H_
#define DENOISED_TRAINER_TRAINING_AMEND_CHECKPOINT_H_

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace denoised {

// Replaces the checkpoint atomically by one that has the figures in `files` (denoise-eval's seeds.json) as well, in the
// place of those by the same settings. The weights stay; the file's SHA-256 does not. FAILED_PRECONDITION for figures
// of another file: neither of this one, nor of one whose figures it has already. INVALID_ARGUMENT for a file that is
// none of denoise-eval's; errors of LoadCheckpoint and SaveCheckpoint. After an error the checkpoint is as it was.
absl::Status AddEvaluations(const std::string& checkpoint, const std::vector<std::string>& files);

// Replaces the checkpoint atomically by one that says `black_below` (ModelMetadata's), and has no figures any more:
// they were of other pixels. Errors of LoadCheckpoint and SaveCheckpoint.
absl::Status SetBlackBelow(const std::string& checkpoint, int black_below);

}  // namespace denoised

#endif  // DENOISED_TRAINER_TRAINING_AMEND_CHECKPOINT_H_
