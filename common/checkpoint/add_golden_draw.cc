#include "common/checkpoint/add_golden_draw.h"

#include "common/checkpoint/checkpoint.h"
#include "common/checkpoint/golden_reference.h"
#include "common/support/status_macros.h"

namespace denoised {

absl::Status AddGoldenDraw(const std::string& path) {
  DENOISED_ASSIGN_OR_RETURN(const Checkpoint checkpoint, LoadCheckpoint(path, GoldenUse::kIgnore));
  // What cannot be drawn would be left out without a word.
  DENOISED_RETURN_IF_ERROR(DrawReference(checkpoint.metadata, checkpoint.unet).status());
  return SaveCheckpoint(path, checkpoint.metadata, checkpoint.unet);
}

}  // namespace denoised
