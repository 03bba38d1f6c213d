#include "common/checkpoint/golden_reference.h"

#include <torch/csrc/jit/python/update_graph_executor_opt.h>
#include <torch/version.h>

#include <algorithm>
#include <system_error>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/checkpoint/torch_error.h"
#include "common/checkpoint/torch_threads.h"
#include "common/diffusion/image_state.h"
#include "common/image/image.h"
#include "common/model/golden_record.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

using torch::jit::Module;

// While one lives, the calling thread's TorchScript is interpreted as it is written, without compiling it for a shape.
class PlainInterpreter {
 public:
  PlainInterpreter() : before_(torch::jit::getGraphExecutorOptimize()) { torch::jit::setGraphExecutorOptimize(false); }
  ~PlainInterpreter() { torch::jit::setGraphExecutorOptimize(before_); }
  PlainInterpreter(const PlainInterpreter&) = delete;
  PlainInterpreter& operator=(const PlainInterpreter&) = delete;

 private:
  const bool before_;
};

void Predict(Module& unet, const float* x, int timestep, int label, float* e) {
  const at::Tensor image = torch::empty({1, 1, kModelSize, kModelSize});
  std::copy_n(x, kModelPixels, image.data_ptr<float>());
  const at::Tensor output =
      unet.forward({image, torch::tensor({int64_t{timestep}}), torch::tensor({int64_t{label}})}).toTensor();
  std::copy_n(output.contiguous().data_ptr<float>(), kModelPixels, e);
}

absl::Status CheckFiniteImages(const GoldenImages& images) {
  for (const std::vector<float>& image : images) DENOISED_RETURN_IF_ERROR(CheckFinite(image));
  return absl::OkStatus();
}

absl::StatusOr<GoldenReference> DrawOnThisThread(const ModelMetadata& metadata, Module unet) {
  GoldenReference reference{.rows = GoldenRowsOf(metadata), .images = {}};
  try {
    ComputeOnThisThreadAlone();
    const PlainInterpreter plain;
    const c10::InferenceMode inference;
    reference.images = DrawPlainly(
        reference.rows, metadata.null_label.value_or(0),
        [&unet](const float* x, int timestep, int label, float* e) { Predict(unet, x, timestep, label, e); });
  } catch (const std::exception& e) {
    return absl::InternalError(absl::StrCat("LibTorch cannot draw with this checkpoint: ", TorchErrorText(e)));
  }
  DENOISED_RETURN_IF_ERROR(CheckFiniteImages(reference.images));
  return reference;
}

absl::Status ComparedWithTheFile(const Checkpoint& checkpoint, const GoldenReference& reference) {
  if (!checkpoint.golden.has_value()) return absl::OkStatus();
  const GoldenRecord& golden = *checkpoint.golden;
  const absl::Status same =
      CompareImages(reference.rows, reference.images, golden.images, LargestRms(Precision::kFp32));
  if (same.ok()) return same;
  return absl::DataLossError(absl::StrCat(
      "the checkpoint's network draws something else here, by ", ReferenceName(), ", than when it was written, by ",
      golden.drawn_by, ": ", same.message(),
      "; use another machine or LibTorch, or, if this one is to be believed, denoise-train --add_golden_draw FILE"));
}

}  // namespace

absl::StatusOr<GoldenReference> DrawReference(const ModelMetadata& metadata, const Module& unet) {
  absl::StatusOr<GoldenReference> reference = absl::UnknownError("not drawn");
  try {
    std::thread([&] { reference = DrawOnThisThread(metadata, unet); }).join();
  } catch (const std::system_error& e) {
    return absl::ResourceExhaustedError(
        absl::StrCat("LibTorch cannot draw with this checkpoint: no thread can be had (", e.code().message(),
                     "); raise the limit of processes"));
  }
  return reference;
}

absl::StatusOr<GoldenReference> DrawCheckedReference(const Checkpoint& checkpoint) {
  DENOISED_ASSIGN_OR_RETURN(GoldenReference reference, DrawReference(checkpoint.metadata, checkpoint.unet));
  DENOISED_RETURN_IF_ERROR(ComparedWithTheFile(checkpoint, reference));
  return reference;
}

std::string ReferenceName() { return absl::StrCat("LibTorch ", TORCH_VERSION); }

}  // namespace denoised
