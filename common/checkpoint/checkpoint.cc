#include "common/checkpoint/checkpoint.h"

#include <caffe2/serialize/inline_container.h>
#include <caffe2/serialize/istream_adapter.h>

#include <map>
#include <memory>
#include <optional>
#include <sstream>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/checkpoint/golden_reference.h"
#include "common/checkpoint/tensor_storage.h"
#include "common/checkpoint/torch_error.h"
#include "common/checkpoint/unet.h"
#include "common/model/checkpoint_errors.h"
#include "common/support/digest.h"
#include "common/support/file.h"
#include "common/support/status_macros.h"
#include "common/weights/archive.h"

namespace denoised {
namespace {

using caffe2::serialize::PyTorchStreamReader;
using torch::jit::Module;

// Parameters and buffers, in the module's own order.
std::vector<std::pair<std::string, at::Tensor>> NamedTensors(const Module& unet) {
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const auto& tensor : unet.named_parameters()) {
    tensors.emplace_back(tensor.name, tensor.value.detach());
  }
  for (const auto& tensor : unet.named_buffers()) {
    tensors.emplace_back(tensor.name, tensor.value.detach());
  }
  return tensors;
}

std::string BytesOf(const at::Tensor& tensor) {
  const at::Tensor plain = tensor.cpu().contiguous();
  return {static_cast<const char*>(plain.data_ptr()), plain.nbytes()};
}

std::string ParametersSha256(const Module& unet) {
  std::string bytes;
  for (const auto& [name, tensor] : NamedTensors(unet)) bytes += BytesOf(tensor);
  return Sha256Hex(bytes);
}

// A copy with plain tensors on the CPU, so that what is saved does not depend on how it was trained. It shares the
// original's compiled code: compiling anew takes most of a second.
Module PlainCopy(const Module& unet) {
  const torch::NoGradGuard no_grad;
  Module copy = unet.deepcopy();
  copy.to(torch::kCPU);
  return copy;
}

using ExtraFiles = std::unordered_map<std::string, std::string>;  // text by name, as LibTorch wants them

std::string ArchiveOf(const Module& unet, const ExtraFiles& files) {
  std::ostringstream stream;
  unet.save(stream, files);
  return std::move(stream).str();
}

// What the network of `archive` draws: so it is what has been written, by code that nothing has run yet.
absl::StatusOr<std::string> DrawGolden(const ModelMetadata& metadata, const std::string& archive) {
  std::istringstream written(archive);
  DENOISED_ASSIGN_OR_RETURN(const GoldenReference golden, DrawReference(metadata, torch::jit::load(written)));
  return SerializeGoldenRecord(golden.rows, {.drawn_by = ReferenceName(), .images = golden.images});
}

std::string ReadRecord(PyTorchStreamReader& reader, const std::string& name) {
  const auto [data, size] = reader.getRecord(name);
  return std::string(static_cast<const char*>(data.get()), size);
}

// The archive's program text, by record name. Debug records only map source lines and are never run.
std::map<std::string, std::string> CodeRecords(PyTorchStreamReader& reader) {
  std::map<std::string, std::string> code;
  for (const std::string& name : reader.getAllRecords()) {
    if (name.starts_with("code/") && !name.ends_with(".debug_pkl")) code[name] = ReadRecord(reader, name);
  }
  return code;
}

// Which of the archive's records each tensor's bytes are in. Of equal ones any is right: the first.
std::vector<std::pair<std::string, std::string>> FindRecords(const std::string& archive, const Module& unet) {
  std::istringstream stream(archive);
  PyTorchStreamReader reader(&stream);
  std::map<std::string, std::string> record_of;  // by bytes
  for (const std::string& name : reader.getAllRecords()) {
    if (name.starts_with("data/")) record_of.emplace(ReadRecord(reader, name), name);
  }
  std::vector<std::pair<std::string, std::string>> records;
  for (const auto& [name, tensor] : NamedTensors(unet)) records.emplace_back(name, record_of.at(BytesOf(tensor)));
  return records;
}

std::map<std::string, std::string> CodeOf(const Module& unet) {
  std::istringstream stream(ArchiveOf(unet, {{kMetadataFile, "{}"}}));
  PyTorchStreamReader reader(&stream);
  return CodeRecords(reader);
}

absl::Status ForeignCode(const std::string& name, const UnetConfig& unet) {
  return absl::PermissionDeniedError(
      absl::StrCat(name, " brings code that this build does not write for architecture \"", unet.architecture,
                   "\"; it was not run. Use a checkpoint written by this version of denoise-train"));
}

absl::StatusOr<std::optional<GoldenRecord>> ReadGolden(PyTorchStreamReader& reader, const ModelMetadata& metadata) {
  const std::string record = absl::StrCat("extra/", kGoldenFile);
  if (!reader.hasRecord(record)) return std::nullopt;
  return ParseGoldenRecord(GoldenRowsOf(metadata), ReadRecord(reader, record));
}

// LibTorch takes a file for its other format by these bytes, flatbuffers, whose code nobody has looked at, even if its
// end makes it a ZIP file, which has a version and flags here.
bool BeginsAsAZipFile(std::string_view bytes) { return bytes.starts_with("PK\3\4") && bytes.substr(4, 4) != "PTMF"; }

// Records may be compressed, and code is: but not so that reading them takes much more memory than the file itself.
absl::Status CheckUnpackedSize(const std::string& name, std::string_view bytes) {
  constexpr uint64_t kMostBeyondTheFile = 16 << 20;
  const absl::StatusOr<Archive> archive = Archive::Open(bytes);
  if (!archive.ok()) return NotAnArchive(name, bytes);
  const uint64_t unpacked = archive->UnpackedBytes();
  if (unpacked <= bytes.size() + kMostBeyondTheFile) return absl::OkStatus();
  return UnpacksTooFar(name, bytes.size(), unpacked);
}

struct Inspection {
  ModelMetadata metadata;
  std::optional<GoldenRecord> golden;
  Module reference;  // the network as this build makes it
};

// Reads the extra files and judges the code, running nothing.
absl::StatusOr<Inspection> InspectArchive(const std::string& name, std::string_view bytes, GoldenUse golden_use) {
  if (!BeginsAsAZipFile(bytes)) return NotAnArchive(name, bytes);
  DENOISED_RETURN_IF_ERROR(CheckUnpackedSize(name, bytes));
  std::istringstream stream{std::string(bytes)};
  std::unique_ptr<PyTorchStreamReader> reader;
  std::string metadata_json;
  try {
    reader = std::make_unique<PyTorchStreamReader>(&stream);
  } catch (const std::exception&) {
    return NotAnArchive(name, bytes);
  }
  if (!reader->hasRecord(absl::StrCat("extra/", kMetadataFile))) {
    return NotFromDenoiseTrain(name);
  }
  metadata_json = ReadRecord(*reader, absl::StrCat("extra/", kMetadataFile));
  absl::StatusOr<ModelMetadata> metadata = ParseModelMetadata(metadata_json);
  if (!metadata.ok()) return Named(name, metadata.status());
  // A few kilobytes may describe a network of many gigabytes: it is made only if its parameters can be there.
  if (!MayHold(metadata->unet, bytes.size())) return TooSmallForItsNetwork(name, bytes.size());
  const Module reference = MakeUnet(metadata->unet);
  if (CodeRecords(*reader) != CodeOf(reference)) return ForeignCode(name, metadata->unet);
  absl::StatusOr<std::optional<GoldenRecord>> golden = std::nullopt;
  if (golden_use == GoldenUse::kRead) golden = ReadGolden(*reader, *metadata);
  if (!golden.ok()) return Named(name, golden.status());
  return Inspection{*std::move(metadata), *std::move(golden), reference};
}

absl::Status CheckParameters(const std::string& name, const Inspection& inspection, const Module& unet) {
  const auto expected = NamedTensors(inspection.reference);
  const auto found = NamedTensors(unet);
  if (found.size() != expected.size()) {
    return WrongNumberOfTensors(name, found.size(), expected.size());
  }
  for (size_t i = 0; i < found.size(); ++i) {
    const at::Tensor& tensor = found[i].second;
    if (found[i].first != expected[i].first || tensor.sizes() != expected[i].second.sizes() ||
        tensor.scalar_type() != expected[i].second.scalar_type()) {
      return BadTensor(absl::StatusCode::kInvalidArgument, name, found[i].first,
                       absl::StrCat("does not have the shape or type of ", expected[i].first));
    }
    if (!LiesInItsStorage(tensor)) {
      return BadTensor(absl::StatusCode::kInvalidArgument, name, found[i].first, "goes beyond its data");
    }
    if (!torch::isfinite(tensor).all().item<bool>()) {
      return BadTensor(absl::StatusCode::kDataLoss, name, found[i].first, "is not finite");
    }
  }
  if (ParametersSha256(unet) != inspection.metadata.parameters_sha256) {
    return DamagedParameters(name);
  }
  return absl::OkStatus();
}

absl::StatusOr<Checkpoint> Parse(const std::string& name, std::string_view bytes, GoldenUse golden_use) {
  try {
    Checkpoint checkpoint;
    DENOISED_ASSIGN_OR_RETURN(Inspection inspection, InspectArchive(name, bytes, golden_use));
    std::istringstream stream{std::string(bytes)};
    // By the reader that has been used to judge the code: of a stream LibTorch would choose the format anew.
    checkpoint.unet = torch::jit::load(std::make_shared<caffe2::serialize::IStreamAdapter>(&stream), torch::kCPU);
    checkpoint.unet.eval();
    DENOISED_RETURN_IF_ERROR(CheckParameters(name, inspection, checkpoint.unet));
    checkpoint.metadata = std::move(inspection.metadata);
    checkpoint.golden = std::move(inspection.golden);
    for (const at::Tensor& parameter : checkpoint.unet.parameters()) checkpoint.parameter_count += parameter.numel();
    checkpoint.sha256 = Sha256Hex(bytes);
    return checkpoint;
  } catch (const std::exception&) {  // LibTorch's messages hold stack traces: not for users
    return NotAnArchive(name, bytes);
  }
}

}  // namespace

PlainCheckpoint Plain(const Checkpoint& checkpoint) {
  return {.metadata = checkpoint.metadata,
          .tensors = HostTensorsOf(checkpoint.unet),
          .sha256 = checkpoint.sha256,
          .parameter_count = checkpoint.parameter_count,
          .golden = checkpoint.golden};
}

absl::StatusOr<std::string> SerializeCheckpoint(ModelMetadata metadata, const Module& unet) {
  try {
    const Module copy = PlainCopy(unet);
    const std::string bare = ArchiveOf(copy, {});
    metadata.parameters_sha256 = ParametersSha256(copy);
    metadata.parameter_records = FindRecords(bare, copy);
    ExtraFiles files = {{kMetadataFile, SerializeModelMetadata(metadata)}};
    absl::StatusOr<std::string> golden = DrawGolden(metadata, bare);
    if (golden.ok()) files[kGoldenFile] = *std::move(golden);
    return ArchiveOf(copy, files);
  } catch (const std::exception& e) {
    return absl::InternalError(absl::StrCat("cannot serialise the checkpoint: ", TorchErrorText(e)));
  }
}

absl::Status SaveCheckpoint(const std::string& path, ModelMetadata metadata, const Module& unet) {
  DENOISED_ASSIGN_OR_RETURN(const std::string bytes, SerializeCheckpoint(std::move(metadata), unet));
  return WriteFileAtomically(path, bytes);
}

absl::StatusOr<Checkpoint> LoadCheckpoint(const std::string& path, GoldenUse golden_use) {
  const absl::StatusOr<std::string> bytes = ReadFile(path, kMaxCheckpointBytes);
  if (!bytes.ok()) {
    return UnreadableCheckpoint(bytes.status());
  }
  return Parse(path, *bytes, golden_use);
}

absl::StatusOr<Checkpoint> ParseCheckpoint(const std::string& name, std::string_view bytes) {
  return Parse(name, bytes, GoldenUse::kRead);
}

}  // namespace denoised
