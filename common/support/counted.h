// File: counted.h
//
// A number and what it counts, as messages say it.
//
//   Counted(1, "step")            // "1 step"
//   Counted(4, "step")            // "4 steps"
//   Counted(2, "class", "classes")
//
// Thread-safe.
#ifndef DENOISED_COMMON_SUPPORT_COUNTED_H_
#define DENOISED_COMMON_SUPPORT_COUNTED_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace denoised {

// `plural`: empty for `noun` with an s.
std::string Counted(int64_t count, absl::string_view noun, absl::string_view plural = "");

}  // namespace denoised

#endif  // DENOISED_COMMON_SUPPORT_COUNTED_H_
