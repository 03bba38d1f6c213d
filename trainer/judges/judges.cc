#include "trainer/judges/judges.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/checkpoint/torch_error.h"
#include "common/checkpoint/torch_threads.h"
#include "common/image/image.h"
#include "common/support/available_cores.h"
#include "common/support/digest.h"
#include "common/support/file.h"
#include "common/support/status_macros.h"
#include "common/support/worker_pool.h"
#include "trainer/judges/judge_network.h"

namespace denoised {
namespace {

constexpr uint64_t kMaxJudgeBytes = uint64_t{64} << 20;
constexpr int64_t kRowsPerCall = 100;

// Those of models/judges in this source tree.
std::string PinnedSha256(JudgeKind kind) {
  return kind == JudgeKind::kLeNet5 ? "ac85e2aa5c2d835cbc1318bbeaf2dab191d03c723597cafd62cdfa5e1268f96a"
                                    : "1ea05d88d558a8559edf81dbfa118f650a78ac008289ed4eeb6a928e1b97d330";
}

class TorchJudge : public Judge {
 public:
  TorchJudge(JudgeInfo info, JudgeNetwork network, int threads)
      : info_(std::move(info)), network_(std::move(network)), pool_(threads > 0 ? threads : AvailableCores()) {}

  const JudgeInfo& info() const override { return info_; }

  absl::StatusOr<Verdicts> Look(absl::Span<const uint8_t> pixels) override {
    const size_t rows = pixels.size() / kModelPixels, dim = network_->head->options.in_features();
    Verdicts verdicts = {.classes = std::vector<uint8_t>(rows),
                         .features = {.dim = dim, .values = std::vector<float>(rows * dim)}};
    std::vector<absl::Status> results(pool_.size());
    pool_.Run(pool_.size(), [&](int worker) { results[worker] = LookAtShare(pixels, worker, verdicts); });
    for (const absl::Status& result : results) DENOISED_RETURN_IF_ERROR(result);
    return verdicts;
  }

 private:
  // Calls worker, worker + workers, ... of kRowsPerCall images each.
  absl::Status LookAtShare(absl::Span<const uint8_t> pixels, int worker, Verdicts& verdicts) {
    const auto rows = static_cast<int64_t>(verdicts.classes.size());
    try {
      ComputeOnThisThreadAlone();
      const c10::InferenceMode inference;
      for (int64_t begin = worker * kRowsPerCall; begin < rows; begin += pool_.size() * kRowsPerCall) {
        LookAtRows(pixels, begin, std::min(rows, begin + kRowsPerCall), verdicts);
      }
      return absl::OkStatus();
    } catch (const std::exception& e) {
      return absl::InternalError(absl::StrCat("the judge ", JudgeName(info_.kind), " failed: ", TorchErrorText(e)));
    }
  }

  void LookAtRows(absl::Span<const uint8_t> pixels, int64_t begin, int64_t end, Verdicts& verdicts) {
    const at::Tensor bytes = torch::from_blob(const_cast<uint8_t*>(pixels.data()) + begin * kModelPixels,
                                              {end - begin, kModelSize, kModelSize}, torch::kUInt8);
    const at::Tensor features = network_->Features(JudgeInput(bytes)).contiguous();
    const at::Tensor classes = network_->head(features).argmax(1).to(torch::kUInt8);
    std::copy_n(features.data_ptr<float>(), features.numel(),
                verdicts.features.values.begin() + begin * static_cast<int64_t>(verdicts.features.dim));
    std::copy_n(classes.data_ptr<uint8_t>(), classes.numel(), verdicts.classes.begin() + begin);
  }

  const JudgeInfo info_;
  JudgeNetwork network_;
  WorkerPool pool_;
};

}  // namespace

std::string JudgeName(JudgeKind kind) { return kind == JudgeKind::kLeNet5 ? "lenet5" : "convnet"; }

std::string JudgePath(JudgeKind kind, const std::string& folder) {
  return absl::StrCat(folder, "/", JudgeName(kind), ".pt");
}

absl::StatusOr<std::unique_ptr<Judge>> LoadJudge(JudgeKind kind, const std::string& folder, int threads) {
  JudgeInfo info = {.kind = kind, .path = JudgePath(kind, folder), .sha256 = "", .classes = 0, .pinned = false};
  const absl::StatusOr<std::string> bytes = ReadFile(info.path, kMaxJudgeBytes);
  if (!bytes.ok()) {
    return absl::Status(bytes.status().code(),
                        absl::StrCat("cannot load a judge: ", bytes.status().message(),
                                     "; name the judges' folder with --judges, or train them: denoise-eval "
                                     "--train_judges --data DIR --judges DIR"));
  }
  info.sha256 = Sha256Hex(*bytes);
  info.pinned = info.sha256 == PinnedSha256(kind);
  DENOISED_ASSIGN_OR_RETURN(JudgeNetwork network, ParseJudge(kind, info.path, *bytes));
  info.classes = static_cast<int>(network->head->options.out_features());
  return std::make_unique<TorchJudge>(std::move(info), std::move(network), threads);
}

}  // namespace denoised
