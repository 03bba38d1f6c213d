#include "common/support/caught.h"

#include <exception>

#include "absl/strings/str_cat.h"

namespace denoised {

absl::Status Caught(absl::string_view what, absl::FunctionRef<absl::Status()> work) {
  try {
    return work();
  } catch (const std::exception& e) {
    return absl::InternalError(absl::StrCat(what, ": ", e.what()));
  }
}

}  // namespace denoised
