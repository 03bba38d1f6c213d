// File: checkpoint.h
//
// Checkpoints: TorchScript archives that Python's torch.jit.load opens too, with two extra files: denoised.json says
// what a server needs to know (../model/model_metadata.h), golden_draw.json shows what the network draws
// (../model/golden_record.h).
//
//   absl::Status saved = SaveCheckpoint("run/best.pt", metadata, unet);
//   absl::StatusOr<Checkpoint> checkpoint = LoadCheckpoint("run/best.pt");
//
// An archive brings code, and LibTorch runs it while loading. Here the code is compared, byte for byte, with what this
// build writes for the same architecture before any of it is run; a file that brings any other code is refused.
//
// Thread-safe for distinct modules.
#ifndef DENOISED_COMMON_CHECKPOINT_CHECKPOINT_H_
#define DENOISED_COMMON_CHECKPOINT_CHECKPOINT_H_

#include <torch/script.h>

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/model/golden_record.h"
#include "common/model/model_metadata.h"
#include "common/weights/plain_checkpoint.h"

namespace denoised {

// What to make of the golden draw that a file brings: ignored, it may be damaged.
enum class GoldenUse { kRead, kIgnore };

struct Checkpoint {
  ModelMetadata metadata;
  torch::jit::Module unet;  // on the CPU, as MakeUnet(metadata.unet)
  std::string sha256;       // of the file's bytes, hexadecimal
  int64_t parameter_count = 0;
  std::optional<GoldenRecord> golden;  // none in files of before there were any
};

// The same for what runs it without LibTorch.
PlainCheckpoint Plain(const Checkpoint& checkpoint);

// The archive's bytes: the same weights and metadata give the same bytes on the same machine. `unet` must be
// MakeUnet(metadata.unet) with any weights, on any device; metadata.parameters_sha256 and parameter_records and the
// golden draw are computed here. A network that draws nothing finite is written without a golden draw.
absl::StatusOr<std::string> SerializeCheckpoint(ModelMetadata metadata, const torch::jit::Module& unet);

// SerializeCheckpoint, then WriteFileAtomically: a crash or a full disk keeps the file that was there.
absl::Status SaveCheckpoint(const std::string& path, ModelMetadata metadata, const torch::jit::Module& unet);

// Reads and checks a checkpoint. Every message names the file, what is wrong and what to do:
//   NOT_FOUND            there is no such file
//   INVALID_ARGUMENT     empty, truncated, not an archive, not from denoise-train, malformed denoised.json or
//                        golden_draw.json, too small for its network, or parameters missing, cut off or of the wrong
//                        shape
//   FAILED_PRECONDITION  another format version
//   PERMISSION_DENIED    code that this build does not write
//   DATA_LOSS            parameters or golden images do not match their SHA-256, or parameters are not finite
absl::StatusOr<Checkpoint> LoadCheckpoint(const std::string& path, GoldenUse golden_use = GoldenUse::kRead);

// The same for bytes already read; `name` stands for the file in messages.
absl::StatusOr<Checkpoint> ParseCheckpoint(const std::string& name, std::string_view bytes);

}  // namespace denoised

#endif  // DENOISED_COMMON_CHECKPOINT_CHECKPOINT_H_
