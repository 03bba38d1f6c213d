#include "common/engine/self_test.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/engine/device.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

// Network rows of the step in company: enough for several calls on several workers. The emulation takes a tenth of a
// second for each.
constexpr int kCompany = 16;
constexpr int kEmulatedCompany = 4;

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

GoldenTolerance ToleranceOf(const EngineOptions& options, const Engine& engine, Precision precision) {
  const int widest = options.device == kEmulatedCuda ? kEmulatedCompany : kCompany;
  const int max_rows = options.max_rows > 0 ? options.max_rows : 2 * options.num_slots;
  return {.largest_rms = LargestRms(precision),
          .exact_in_company = engine.ComputedRows(3) == 3,  // an engine that pads has a network for each size
          .company = std::min(widest, max_rows)};
}

}  // namespace

absl::StatusOr<GoldenReference> DrawCheckedReference(const Checkpoint& checkpoint) {
  DENOISED_ASSIGN_OR_RETURN(GoldenReference reference, DrawReference(checkpoint.metadata, checkpoint.unet));
  DENOISED_RETURN_IF_ERROR(ComparedWithTheFile(checkpoint, reference));
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
