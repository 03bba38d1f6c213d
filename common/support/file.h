// File: file.h
//
// Whole files in and out, with errors in words.
//
//   absl::StatusOr<std::string> bytes = ReadFile("models/mnist.pt", 64 << 20);
//   absl::Status written = WriteFileAtomically("run/best.pt", bytes);
//
// Thread-safe as far as the file system is.
#ifndef DENOISED_COMMON_SUPPORT_FILE_H_
#define DENOISED_COMMON_SUPPORT_FILE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace denoised {

// The file's bytes. NOT_FOUND if there is none, INVALID_ARGUMENT if it is a folder or holds more than `max_bytes`,
// UNAVAILABLE if reading fails.
absl::StatusOr<std::string> ReadFile(const std::string& path, uint64_t max_bytes);

// Replaces the file at `path` so that at any moment, power cuts included, it holds either its old bytes or the new
// ones: temporary file in the same folder, fsync, rename, and fsync of the folder where that can be. On an error the
// old file is untouched and the temporary one is removed. Who may read it stays. A symbolic link stays, and the file
// that it names is replaced. A device or a pipe is written to as it is, and a pipe waits for its reader.
// RESOURCE_EXHAUSTED when the disk is full, PERMISSION_DENIED, NOT_FOUND for a missing folder, INVALID_ARGUMENT for a
// folder, UNAVAILABLE otherwise.
absl::Status WriteFileAtomically(const std::string& path, std::string_view bytes);

// Writes to standard output, past the buffer of stdio.
absl::Status WriteToStdout(std::string_view bytes);

// Whether `path` is there and neither a file nor a folder: a device, a pipe, or a link to one.
bool IsSpecialFile(const std::string& path);

// Proves that WriteFileAtomically can write to `path`, whose folder is made if it is missing. Errors as below.
absl::Status EnsureWritableFile(const std::string& path, const std::string& flag = "--out");

// Makes the folder and its parents, and proves that files can be made in it. An error advises to choose another with
// `flag`, the command line's name for the folder.
absl::Status EnsureWritableFolder(const std::string& path, const std::string& flag = "--out");

// A file or folder that comes with the programs: `name` in share/denoised/ of the running program's installation, in
// models/ of the source tree that it was built in, or in models/ of the working folder. NOT_FOUND lists where it
// looked.
absl::StatusOr<std::string> FindShipped(const std::string& name);

}  // namespace denoised

#endif  // DENOISED_COMMON_SUPPORT_FILE_H_
