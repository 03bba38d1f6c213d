#include "common/engine/self_test.h"

#include <torch/csrc/jit/python/update_graph_executor_opt.h>
#include <torch/script.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/checkpoint/torch_error.h"
#include "common/checkpoint/torch_threads.h"
#include "common/diffusion/image_state.h"
#include "common/engine/device.h"
#include "common/image/image.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

// Network rows of the step in company: enough for several calls on several workers. The emulation takes a tenth of a
// second for each.
constexpr int kCompany = 16;
constexpr int kEmulatedCompany = 4;

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

void Predict(torch::jit::Module& unet, const float* x, int timestep, int label, float* e) {
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

GoldenTolerance ToleranceOf(const EngineOptions& options, const Engine& engine, Precision precision) {
  const int widest = options.device == kEmulatedCuda ? kEmulatedCompany : kCompany;
  const int max_rows = options.max_rows > 0 ? options.max_rows : 2 * options.num_slots;
  return {.largest_rms = LargestRms(precision),
          .exact_in_company = engine.ComputedRows(3) == 3,  // an engine that pads has a network for each size
          .company = std::min(widest, max_rows)};
}

}  // namespace

absl::StatusOr<GoldenReference> DrawReference(const Checkpoint& checkpoint) {
  const ModelMetadata& metadata = checkpoint.metadata;
  DENOISED_ASSIGN_OR_RETURN(const NoiseSchedule schedule, NoiseSchedule::Create(metadata.noise_schedule));
  GoldenReference reference;
  reference.rows = GoldenRows(schedule, {.classes = static_cast<int>(metadata.class_names.size()),
                                         .null_label = metadata.null_label,
                                         .variance_type = metadata.variance_type,
                                         .clip_sample = metadata.clip_sample});
  try {
    ComputeOnThisThreadAlone();
    const PlainInterpreter plain;
    const c10::InferenceMode inference;
    torch::jit::Module unet = checkpoint.unet;
    reference.images = DrawPlainly(
        reference.rows, metadata.null_label.value_or(0),
        [&unet](const float* x, int timestep, int label, float* e) { Predict(unet, x, timestep, label, e); });
  } catch (const std::exception& e) {
    return absl::InternalError(absl::StrCat("LibTorch cannot draw with this checkpoint: ", TorchErrorText(e)));
  }
  DENOISED_RETURN_IF_ERROR(CheckFiniteImages(reference.images));
  return reference;
}

// Three to five times what the shipped checkpoint's engines are off: 0.028 in bf16, 0.006 in fp16; in fp32 it is 4e-6,
// but other libraries sum in another order. A lost channel of one convolution is 0.27.
float LargestRms(Precision precision) {
  switch (precision) {
    case Precision::kBf16:
      return 0.1f;
    case Precision::kFp16:
      return 0.03f;
    default:
      return 0.002f;
  }
}

absl::StatusOr<std::unique_ptr<Engine>> MakeCheckedEngine(const Checkpoint& checkpoint,
                                                          const GoldenReference& reference,
                                                          const EngineOptions& options, const EngineMaker& make) {
  DENOISED_ASSIGN_OR_RETURN(const Precision precision,
                            ResolvePrecision(options.precision, options.device == "cpu" ? "cpu" : "cuda"));
  DENOISED_ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine, make(checkpoint, options));
  DENOISED_RETURN_IF_ERROR(
      CheckEngine(*engine, reference.rows, reference.images, ToleranceOf(options, *engine, precision)));
  return engine;
}

absl::StatusOr<std::vector<EngineOptions>> EngineCandidates(const EngineOptions& options) {
  EngineOptions candidate = options;
  DENOISED_ASSIGN_OR_RETURN(candidate.device, ResolveDevice(options.device));
  std::vector<EngineOptions> candidates = {candidate};
  if (options.device != "auto") return candidates;
  if (candidate.device != "cpu") {
    candidate.device = "cpu";
    candidates.push_back(candidate);
  }
  if (options.precision == Precision::kAuto) {
    candidate.precision = Precision::kFp32;
    const absl::StatusOr<Precision> first = ResolvePrecision(Precision::kAuto, "cpu");
    if (first.ok() && *first != Precision::kFp32) candidates.push_back(candidate);
  }
  if (candidate.precision == Precision::kFp32 && candidate.path == EnginePath::kFastest) {
    candidate.path = EnginePath::kTorchScript;
    candidates.push_back(candidate);
  }
  return candidates;
}

std::string CandidateName(const EngineOptions& candidate) {
  return absl::StrCat(
      candidate.device,
      candidate.precision == Precision::kAuto ? "" : absl::StrCat(" in ", PrecisionName(candidate.precision)),
      candidate.path == EnginePath::kTorchScript ? " by LibTorch" : "");
}

}  // namespace denoised
