#include "common/weights/plain_checkpoint.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/model/checkpoint_errors.h"
#include "common/support/digest.h"
#include "common/support/file.h"
#include "common/support/status_macros.h"
#include "common/weights/archive.h"
#include "common/weights/unet_parameters.h"

namespace denoised {
namespace {

static_assert(std::endian::native == std::endian::little, "parameters are stored as little-endian float32");

absl::StatusOr<std::string> ReadExtra(const std::string& name, const Archive& archive, const std::string& file,
                                      size_t max_bytes) {
  absl::StatusOr<std::string> text = archive.Read(absl::StrCat("extra/", file), max_bytes);
  if (!text.ok()) return Named(name, text.status());
  return text;
}

absl::StatusOr<std::optional<GoldenRecord>> ReadGolden(const std::string& name, const Archive& archive,
                                                       const ModelMetadata& metadata) {
  if (!archive.Has(absl::StrCat("extra/", kGoldenFile))) return std::nullopt;
  DENOISED_ASSIGN_OR_RETURN(const std::string text, ReadExtra(name, archive, kGoldenFile, kMaxGoldenRecordBytes));
  absl::StatusOr<GoldenRecord> golden = ParseGoldenRecord(GoldenRowsOf(metadata), text);
  if (!golden.ok()) return Named(name, golden.status());
  return *std::move(golden);
}

absl::Status CheckNames(const std::string& name, const ModelMetadata& metadata,
                        const std::vector<UnetParameter>& expected) {
  const auto& found = metadata.parameter_records;
  if (found.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat(name, ": its ", kMetadataFile,
                     " does not say where the parameters lie, as the file was written by an older "
                     "denoise-train; denoise-train --add_golden_draw FILE writes it anew, with the same weights"));
  }
  if (found.size() != expected.size()) return WrongNumberOfTensors(name, found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    if (found[i].first == expected[i].name) continue;
    return BadTensor(absl::StatusCode::kInvalidArgument, name, found[i].first,
                     absl::StrCat("stands where ", expected[i].name, " belongs"));
  }
  return absl::OkStatus();
}

// One parameter's bytes, as its network wants them.
absl::StatusOr<std::string> ReadTensor(const std::string& name, const Archive& archive, const UnetParameter& parameter,
                                       const std::string& record) {
  const auto size = static_cast<size_t>(NumberOfValues(parameter.shape)) * sizeof(float);
  const absl::StatusOr<std::string> bytes = archive.Read(record, size);
  if (!bytes.ok()) {
    return BadTensor(bytes.status().code(), name, parameter.name,
                     absl::StrCat("cannot be read: ", bytes.status().message()));
  }
  if (bytes->size() != size) {
    return BadTensor(absl::StatusCode::kInvalidArgument, name, parameter.name,
                     absl::StrCat("has ", bytes->size(), " bytes, and ", size, " belong to its shape"));
  }
  return bytes;
}

absl::StatusOr<HostTensor> TensorOf(const std::string& name, const UnetParameter& parameter, const std::string& bytes) {
  HostTensor tensor{.shape = parameter.shape, .values = std::vector<float>(bytes.size() / sizeof(float))};
  std::memcpy(tensor.values.data(), bytes.data(), bytes.size());
  if (!std::all_of(tensor.values.begin(), tensor.values.end(), [](float value) { return std::isfinite(value); })) {
    return BadTensor(absl::StatusCode::kDataLoss, name, parameter.name, "is not finite");
  }
  return tensor;
}

absl::StatusOr<HostTensors> ReadTensors(const std::string& name, const Archive& archive,
                                        const ModelMetadata& metadata) {
  const std::vector<UnetParameter> parameters = UnetParameters(metadata.unet);
  DENOISED_RETURN_IF_ERROR(CheckNames(name, metadata, parameters));
  HostTensors tensors;
  std::string all;
  for (size_t i = 0; i < parameters.size(); ++i) {
    const std::string& record = metadata.parameter_records[i].second;
    DENOISED_ASSIGN_OR_RETURN(const std::string bytes, ReadTensor(name, archive, parameters[i], record));
    DENOISED_ASSIGN_OR_RETURN(tensors[parameters[i].name], TensorOf(name, parameters[i], bytes));
    all += bytes;
  }
  if (Sha256Hex(all) != metadata.parameters_sha256) return DamagedParameters(name);
  return tensors;
}

// All values but the frequencies of the timestep's embedding, which are a formula's.
int64_t CountLearnt(const HostTensors& tensors) {
  int64_t count = 0;
  for (const auto& [name, tensor] : tensors) {
    if (name != "frequencies") count += static_cast<int64_t>(tensor.values.size());
  }
  return count;
}

}  // namespace

absl::StatusOr<PlainCheckpoint> ParsePlainCheckpoint(const std::string& name, std::string_view bytes) {
  const absl::StatusOr<Archive> archive = Archive::Open(bytes);
  if (!archive.ok()) return NotAnArchive(name, bytes);
  if (!archive->Has(absl::StrCat("extra/", kMetadataFile))) return NotFromDenoiseTrain(name);
  DENOISED_ASSIGN_OR_RETURN(const std::string json, ReadExtra(name, *archive, kMetadataFile, kMaxMetadataBytes));
  absl::StatusOr<ModelMetadata> metadata = ParseModelMetadata(json);
  if (!metadata.ok()) return Named(name, metadata.status());
  if (!MayHold(metadata->unet, bytes.size())) return TooSmallForItsNetwork(name, bytes.size());
  PlainCheckpoint checkpoint{.metadata = *std::move(metadata), .tensors = {}, .sha256 = "", .golden = {}};
  DENOISED_ASSIGN_OR_RETURN(checkpoint.golden, ReadGolden(name, *archive, checkpoint.metadata));
  DENOISED_ASSIGN_OR_RETURN(checkpoint.tensors, ReadTensors(name, *archive, checkpoint.metadata));
  checkpoint.sha256 = Sha256Hex(bytes);
  checkpoint.parameter_count = CountLearnt(checkpoint.tensors);
  return checkpoint;
}

absl::StatusOr<PlainCheckpoint> LoadPlainCheckpoint(const std::string& path) {
  const absl::StatusOr<std::string> bytes = ReadFile(path, kMaxCheckpointBytes);
  if (!bytes.ok()) return UnreadableCheckpoint(bytes.status());
  return ParsePlainCheckpoint(path, *bytes);
}

}  // namespace denoised
