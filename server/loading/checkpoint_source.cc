#include "server/loading/checkpoint_source.h"

#include "absl/strings/str_cat.h"
#include "common/checkpoint/checkpoint.h"
#include "common/checkpoint/golden_reference.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

std::string GoldenNews(const Checkpoint& checkpoint) {
  if (checkpoint.golden.has_value()) {
    return absl::StrCat("they are as ", checkpoint.golden->drawn_by, " drew them when the checkpoint was written");
  }
  return "the checkpoint is older and carries no such images to compare them with; denoise-train --add_golden_draw "
         "FILE adds them";
}

}  // namespace

absl::StatusOr<CheckpointSource> ReadSource(const std::string& path,
                                            const std::function<void(const std::string&)>& tell) {
  DENOISED_ASSIGN_OR_RETURN(const Checkpoint checkpoint, LoadCheckpoint(path));
  tell("drawing a few images in fp32, which engines are compared with");
  CheckpointSource source{.checkpoint = Plain(checkpoint), .reference = {}};
  DENOISED_ASSIGN_OR_RETURN(source.reference, DrawCheckedReference(checkpoint));
  tell(GoldenNews(checkpoint));
  return source;
}

}  // namespace denoised
