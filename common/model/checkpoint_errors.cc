#include "common/model/checkpoint_errors.h"

#include "absl/strings/str_cat.h"

namespace denoised {
namespace {

constexpr char kCopyAgain[] = "copy it again, or train a new one with denoise-train";

// What a checkpoint of this network has at least: a 3x3 convolution of each resolution and each of its blocks, and the
// labels' embedding.
uint64_t FewestParameterBytes(const UnetConfig& unet) {
  uint64_t parameters = uint64_t{static_cast<uint32_t>(unet.num_labels)} * static_cast<uint32_t>(unet.embedding_dim);
  for (size_t level = 0; level < unet.channels.size(); ++level) {
    const uint64_t channels = static_cast<uint32_t>(unet.channels[level]);
    const uint64_t blocks = unet.blocks.empty() ? 1 : static_cast<uint32_t>(unet.blocks[level]);
    parameters += 9 * blocks * channels * channels;
  }
  return parameters * sizeof(float);
}

}  // namespace

absl::Status UnreadableCheckpoint(const absl::Status& why) {
  return absl::Status(why.code(), absl::StrCat("cannot load the checkpoint: ", why.message(),
                                               "; name an existing one, or train one with denoise-train"));
}

absl::Status NotAnArchive(const std::string& name, std::string_view bytes) {
  if (bytes.empty()) return absl::InvalidArgumentError(absl::StrCat(name, " is empty; ", kCopyAgain));
  if (bytes.starts_with("PK")) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, " is a damaged or truncated archive (", bytes.size(), " bytes); ", kCopyAgain));
  }
  return absl::InvalidArgumentError(
      absl::StrCat(name, " is not a TorchScript archive; a checkpoint is a file written by denoise-train"));
}

absl::Status NotFromDenoiseTrain(const std::string& name) {
  return absl::InvalidArgumentError(absl::StrCat(name, " holds no ", kMetadataFile,
                                                 ", so it was not written by denoise-train; train one or name another "
                                                 "file"));
}

absl::Status TooSmallForItsNetwork(const std::string& name, size_t bytes) {
  return absl::InvalidArgumentError(absl::StrCat(name, " has ", bytes, " bytes, too few for the network that its ",
                                                 kMetadataFile, " describes; ", kCopyAgain));
}

bool MayHold(const UnetConfig& unet, size_t bytes) { return FewestParameterBytes(unet) <= bytes; }

absl::Status UnpacksTooFar(const std::string& name, size_t bytes, uint64_t unpacked_bytes) {
  return absl::InvalidArgumentError(absl::StrCat(name, " has ", bytes, " bytes and unpacks to ", unpacked_bytes,
                                                 ", far more than what denoise-train writes; ", kCopyAgain));
}

absl::Status BadTensor(absl::StatusCode code, const std::string& name, const std::string& tensor,
                       const std::string& what) {
  return absl::Status(code, absl::StrCat(name, ": the tensor ", tensor, " ", what, "; ", kCopyAgain));
}

absl::Status WrongNumberOfTensors(const std::string& name, size_t found, size_t expected) {
  return absl::InvalidArgumentError(
      absl::StrCat(name, " holds ", found, " tensors, expected ", expected, "; ", kCopyAgain));
}

absl::Status DamagedParameters(const std::string& name) {
  return absl::DataLossError(
      absl::StrCat(name, ": the parameters do not match their SHA-256; the file is damaged, ", kCopyAgain));
}

absl::Status Named(const std::string& name, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(name, ": ", status.message()));
}

}  // namespace denoised
