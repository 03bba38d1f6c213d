// File: utf8.h
//
// Text letter by letter, whatever bytes it holds.
//
//   for (; !text.empty(); text.remove_prefix(std::max<size_t>(LetterBytes(text), 1))) ...
//
// Pure and thread-safe.
#ifndef DENOISED_COMMON_SUPPORT_UTF8_H_
#define DENOISED_COMMON_SUPPORT_UTF8_H_

#include <string_view>

namespace denoised {

// How many bytes the letter at the start of `text` has, which is not empty; 0 if it is none of UTF-8 (RFC 3629).
size_t LetterBytes(std::string_view text);

bool IsUtf8(std::string_view text);

}  // namespace denoised

#endif  // DENOISED_COMMON_SUPPORT_UTF8_H_
