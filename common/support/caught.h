// File: caught.h
//
// Calls what may throw, where nothing may: the exception becomes a status.
//
//   absl::Status status = Caught("the engine failed", [&] { return engine.Step(rows); });
//
// Thread-safe.
#ifndef DENOISED_COMMON_SUPPORT_CAUGHT_H_
#define DENOISED_COMMON_SUPPORT_CAUGHT_H_

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace denoised {

// What `work` returns; INTERNAL, with `what` and the reason, if it throws a std::exception instead.
absl::Status Caught(absl::string_view what, absl::FunctionRef<absl::Status()> work);

}  // namespace denoised

#endif  // DENOISED_COMMON_SUPPORT_CAUGHT_H_
