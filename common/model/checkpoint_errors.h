// File: checkpoint_errors.h
//
// What is said of a checkpoint that cannot be used, by whichever library it is read. `name` stands for the file. Pure
// and thread-safe.
#ifndef DENOISED_COMMON_MODEL_CHECKPOINT_ERRORS_H_
#define DENOISED_COMMON_MODEL_CHECKPOINT_ERRORS_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "common/model/model_metadata.h"

namespace denoised {

// The file itself cannot be read: `why` is ReadFile's.
absl::Status UnreadableCheckpoint(const absl::Status& why);

// INVALID_ARGUMENT: empty, cut off, or something else altogether.
absl::Status NotAnArchive(const std::string& name, std::string_view bytes);
absl::Status NotFromDenoiseTrain(const std::string& name);
absl::Status TooSmallForItsNetwork(const std::string& name, size_t bytes);
absl::Status UnpacksTooFar(const std::string& name, size_t bytes, uint64_t unpacked_bytes);

// Whether a file of so many bytes can hold the network: a few kilobytes may describe one of many gigabytes.
bool MayHold(const UnetConfig& unet, size_t bytes);

// A fault of one tensor: "`name`: the tensor `tensor` `what`".
absl::Status BadTensor(absl::StatusCode code, const std::string& name, const std::string& tensor,
                       const std::string& what);

// INVALID_ARGUMENT: the network has `expected` of them.
absl::Status WrongNumberOfTensors(const std::string& name, size_t found, size_t expected);

// DATA_LOSS: they are not what denoise-train has written.
absl::Status DamagedParameters(const std::string& name);

// The same status, with the file's name before its message.
absl::Status Named(const std::string& name, const absl::Status& status);

}  // namespace denoised

#endif  // DENOISED_COMMON_MODEL_CHECKPOINT_ERRORS_H_
