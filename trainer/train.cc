#include "trainer/train.h"

#include <torch/torch.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <numbers>
#include <numeric>
#include <optional>
#include <random>
#include <sstream>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/build_info.h"
#include "common/checkpoint.h"
#include "common/file.h"
#include "common/image.h"
#include "common/status_macros.h"
#include "common/torch_engine.h"
#include "common/torch_error.h"
#include "common/torch_threads.h"
#include "common/unet.h"
#include "common/worker_pool.h"
#include "trainer/progress_bar.h"
#include "trainer/sample_grid.h"

namespace denoised {
namespace {

using Clock = std::chrono::steady_clock;
using torch::jit::Module;

constexpr int64_t kWarmUpSteps = 500;

double SecondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

std::vector<at::Tensor> Parameters(const Module& unet) {
  std::vector<at::Tensor> parameters;
  for (const at::Tensor& parameter : unet.parameters()) parameters.push_back(parameter);
  return parameters;
}

// One optimizer step's worth of training examples. B rows.
struct Batch {
  at::Tensor x;       // [B,1,32,32] noisy images
  at::Tensor t;       // [B] timesteps
  at::Tensor y;       // [B] labels
  at::Tensor target;  // [B,1,32,32] what the network should say
  at::Tensor weight;  // [B] of each row's squared error
};

// Makes batches from the data set; owns the order of images and the random numbers.
class BatchMaker {
 public:
  BatchMaker(const Dataset& data, const TrainingOptions& options, const NoiseSchedule& schedule,
             std::optional<int> null_label)
      : data_(data),
        batch_size_(options.batch_size),
        null_label_(null_label),
        label_dropout_(options.label_dropout),
        seed_(options.seed),
        prediction_type_(options.schedule.prediction_type),
        order_(data.size()) {
    const at::Tensor alphas_cumprod = torch::tensor(schedule.alphas_cumprod(), torch::kFloat64);
    signal_ = alphas_cumprod.sqrt().to(torch::kFloat32);
    noise_ = (1 - alphas_cumprod).sqrt().to(torch::kFloat32);
    weight_ = LossWeights(alphas_cumprod, options.min_snr_gamma).to(torch::kFloat32);
    pixels_ = torch::from_blob(const_cast<uint8_t*>(data.pixels.data()),
                               {static_cast<int64_t>(data.size()), 1, kModelSize, kModelSize}, torch::kUInt8);
    labels_ =
        torch::from_blob(const_cast<uint8_t*>(data.labels.data()), {static_cast<int64_t>(data.size())}, torch::kUInt8);
  }

  int64_t batches_per_epoch() const { return static_cast<int64_t>(data_.size()) / batch_size_; }

  // A new order and new random numbers: functions of seed and epoch alone, so that a resumed run repeats them.
  void StartEpoch(int epoch) {
    std::iota(order_.begin(), order_.end(), int64_t{0});
    std::mt19937_64 random(seed_ * 1'000'003 + static_cast<uint64_t>(epoch));
    std::shuffle(order_.begin(), order_.end(), random);
    torch::manual_seed(random());
  }

  Batch Make(int64_t index) const {
    const at::Tensor rows =
        torch::from_blob(const_cast<int64_t*>(order_.data()) + index * batch_size_, {batch_size_}, torch::kInt64);
    const at::Tensor clean = pixels_.index_select(0, rows).to(torch::kFloat32) / 127.5 - 1;
    Batch batch;
    batch.t = torch::randint(signal_.size(0), {batch_size_}, torch::kInt64);
    batch.y = DropLabels(labels_.index_select(0, rows).to(torch::kInt64));
    const at::Tensor epsilon = torch::randn_like(clean);
    const at::Tensor signal = signal_.index_select(0, batch.t).view({-1, 1, 1, 1});
    const at::Tensor noise = noise_.index_select(0, batch.t).view({-1, 1, 1, 1});
    batch.x = signal * clean + noise * epsilon;
    batch.target = prediction_type_ == PredictionType::kEpsilon ? epsilon : signal * epsilon - noise * clean;
    batch.weight = weight_.index_select(0, batch.t);
    return batch;
  }

 private:
  // Weights that make the clean image's squared error count min(SNR, gamma) at each timestep (Hang et al., arXiv
  // 2303.09556, section 3.4): an error of epsilon is one of the clean image times SNR, an error of v times SNR + 1.
  at::Tensor LossWeights(const at::Tensor& alphas_cumprod, double min_snr_gamma) const {
    if (min_snr_gamma == 0) return torch::ones_like(alphas_cumprod);
    const at::Tensor snr = alphas_cumprod / (1 - alphas_cumprod);
    return snr.clamp_max(min_snr_gamma) / (prediction_type_ == PredictionType::kEpsilon ? snr : snr + 1);
  }

  at::Tensor DropLabels(at::Tensor y) const {
    if (!null_label_) return y;
    return y.masked_fill(torch::rand({batch_size_}) < label_dropout_, *null_label_);
  }

  const Dataset& data_;
  const int64_t batch_size_;
  const std::optional<int> null_label_;
  const double label_dropout_;
  const uint64_t seed_;
  const PredictionType prediction_type_;
  std::vector<int64_t> order_;
  at::Tensor signal_, noise_, weight_;  // [T]
  at::Tensor pixels_, labels_;          // views of data_
};

// Adds up the gradients of a batch's shares, one share for each worker. Every worker uses one thread: the network is
// too small to be split any finer.
class GradientWorkers {
 public:
  GradientWorkers(Module& unet, int threads) : unet_(unet), parameters_(Parameters(unet)), pool_(threads) {}

  // Sets the gradient of every parameter and returns the batch's mean squared error.
  double Run(const Batch& batch) {
    const int64_t rows = batch.x.size(0);
    const int64_t share = (rows + pool_.size() - 1) / pool_.size();
    const int used = static_cast<int>((rows + share - 1) / share);
    std::vector<Share> shares(used);
    pool_.Run(used, [&](int worker) {
      try {
        shares[worker] = RunShare(batch, worker * share, std::min(rows, (worker + 1) * share));
      } catch (const std::exception& e) {
        shares[worker].error = TorchErrorText(e);
      }
    });
    double loss = 0;
    for (const Share& one : shares) {
      if (!one.error.empty()) throw std::runtime_error(one.error);
      loss += one.loss;
    }
    const torch::NoGradGuard no_grad;
    for (size_t p = 0; p < parameters_.size(); ++p) {
      at::Tensor sum = shares[0].gradients[p];
      for (size_t i = 1; i < shares.size(); ++i) sum.add_(shares[i].gradients[p]);
      parameters_[p].mutable_grad() = sum;
    }
    return loss;
  }

 private:
  struct Share {
    double loss = 0;
    std::vector<at::Tensor> gradients;
    std::string error;
  };

  Share RunShare(const Batch& batch, int64_t begin, int64_t end) {
    ComputeOnThisThreadAlone();
    torch::jit::setGraphExecutorOptimize(false);  // per thread; autograd needs the plain operators
    const at::Tensor target = batch.target.slice(0, begin, end);
    const at::Tensor e =
        unet_.forward({batch.x.slice(0, begin, end), batch.t.slice(0, begin, end), batch.y.slice(0, begin, end)})
            .toTensor();
    const auto rows = static_cast<double>(batch.x.size(0));
    const at::Tensor squared_error = (e - target).square().mean({1, 2, 3});  // [rows of this share]
    const at::Tensor loss = (squared_error * batch.weight.slice(0, begin, end)).sum() / rows;
    Share share;
    share.gradients = torch::autograd::grad({loss}, parameters_);
    share.loss = squared_error.sum().item<double>() / rows;
    return share;
  }

  Module& unet_;
  std::vector<at::Tensor> parameters_;
  WorkerPool pool_;
};

// Exponential moving average of the weights, in a module of its own. The decay grows from 0 so that the random start is
// forgotten: min(decay, (1 + step) / (10 + step)).
class Ema {
 public:
  Ema(const Module& unet, Module average, double decay)
      : from_(Parameters(unet)), module_(std::move(average)), to_(Parameters(module_)), decay_(decay) {
    const torch::NoGradGuard no_grad;
    for (size_t i = 0; i < to_.size(); ++i) to_[i].copy_(from_[i]);
  }

  void Update(int64_t step) {
    const torch::NoGradGuard no_grad;
    const double decay = std::min(decay_, static_cast<double>(1 + step) / static_cast<double>(10 + step));
    for (size_t i = 0; i < to_.size(); ++i) to_[i].lerp_(from_[i], 1 - decay);
  }

  const Module& module() const { return module_; }

 private:
  std::vector<at::Tensor> from_;
  Module module_;
  std::vector<at::Tensor> to_;
  const double decay_;
};

absl::Status ValidateOptions(const Dataset& data, const TrainingOptions& options) {
  const auto check = [](bool ok, const std::string& message) {
    return ok ? absl::OkStatus() : absl::InvalidArgumentError(message);
  };
  DENOISED_RETURN_IF_ERROR(ValidateUnetConfig(options.unet));
  DENOISED_RETURN_IF_ERROR(
      check(options.epochs >= 1, absl::StrCat("--epochs must be at least 1, got ", options.epochs)));
  DENOISED_RETURN_IF_ERROR(
      check(options.patience >= 1, absl::StrCat("--patience must be at least 1, got ", options.patience)));
  DENOISED_RETURN_IF_ERROR(check(
      options.batch_size >= 1 && options.batch_size <= static_cast<int>(data.size()),
      absl::StrCat("--batch_size must be 1 to ", data.size(), " (the images there are), got ", options.batch_size)));
  DENOISED_RETURN_IF_ERROR(check(options.learning_rate > 0,
                                 absl::StrCat("--learning_rate must be more than 0, got ", options.learning_rate)));
  DENOISED_RETURN_IF_ERROR(
      check(options.min_snr_gamma >= 0,
            absl::StrCat("--min_snr_gamma must be more than 0, or 0 for none, got ", options.min_snr_gamma)));
  DENOISED_RETURN_IF_ERROR(check(options.ema_decay >= 0 && options.ema_decay < 1,
                                 absl::StrCat("--ema_decay must be 0 to less than 1, got ", options.ema_decay)));
  return check(options.label_dropout >= 0 && options.label_dropout < 1,
               absl::StrCat("--label_dropout must be 0 to less than 1, got ", options.label_dropout));
}

std::optional<int> NullLabel(const TrainingOptions& options) {
  const int classes = static_cast<int>(ModelMetadata{}.class_names.size());
  if (options.unet.num_labels > classes && options.label_dropout > 0) return classes;
  return std::nullopt;
}

// A run from its first batch to its last.
class Trainer {
 public:
  Trainer(const Dataset& data, const TrainingOptions& options, const NoiseSchedule& schedule)
      : options_(options),
        data_sha256_(data.sha256),
        threads_(options.threads > 0 ? options.threads : AvailableCores()),
        batches_(data, options, schedule, NullLabel(options)),
        unet_(SeededUnet(options)),
        workers_(unet_, threads_),
        optimizer_(Parameters(unet_),
                   torch::optim::AdamWOptions(options.learning_rate).weight_decay(options.weight_decay)),
        ema_(unet_, MakeUnet(options.unet), options.ema_decay) {}

  absl::StatusOr<TrainingSummary> Run() {
    const Clock::time_point start = Clock::now();
    if (options_.resume) DENOISED_RETURN_IF_ERROR(LoadState());
    while (epoch_ < options_.epochs && epochs_without_progress_ < options_.patience) {
      DENOISED_RETURN_IF_ERROR(RunEpoch(start));
    }
    return TrainingSummary{.checkpoint = options_.out + "/best.pt",
                           .epochs = epoch_,
                           .stopped_early = epoch_ < options_.epochs,
                           .best_loss = best_loss_,
                           .seconds = SecondsSince(start)};
  }

 private:
  static Module SeededUnet(const TrainingOptions& options) {
    torch::manual_seed(options.seed);
    Module unet = MakeUnet(options.unet);
    for (at::Tensor parameter : unet.parameters()) parameter.set_requires_grad(true);
    return unet;
  }

  absl::Status RunEpoch(Clock::time_point start) {
    const Clock::time_point epoch_start = Clock::now();
    batches_.StartEpoch(epoch_);
    const int64_t batches = batches_.batches_per_epoch();
    double loss_sum = 0;
    for (int64_t b = 0; b < batches; ++b) {
      loss_sum += RunStep(batches_.Make(b));
      const double fraction = static_cast<double>(b + 1) / static_cast<double>(batches);
      if (b % 20 == 0) ReportProgress(epoch_start, fraction, loss_sum / static_cast<double>(b + 1));
    }
    const double loss = loss_sum / static_cast<double>(batches);
    if (!std::isfinite(loss)) {
      return absl::AbortedError(absl::StrCat("the loss of epoch ", epoch_ + 1,
                                             " is not a finite number; the checkpoints of earlier epochs are kept. "
                                             "Try a lower --learning_rate"));
    }
    ++epoch_;
    const bool best = loss < best_loss_;
    epochs_without_progress_ = best ? 0 : epochs_without_progress_ + 1;
    if (best) best_loss_ = loss;
    DENOISED_RETURN_IF_ERROR(WriteFiles(best));
    return LogEpoch(loss, best, SecondsSince(epoch_start), SecondsSince(start));
  }

  double RunStep(const Batch& batch) {
    SetLearningRate();
    const double loss = workers_.Run(batch);
    if (options_.clip_norm > 0) torch::nn::utils::clip_grad_norm_(Parameters(unet_), options_.clip_norm);
    optimizer_.step();
    ema_.Update(step_++);
    return loss;
  }

  void SetLearningRate() {
    double factor = 1;
    if (options_.cosine) {
      const auto total = static_cast<double>(options_.epochs * batches_.batches_per_epoch());
      const auto step = static_cast<double>(step_);
      factor = std::min(1.0, (step + 1) / kWarmUpSteps) * 0.5 * (1 + std::cos(std::numbers::pi * step / total));
    }
    for (auto& group : optimizer_.param_groups()) group.options().set_lr(options_.learning_rate * factor);
  }

  void ReportProgress(Clock::time_point epoch_start, double fraction, double loss) const {
    const double seconds = SecondsSince(epoch_start);
    const auto images = static_cast<double>(batches_.batches_per_epoch() * options_.batch_size);
    ShowProgress(FormatProgress({.epoch = epoch_ + 1,
                                 .epochs = options_.epochs,
                                 .epoch_fraction = fraction,
                                 .loss = loss,
                                 .images_per_second = fraction * images / seconds,
                                 .seconds_left = seconds / fraction * (options_.epochs - epoch_ - fraction)}));
  }

  ModelMetadata Metadata() const {
    ModelMetadata metadata;
    metadata.unet = options_.unet;
    metadata.noise_schedule = options_.schedule;
    metadata.variance_type = options_.variance_type;
    metadata.clip_sample = options_.clip_sample;
    metadata.null_label = NullLabel(options_);
    metadata.training = {.data_sha256 = data_sha256_,
                         .epochs = epoch_,
                         .images_seen = step_ * options_.batch_size,
                         .best_loss = best_loss_,
                         .ema_decay = options_.ema_decay,
                         .seed = options_.seed,
                         .command = options_.command,
                         .source_revision = kSourceRevision,
                         .libtorch_version = TORCH_VERSION};
    return metadata;
  }

  absl::Status WriteFiles(bool best) {
    const Module& weights = options_.ema_decay > 0 ? ema_.module() : unet_;
    DENOISED_ASSIGN_OR_RETURN(const std::string bytes, SerializeCheckpoint(Metadata(), weights));
    DENOISED_RETURN_IF_ERROR(WriteFileAtomically(options_.out + "/last.pt", bytes));
    if (best) DENOISED_RETURN_IF_ERROR(WriteFileAtomically(options_.out + "/best.pt", bytes));
    DENOISED_RETURN_IF_ERROR(SaveState());
    if (options_.sample_every > 0 && epoch_ % options_.sample_every == 0) {
      ClearProgress();
      DENOISED_ASSIGN_OR_RETURN(const Checkpoint checkpoint, ParseCheckpoint("last.pt", bytes));
      DENOISED_ASSIGN_OR_RETURN(const std::string png, DrawSampleGrid(checkpoint, threads_));
      DENOISED_RETURN_IF_ERROR(WriteFileAtomically(options_.out + "/samples.png", png));
    }
    return absl::OkStatus();
  }

  absl::Status LogEpoch(double loss, bool best, double epoch_seconds, double total_seconds) const {
    ClearProgress();
    const auto images = static_cast<double>(batches_.batches_per_epoch() * options_.batch_size);
    const double rate = images / epoch_seconds;
    absl::FPrintF(stderr, "epoch %d/%d  loss %.5f%s  %.0f images/s  %s so far\n", epoch_, options_.epochs, loss,
                  best ? " (best)" : "", rate, FormatDuration(total_seconds));
    const nlohmann::ordered_json line = {{"epoch", epoch_},           {"loss", loss},
                                         {"best_loss", best_loss_},   {"images_seen", step_ * options_.batch_size},
                                         {"images_per_second", rate}, {"seconds", total_seconds}};
    std::ofstream log(options_.out + "/log.jsonl", std::ios::app);
    log << line.dump() << '\n' << std::flush;
    if (!log) return absl::UnavailableError(absl::StrCat("cannot write ", options_.out, "/log.jsonl"));
    return absl::OkStatus();
  }

  // What a resumed run needs beside the options: weights, averages, optimizer and counters.
  absl::Status SaveState() {
    torch::serialize::OutputArchive archive;
    const std::vector<at::Tensor> weights = Parameters(unet_), averages = Parameters(ema_.module());
    for (size_t i = 0; i < weights.size(); ++i) archive.write(absl::StrCat("weight", i), weights[i].detach());
    for (size_t i = 0; i < averages.size(); ++i) archive.write(absl::StrCat("average", i), averages[i]);
    torch::serialize::OutputArchive optimizer_archive;
    optimizer_.save(optimizer_archive);
    archive.write("optimizer", optimizer_archive);
    archive.write("epoch", torch::tensor(int64_t{epoch_}));
    archive.write("step", torch::tensor(step_));
    archive.write("best_loss", torch::tensor(best_loss_, torch::kFloat64));
    archive.write("epochs_without_progress", torch::tensor(int64_t{epochs_without_progress_}));
    std::ostringstream stream;
    archive.save_to(stream);
    return WriteFileAtomically(options_.out + "/state.pt", std::move(stream).str());
  }

  absl::Status LoadState() {
    const std::string path = options_.out + "/state.pt";
    absl::StatusOr<std::string> bytes = ReadFile(path, uint64_t{4} << 30);
    if (!bytes.ok()) {
      return absl::Status(bytes.status().code(), absl::StrCat("nothing to resume: ", bytes.status().message()));
    }
    try {
      std::istringstream stream(*std::move(bytes));
      torch::serialize::InputArchive archive;
      archive.load_from(stream);
      const torch::NoGradGuard no_grad;
      const auto read = [&archive](const std::string& name) {
        at::Tensor tensor;
        archive.read(name, tensor);
        return tensor;
      };
      std::vector<at::Tensor> weights = Parameters(unet_), averages = Parameters(ema_.module());
      for (size_t i = 0; i < weights.size(); ++i) weights[i].copy_(read(absl::StrCat("weight", i)));
      for (size_t i = 0; i < averages.size(); ++i) averages[i].copy_(read(absl::StrCat("average", i)));
      torch::serialize::InputArchive optimizer_archive;
      archive.read("optimizer", optimizer_archive);
      optimizer_.load(optimizer_archive);
      epoch_ = static_cast<int>(read("epoch").item<int64_t>());
      step_ = read("step").item<int64_t>();
      best_loss_ = read("best_loss").item<double>();
      epochs_without_progress_ = static_cast<int>(read("epochs_without_progress").item<int64_t>());
      return absl::OkStatus();
    } catch (const std::exception&) {
      return absl::FailedPreconditionError(absl::StrCat(
          path, " does not belong to this run's --arch, or it is damaged; use the flags of the run that wrote it"));
    }
  }

  // Constant after construction.
  const TrainingOptions options_;
  const std::vector<std::pair<std::string, std::string>> data_sha256_;
  const int threads_;

  BatchMaker batches_;
  Module unet_;
  GradientWorkers workers_;
  torch::optim::AdamW optimizer_;
  Ema ema_;
  int epoch_ = 0;     // finished
  int64_t step_ = 0;  // finished optimizer steps
  double best_loss_ = std::numeric_limits<double>::infinity();
  int epochs_without_progress_ = 0;
};

}  // namespace

absl::StatusOr<TrainingOptions> DefaultTrainingOptions(const std::string& architecture) {
  TrainingOptions options;
  if (architecture == "compact") return options;
  if (architecture == "seed") {  // as the original trained it: Adam, constant rate, raw weights, no clipping
    options.unet = SeedUnetConfig();
    options.learning_rate = 2e-4;
    options.weight_decay = 0;
    options.cosine = false;
    options.clip_norm = 0;
    options.ema_decay = 0;
    options.label_dropout = 0;
    options.clip_sample = false;
    return options;
  }
  return absl::InvalidArgumentError(absl::StrCat("--arch must be compact or seed, got \"", architecture, "\""));
}

absl::StatusOr<TrainingSummary> Train(const Dataset& data, const TrainingOptions& options) {
  DENOISED_RETURN_IF_ERROR(ValidateOptions(data, options));
  DENOISED_ASSIGN_OR_RETURN(const NoiseSchedule schedule, NoiseSchedule::Create(options.schedule));
  DENOISED_RETURN_IF_ERROR(EnsureWritableFolder(options.out));
  try {
    Trainer trainer(data, options, schedule);
    return trainer.Run();
  } catch (const std::exception& e) {
    return absl::InternalError(absl::StrCat("training failed: ", TorchErrorText(e)));
  }
}

}  // namespace denoised
