// File: quoted.h
//
// Words from elsewhere, fit for a message, a line of a log and a terminal.
//
//   Quoted("Ankle boot");      // "Ankle boot", in double quotes
//   Visible("a\x1b[31m");      // a\x1b[31m, without the character ESC
//
// What stays are letters of any alphabet; control characters, and bytes that are no UTF-8, become \n or \x1b.
//
// Pure and thread-safe.
#ifndef DENOISED_COMMON_SUPPORT_QUOTED_H_
#define DENOISED_COMMON_SUPPORT_QUOTED_H_

#include <string>
#include <string_view>

namespace denoised {

// Without control characters.
std::string Visible(std::string_view text);

// The same in double quotes, which are escaped in it as backslashes are, and cut to about `max_bytes`, with "..."
// behind.
std::string Quoted(std::string_view text, size_t max_bytes = 40);

}  // namespace denoised

#endif  // DENOISED_COMMON_SUPPORT_QUOTED_H_
