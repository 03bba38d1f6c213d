// File: digest.h
//
// SHA-256, as 64 lower-case hexadecimal digits.
//
// Thread-safe; of bytes also pure.
#ifndef DENOISED_COMMON_SUPPORT_DIGEST_H_
#define DENOISED_COMMON_SUPPORT_DIGEST_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace denoised {

std::string Sha256Hex(std::string_view bytes);

// Of a file, however large. NOT_FOUND, PERMISSION_DENIED and the like, naming it, where it cannot be read.
absl::StatusOr<std::string> Sha256HexOfFile(const std::string& path);

}  // namespace denoised

#endif  // DENOISED_COMMON_SUPPORT_DIGEST_H_
