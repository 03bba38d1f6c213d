// File: digest.h
//
// SHA-256 of bytes, as 64 lower-case hexadecimal digits. Pure and thread-safe.
#ifndef DENOISED_COMMON_SUPPORT_DIGEST_H_
#define DENOISED_COMMON_SUPPORT_DIGEST_H_

#include <string>
#include <string_view>

namespace denoised {

std::string Sha256Hex(std::string_view bytes);

}  // namespace denoised

#endif  // DENOISED_COMMON_SUPPORT_DIGEST_H_
