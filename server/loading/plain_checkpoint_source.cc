// In place of checkpoint_source.cc in builds without LibTorch.
#include "absl/strings/str_cat.h"
#include "common/support/status_macros.h"
#include "server/loading/checkpoint_source.h"

namespace denoised {

absl::StatusOr<CheckpointSource> ReadSource(const std::string& path,
                                            const std::function<void(const std::string&)>& tell) {
  CheckpointSource source;
  DENOISED_ASSIGN_OR_RETURN(source.checkpoint, LoadPlainCheckpoint(path));
  const PlainCheckpoint& checkpoint = source.checkpoint;
  if (!checkpoint.golden.has_value()) {
    return absl::FailedPreconditionError(
        absl::StrCat(path,
                     " carries no images to compare an engine with, and this build, made without LibTorch, cannot "
                     "draw them; denoise-train --add_golden_draw FILE adds them"));
  }
  source.reference = {.rows = GoldenRowsOf(checkpoint.metadata), .images = checkpoint.golden->images};
  tell(absl::StrCat("engines are compared with what ", checkpoint.golden->drawn_by,
                    " drew when the checkpoint was written"));
  return source;
}

}  // namespace denoised
