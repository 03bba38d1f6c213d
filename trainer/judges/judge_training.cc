#include "trainer/judges/judge_training.h"

#include <torch/torch.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <numbers>
#include <stdexcept>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/checkpoint/torch_error.h"
#include "common/checkpoint/torch_threads.h"
#include "common/command_line/progress_bar.h"
#include "common/image/image.h"
#include "common/support/available_cores.h"
#include "common/support/clock.h"
#include "common/support/file.h"
#include "common/support/status_macros.h"
#include "common/support/worker_pool.h"
#include "trainer/judges/judge_network.h"

namespace denoised {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kBatch = 128;
constexpr int kReportEvery = 20;       // batches
constexpr int64_t kFewestSteps = 200;  // in which a judge learns anything; MNIST's take thousands

struct Recipe {
  int epochs;
  double learning_rate;  // at its highest
  double dropout;        // share of the features that a step hides from the last layer
  // Each image is turned, enlarged or made smaller, and moved at random, by these at most.
  double angle;  // radians
  double scale;  // share of its size
  double shift;  // pixels
};

Recipe RecipeOf(JudgeKind kind) {
  if (kind == JudgeKind::kLeNet5) {
    return {.epochs = 15, .learning_rate = 2e-3, .dropout = 0, .angle = 0, .scale = 0, .shift = 0};
  }
  return {.epochs = 20, .learning_rate = 2e-3, .dropout = 0.5, .angle = 0.2, .scale = 0.1, .shift = 2};
}

// B rows.
struct Batch {
  at::Tensor x;     // [B,1,32,32] in [0, 1]
  at::Tensor y;     // [B] labels
  at::Tensor keep;  // [B,D] factors of the features: 0, or what makes up for the zeros
};

// What a worker finds for its rows of a batch.
struct Share {
  double loss = 0;  // sum over the rows, divided by the batch's rows
  std::vector<at::Tensor> gradients;
  std::string error;
};

// x [B,1,32,32], each image under its own random affine map; black comes in from outside, as MNIST's margins are.
at::Tensor Distorted(const at::Tensor& x, const Recipe& recipe) {
  const auto random = [&x](double limit) { return (torch::rand({x.size(0)}) * 2 - 1) * limit; };
  const at::Tensor angle = random(recipe.angle), scale = 1 + random(recipe.scale);
  const at::Tensor cosine = scale * angle.cos(), sine = scale * angle.sin();
  const double pixel = 2.0 / kModelSize;  // in grid_sample's coordinates, which go from -1 to 1
  const at::Tensor row0 = torch::stack({cosine, -sine, random(recipe.shift * pixel)}, 1);
  const at::Tensor row1 = torch::stack({sine, cosine, random(recipe.shift * pixel)}, 1);
  const at::Tensor grid = torch::affine_grid_generator(torch::stack({row0, row1}, 1), x.sizes(), false);
  namespace F = torch::nn::functional;
  return F::grid_sample(x, grid, F::GridSampleFuncOptions().align_corners(false));
}

class JudgeTrainer {
 public:
  JudgeTrainer(JudgeKind kind, const Dataset& data, const JudgeTrainingOptions& options)
      : kind_(kind),
        recipe_(RecipeOf(kind)),
        pixels_(torch::from_blob(const_cast<uint8_t*>(data.pixels.data()),
                                 {static_cast<int64_t>(data.size()), kModelSize, kModelSize}, torch::kUInt8)),
        labels_(torch::from_blob(const_cast<uint8_t*>(data.labels.data()), {pixels_.size(0)}, torch::kUInt8)),
        rows_(std::min(kBatch, pixels_.size(0))),
        batches_per_epoch_(pixels_.size(0) / rows_),
        epochs_(options.epochs > 0 ? options.epochs : EpochsFor(batches_per_epoch_)),
        network_(SeededNetwork(kind, static_cast<int>(data.class_names.size()), options.seed)),
        parameters_(network_->parameters()),
        adam_(parameters_, torch::optim::AdamOptions(recipe_.learning_rate)),
        pool_(options.threads > 0 ? options.threads : AvailableCores()) {}

  JudgeNetwork Run() {
    for (int epoch = 0; epoch < epochs_; ++epoch) {
      const at::Tensor order = torch::randperm(pixels_.size(0));
      for (int64_t batch = 0; batch < batches_per_epoch_; ++batch) {
        RunStep(MakeBatch(order.narrow(0, batch * rows_, rows_)));
      }
    }
    return network_;
  }

 private:
  // Small sets are gone through more often.
  int EpochsFor(int64_t batches) const {
    return std::max(recipe_.epochs, static_cast<int>((kFewestSteps + batches - 1) / batches));
  }

  static JudgeNetwork SeededNetwork(JudgeKind kind, int classes, uint64_t seed) {
    torch::manual_seed(seed);
    return JudgeNetwork(kind, classes);
  }

  // All random numbers are drawn here, by one thread, so that they do not depend on how work is shared out.
  Batch MakeBatch(const at::Tensor& images) const {
    const at::Tensor x = JudgeInput(pixels_.index_select(0, images));
    const at::Tensor keep = torch::rand({rows_, network_->head->options.in_features()}) >= recipe_.dropout;
    return {.x = recipe_.shift > 0 ? Distorted(x, recipe_) : x,
            .y = labels_.index_select(0, images).to(torch::kInt64),
            .keep = keep / (1 - recipe_.dropout)};
  }

  void RunStep(const Batch& batch) {
    const auto total = static_cast<double>(epochs_ * batches_per_epoch_);
    const double cosine = 0.5 * (1 + std::cos(std::numbers::pi * static_cast<double>(step_) / total));
    for (auto& group : adam_.param_groups()) group.options().set_lr(recipe_.learning_rate * cosine);
    const double loss = ComputeGradients(batch);
    adam_.step();
    if (++step_ % kReportEvery == 0) ReportProgress(loss, static_cast<double>(step_) / total);
  }

  // Returns the batch's mean loss. Gradients are summed in the workers' order.
  double ComputeGradients(const Batch& batch) {
    const int64_t rows = (rows_ + pool_.size() - 1) / pool_.size();
    std::vector<Share> shares(static_cast<size_t>((rows_ + rows - 1) / rows));
    pool_.Run(static_cast<int>(shares.size()), [&](int worker) {
      shares[worker] = ComputeShare(batch, worker * rows, std::min(rows_, (worker + 1) * rows));
    });
    double loss = 0;
    for (const Share& share : shares) {
      if (!share.error.empty()) throw std::runtime_error(share.error);
      loss += share.loss;
    }
    for (size_t p = 0; p < parameters_.size(); ++p) {
      at::Tensor sum = shares[0].gradients[p];
      for (size_t i = 1; i < shares.size(); ++i) sum.add_(shares[i].gradients[p]);
      parameters_[p].mutable_grad() = sum;
    }
    return loss;
  }

  Share ComputeShare(const Batch& batch, int64_t begin, int64_t end) {
    Share share;
    try {
      ComputeOnThisThreadAlone();
      const at::Tensor features = network_->Features(batch.x.slice(0, begin, end)) * batch.keep.slice(0, begin, end);
      const auto sum = torch::nn::functional::CrossEntropyFuncOptions().reduction(torch::kSum);
      const at::Tensor loss =
          torch::nn::functional::cross_entropy(network_->head(features), batch.y.slice(0, begin, end), sum) / rows_;
      share.gradients = torch::autograd::grad({loss}, parameters_);
      share.loss = loss.item<double>();
    } catch (const std::exception& e) {
      share.error = TorchErrorText(e);
    }
    return share;
  }

  void ReportProgress(double loss, double fraction) const {
    const double seconds = SecondsSince(start_);
    ShowProgress(absl::StrFormat("training %-7s %s  loss %.4f  %.0f images/s  %s left", JudgeName(kind_),
                                 FormatBar(fraction), loss, static_cast<double>(step_ * rows_) / seconds,
                                 FormatDuration(seconds / fraction - seconds)));
  }

  // Constant after construction.
  const JudgeKind kind_;
  const Recipe recipe_;
  const at::Tensor pixels_, labels_;  // views of the data, which outlives this
  const int64_t rows_;                // of a batch
  const int64_t batches_per_epoch_;
  const int epochs_;
  const Clock::time_point start_ = Clock::now();

  JudgeNetwork network_;
  std::vector<at::Tensor> parameters_;
  torch::optim::Adam adam_;
  int64_t step_ = 0;
  WorkerPool pool_;
};

// The judge is asked as it was written, so that its accuracy is the file's.
absl::StatusOr<TrainedJudge> TrainAndAsk(JudgeKind kind, const Dataset& train, const Dataset& unseen,
                                         const JudgeTrainingOptions& options) {
  const Clock::time_point start = Clock::now();
  const JudgeNetwork network = JudgeTrainer(kind, train, options).Run();
  ClearProgress();
  DENOISED_RETURN_IF_ERROR(WriteFileAtomically(JudgePath(kind, options.folder), SerializeJudge(kind, network)));
  DENOISED_ASSIGN_OR_RETURN(const std::unique_ptr<Judge> judge, LoadJudge(kind, options.folder, options.threads));
  DENOISED_ASSIGN_OR_RETURN(const Verdicts verdicts, judge->Look(unseen.pixels));
  return TrainedJudge{.info = judge->info(),
                      .accuracy = ClassAccuracy(verdicts.classes, unseen.labels, judge->info().classes),
                      .seconds = SecondsSince(start)};
}

}  // namespace

absl::StatusOr<TrainedJudge> TrainJudge(JudgeKind kind, const Dataset& train, const Dataset& unseen,
                                        const JudgeTrainingOptions& options) {
  if (options.folder.empty()) {
    return absl::InvalidArgumentError("--train_judges writes two files: name their folder with --judges");
  }
  if (train.class_names.size() < kFewestClasses) {
    return absl::InvalidArgumentError("a judge tells classes apart, and the data have one class alone");
  }
  DENOISED_RETURN_IF_ERROR(EnsureWritableFolder(options.folder, options.folder_flag));
  try {
    return TrainAndAsk(kind, train, unseen, options);
  } catch (const std::exception& e) {
    return absl::InternalError(absl::StrCat("training a judge failed: ", TorchErrorText(e)));
  }
}

}  // namespace denoised
