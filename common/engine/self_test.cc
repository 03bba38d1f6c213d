#include "common/engine/self_test.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/engine/device.h"
#include "common/engine/torch/torch_engines.h"
#include "common/model/golden_record.h"
#include "common/support/caught.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

// Network rows of the step in company: enough for several calls on several workers. The emulation takes a tenth of a
// second for each.
constexpr int kCompany = 16;
constexpr int kGpuCompany = 600;  // or as many as a step may have: so that every multiprocessor has two
constexpr int kEmulatedCompany = 4;

GoldenTolerance ToleranceOf(const EngineOptions& options, const Engine& engine, Precision precision) {
  const bool on_gpu = options.device != "cpu" && options.device != kEmulatedCuda;
  const int widest = on_gpu ? kGpuCompany : options.device == kEmulatedCuda ? kEmulatedCompany : kCompany;
  const int max_rows = options.max_rows > 0 ? options.max_rows : 2 * options.num_slots;
  return {.largest_rms = LargestRms(precision),
          .exact_in_company = engine.ComputedRows(3) == 3,  // an engine that pads has a network for each size
          .company = std::min(widest, max_rows)};
}

// Beside an engine at work: rests after each step, so that three quarters of the cores' time stay for that one.
class PacedEngine : public Engine {
 public:
  explicit PacedEngine(Engine& engine) : engine_(engine) {}

  int num_slots() const override { return engine_.num_slots(); }
  absl::Status Step(absl::Span<const StepRow> rows) override {
    const auto start = std::chrono::steady_clock::now();
    const absl::Status status = engine_.Step(rows);
    std::this_thread::sleep_for(kRest * (std::chrono::steady_clock::now() - start));
    return status;
  }
  absl::Status Read(int slot, FrameKind kind, absl::Span<float> pixels) override {
    return engine_.Read(slot, kind, pixels);
  }

 private:
  static constexpr int kRest = 3;  // times as long as a step
  Engine& engine_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> MakeCheckedEngine(const PlainCheckpoint& checkpoint,
                                                          const GoldenReference& reference,
                                                          const EngineOptions& options, const EngineMaker& make) {
  DENOISED_ASSIGN_OR_RETURN(const Precision precision,
                            ResolvePrecision(options.precision, options.device == "cpu" ? "cpu" : "cuda"));
  DENOISED_ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine, make(checkpoint, options));
  PacedEngine paced(*engine);
  Engine& checked = IsAtWork(options.another_at_work) ? paced : *engine;
  DENOISED_RETURN_IF_ERROR(Caught("the self-test failed", [&] {
    return CheckEngine(checked, reference.rows, reference.images, ToleranceOf(options, *engine, precision));
  }));
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
  if (candidate.precision == Precision::kFp32 && candidate.path == EnginePath::kFastest && HasTorch()) {
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
