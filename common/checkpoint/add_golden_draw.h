// File: add_golden_draw.h
//
// For checkpoints that were written before they carried a golden draw (../model/golden_record.h), or whose is not to be
// believed any more. Without LibTorch's headers, for programs that only want this.
//
//   absl::Status status = AddGoldenDraw("models/mnist.pt");
//
// Thread-safe.
#ifndef DENOISED_COMMON_CHECKPOINT_ADD_GOLDEN_DRAW_H_
#define DENOISED_COMMON_CHECKPOINT_ADD_GOLDEN_DRAW_H_

#include <string>

#include "absl/status/status.h"

namespace denoised {

// Draws the golden rows with the checkpoint's network, whatever the file has of them, and replaces the file atomically
// by one that holds them. Weights and metadata stay. Errors of LoadCheckpoint, DrawReference and SaveCheckpoint, after
// which the file is as it was.
absl::Status AddGoldenDraw(const std::string& path);

}  // namespace denoised

#endif  // DENOISED_COMMON_CHECKPOINT_ADD_GOLDEN_DRAW_H_
