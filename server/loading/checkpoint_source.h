// File: checkpoint_source.h
//
// What is read and computed once of a checkpoint, whatever engine serves it in the end: by LibTorch, or in a build
// without it by this project's own reader.
//
//   absl::StatusOr<CheckpointSource> source = ReadSource("models/mnist.pt", [](const std::string& news) { ... });
//
// Thread-safe.
#ifndef DENOISED_SERVER_LOADING_CHECKPOINT_SOURCE_H_
#define DENOISED_SERVER_LOADING_CHECKPOINT_SOURCE_H_

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "common/diffusion/golden_draw.h"
#include "common/weights/plain_checkpoint.h"

namespace denoised {

struct CheckpointSource {
  PlainCheckpoint checkpoint;
  GoldenReference reference;  // what engines are compared with
};

// With LibTorch the reference is drawn here, and compared with what the checkpoint carries: errors of LoadCheckpoint
// and DrawCheckedReference. Without, it is what the checkpoint carries: errors of LoadPlainCheckpoint, and
// FAILED_PRECONDITION if it carries nothing. `tell` is called with what goes on, in words.
absl::StatusOr<CheckpointSource> ReadSource(const std::string& path,
                                            const std::function<void(const std::string&)>& tell);

}  // namespace denoised

#endif  // DENOISED_SERVER_LOADING_CHECKPOINT_SOURCE_H_
