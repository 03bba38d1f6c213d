// File: model_metadata.h
//
// The file denoised.json inside each checkpoint: all that a server needs to know to draw with it, and where it came
// from. Training writes it, serving reads it, so the two cannot disagree about scaling or schedule.
//
//   absl::StatusOr<ModelMetadata> metadata = ParseModelMetadata(json_text);
//
// Pure and thread-safe.
#ifndef DENOISED_COMMON_MODEL_MODEL_METADATA_H_
#define DENOISED_COMMON_MODEL_MODEL_METADATA_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/diffusion/noise_schedule.h"
#include "common/diffusion/step_plan.h"

namespace denoised {

// The only format this build writes and reads.
inline constexpr int kCheckpointFormatVersion = 1;

// Names of the extra files in a checkpoint's archive: these metadata, and what the network draws (golden_record.h).
inline constexpr char kMetadataFile[] = "denoised.json";
inline constexpr char kGoldenFile[] = "golden_draw.json";

// Of UnetConfig::blocks, at each resolution.
inline constexpr int kMaxBlocks = 8;

// About 5 kB are written.
inline constexpr size_t kMaxMetadataBytes = 1 << 20;

// Larger files are not read.
inline constexpr uint64_t kMaxCheckpointBytes = uint64_t{1} << 30;

// A U-Net by name and size. Which fields an architecture uses is said in unet.h.
struct UnetConfig {
  std::string architecture = "compact";       // "compact" or "seed"
  std::vector<int> channels = {32, 64, 128};  // per resolution, finest first
  std::vector<int> blocks = {1, 1, 1};        // residual ones per resolution, down and up each; of "seed": empty
  int embedding_dim = 128;                    // of timestep and label, even
  int norm_groups = 8;                        // of GroupNorm; divides every channel count
  int num_labels = 11;                        // rows of the label embedding: the classes, and the null label if any

  friend bool operator==(const UnetConfig&, const UnetConfig&) = default;
};

// INVALID_ARGUMENT, naming the field, for an architecture that this build cannot make.
absl::Status ValidateUnetConfig(const UnetConfig& config);

// The same of its blocks alone.
absl::Status ValidateUnetBlocks(const UnetConfig& config);

// What training leaves behind for people who ask where a checkpoint came from.
struct TrainingRecord {
  std::vector<std::pair<std::string, std::string>> data_sha256;  // file name, SHA-256 of its unpacked bytes
  int64_t epochs = 0;
  int64_t images_seen = 0;
  // Lowest epoch mean of the squared error of the prediction; where flags have --validation_images, on those.
  double best_loss = 0;
  double ema_decay = 0;  // 0: the weights are not averaged
  uint64_t seed = 0;
  std::string command;      // as the run was begun; how often it was resumed leaves no trace
  std::string init_sha256;  // of the checkpoint whose weights it began with; empty: random ones, or not recorded
  // Every flag that decides a number, with its value, defaults too; empty in files of before this was written.
  std::vector<std::pair<std::string, std::string>> flags;
  std::string source_revision;  // "-dirty" at its end: of sources that are in no commit; several: resumed by others
  std::string libtorch_version;

  friend bool operator==(const TrainingRecord&, const TrainingRecord&) = default;
};

struct ModelMetadata {
  int format_version = kCheckpointFormatVersion;
  UnetConfig unet;
  NoiseScheduleConfig noise_schedule;
  VarianceType variance_type = VarianceType::kFixedSmall;  // of the full-length DDPM chain
  bool clip_sample = true;                                 // clamp the predicted clean image
  std::vector<std::string> class_names = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};
  std::optional<int> null_label;  // the label that means "any", where guidance was trained for
  int distilled_steps = 0;        // of DDIM, in which alone a student has learnt to draw; 0: any sampler, any steps
  // Grey levels, of 255, below which a drawn pixel is black: networks leave a grain where data are black. 0: none.
  int black_below = 0;
  TrainingRecord training;
  std::string evaluation_json = "{}";  // figures of denoise-eval, where measured: a JSON object
  // SHA-256 of all parameters in order, as little-endian float32: LibTorch itself does not notice a flipped bit.
  std::string parameters_sha256;
  // Where in the archive each parameter lies, in the same order: its name, and that of the record that holds its bytes,
  // "data/17". Empty in files of before this was written.
  std::vector<std::pair<std::string, std::string>> parameter_records;

  friend bool operator==(const ModelMetadata&, const ModelMetadata&) = default;
};

inline constexpr int kMostBlackBelow = 32;

// Steps of the longest chain that the model draws.
inline int LongestChain(const ModelMetadata& metadata) {
  return metadata.distilled_steps > 0 ? metadata.distilled_steps : metadata.noise_schedule.num_train_timesteps;
}

// Pretty-printed JSON, keys in a fixed order: the same metadata gives the same bytes.
std::string SerializeModelMetadata(const ModelMetadata& metadata);

// The inverse. FAILED_PRECONDITION for another format version, INVALID_ARGUMENT for a missing or malformed field, more
// than 1 MiB or 32 levels; all say what was found, what was expected and what to do, in at most 1 kB.
absl::StatusOr<ModelMetadata> ParseModelMetadata(std::string_view json);

}  // namespace denoised

#endif  // DENOISED_COMMON_MODEL_MODEL_METADATA_H_
