// File: golden_reference.h
//
// Golden rows (../diffusion/golden_draw.h) drawn with a checkpoint's network the plainest way there is: by LibTorch's
// interpreter, in fp32 on the CPU, one image at a time.
//
//   absl::StatusOr<GoldenReference> reference = DrawReference(metadata, unet);
//
// Whoever writes a checkpoint keeps these images in it (../model/golden_record.h).
//
// Thread-safe.
#ifndef DENOISED_COMMON_CHECKPOINT_GOLDEN_REFERENCE_H_
#define DENOISED_COMMON_CHECKPOINT_GOLDEN_REFERENCE_H_

#include <torch/script.h>

#include <string>

#include "absl/status/statusor.h"
#include "common/checkpoint/checkpoint.h"
#include "common/diffusion/golden_draw.h"
#include "common/model/model_metadata.h"

namespace denoised {

// `unet` is MakeUnet(metadata.unet) with any weights, on the CPU. INTERNAL if LibTorch fails, or draws what is not
// finite. Works on a thread of its own, as it tells LibTorch to compute on that one alone.
absl::StatusOr<GoldenReference> DrawReference(const ModelMetadata& metadata, const torch::jit::Module& unet);

// DrawReference, compared with the golden draw that the checkpoint carries, if it carries one. DATA_LOSS, saying which
// image differs by how much and what to do, if they are further apart than LargestRms in fp32.
absl::StatusOr<GoldenReference> DrawCheckedReference(const Checkpoint& checkpoint);

// What draws here: "LibTorch 2.6.0".
std::string ReferenceName();

}  // namespace denoised

#endif  // DENOISED_COMMON_CHECKPOINT_GOLDEN_REFERENCE_H_
