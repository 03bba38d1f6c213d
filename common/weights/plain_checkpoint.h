// File: plain_checkpoint.h
//
// A checkpoint as plain memory. It is read here without LibTorch: denoised.json says in which record of the archive
// each parameter lies. Code that an archive brings is passed over.
//
//   absl::StatusOr<PlainCheckpoint> checkpoint = LoadPlainCheckpoint("models/mnist.pt");
//
// Thread-safe.
#ifndef DENOISED_COMMON_WEIGHTS_PLAIN_CHECKPOINT_H_
#define DENOISED_COMMON_WEIGHTS_PLAIN_CHECKPOINT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "common/model/golden_record.h"
#include "common/model/model_metadata.h"
#include "common/weights/unet_weights.h"

namespace denoised {

struct PlainCheckpoint {
  ModelMetadata metadata;
  HostTensors tensors;                 // all of UnetParameters(metadata.unet), finite
  std::string sha256;                  // of the file's bytes, hexadecimal
  int64_t parameter_count = 0;         // values that were learnt
  std::optional<GoldenRecord> golden;  // none in files of before there were any
};

// Reads and checks a checkpoint. Errors are those of LoadCheckpoint in ../checkpoint/checkpoint.h, except that code is
// not looked at; and FAILED_PRECONDITION, saying how to mend it, for files of before denoised.json told where the
// parameters lie.
absl::StatusOr<PlainCheckpoint> LoadPlainCheckpoint(const std::string& path);

// The same for bytes already read; `name` stands for the file in messages.
absl::StatusOr<PlainCheckpoint> ParsePlainCheckpoint(const std::string& name, std::string_view bytes);

}  // namespace denoised

#endif  // DENOISED_COMMON_WEIGHTS_PLAIN_CHECKPOINT_H_
