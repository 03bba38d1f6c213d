#include "trainer/training/train.h"

#include <torch/torch.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <numbers>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/checkpoint/checkpoint.h"
#include "common/checkpoint/torch_error.h"
#include "common/checkpoint/unet.h"
#include "common/engine/device.h"
#include "common/support/available_cores.h"
#include "common/support/build_info.h"
#include "common/support/file.h"
#include "common/support/progress_bar.h"
#include "common/support/status_macros.h"
#include "trainer/data/training_batches.h"
#include "trainer/training/gradient_workers.h"
#include "trainer/training/process_group.h"
#include "trainer/training/sample_grid.h"
#include "trainer/training/training_log.h"
#include "trainer/training/training_state.h"

namespace denoised {
namespace {

using Clock = std::chrono::steady_clock;
using torch::jit::Module;

constexpr uint64_t kMaxStateBytes = uint64_t{4} << 30;

double SecondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Exponential moving average of the weights, in a module of its own. The decay grows from 0 so that the random start is
// forgotten: min(decay, (1 + step) / (10 + step)).
class Ema {
 public:
  Ema(const Module& unet, Module average, double decay)
      : from_(ParametersOf(unet)), module_(std::move(average)), to_(ParametersOf(module_)), decay_(decay) {
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

struct Range {
  const char* flag;
  double value;
  bool ok;
  const char* expected;
};

std::optional<int> NullLabel(const TrainingOptions& options) {
  const int classes = static_cast<int>(ModelMetadata{}.class_names.size());
  if (options.unet.num_labels > classes && options.label_dropout > 0) return classes;
  return std::nullopt;
}

absl::Status ValidateOptions(const Dataset& data, const TrainingOptions& options) {
  DENOISED_RETURN_IF_ERROR(ValidateUnetConfig(options.unet));
  const auto images = static_cast<int>(data.size());
  const std::string batch_range = absl::StrCat("1 to ", images, " (the images there are)");
  const Range ranges[] = {
      {"--epochs", 1.0 * options.epochs, options.epochs >= 1, "at least 1"},
      {"--patience", 1.0 * options.patience, options.patience >= 1, "at least 1"},
      {"--batch_size", 1.0 * options.batch_size, options.batch_size >= 1 && options.batch_size <= images,
       batch_range.c_str()},
      {"--learning_rate", options.learning_rate, options.learning_rate > 0, "more than 0"},
      {"--weight_decay", options.weight_decay, options.weight_decay >= 0, "at least 0"},
      {"--warmup_steps", 1.0 * options.warmup_steps, options.warmup_steps >= 0, "at least 0"},
      {"--clip_norm", options.clip_norm, options.clip_norm >= 0, "more than 0, or 0 for none"},
      {"--min_snr_gamma", options.min_snr_gamma, options.min_snr_gamma >= 0, "more than 0, or 0 for none"},
      {"--model_guidance", options.model_guidance, options.model_guidance >= 1 && options.model_guidance <= 10,
       "1 (none) to 10"},
      {"--ema_decay", options.ema_decay, options.ema_decay >= 0 && options.ema_decay < 1, "0 to less than 1"},
      {"--label_dropout", options.label_dropout, options.label_dropout >= 0 && options.label_dropout < 1,
       "0 to less than 1"},
      {"--save_every", options.save_every_seconds, options.save_every_seconds >= 0, "at least 0 seconds"},
  };
  for (const Range& range : ranges) {
    if (range.ok) continue;
    return absl::InvalidArgumentError(absl::StrCat(range.flag, " must be ", range.expected, ", got ", range.value));
  }
  if (options.precision != "fp32" && options.precision != "bf16") {
    return absl::InvalidArgumentError(
        absl::StrCat("--precision must be fp32 or bf16, got \"", options.precision, "\""));
  }
  if (options.model_guidance > 1 && !NullLabel(options)) {
    return absl::InvalidArgumentError(
        "--model_guidance needs an architecture with a null label and a --label_dropout above 0");
  }
  return absl::OkStatus();
}

// What decides the numbers of a run; the flags that are missing here may change when it is resumed.
Recipe RecipeOf(const Dataset& data, const TrainingOptions& options, const std::optional<Checkpoint>& init,
                int64_t images_per_step) {
  const NoiseScheduleConfig& schedule = options.schedule;
  Recipe recipe = {
      {"--arch",
       absl::StrCat(options.unet.architecture, " of ", absl::StrJoin(options.unet.channels, "-"), " channels")},
      {"--init", init ? absl::StrCat("a file of SHA-256 ", init->sha256) : "none"},
      {"--prediction_type", PredictionTypeName(schedule.prediction_type)},
      {"--beta_schedule", schedule.beta_schedule},
      {"--batch_size times processes", absl::StrCat(images_per_step)},
      {"--learning_rate", absl::StrCat(options.learning_rate)},
      {"--weight_decay", absl::StrCat(options.weight_decay)},
      {"--cosine", options.cosine ? "on" : "off"},
      {"--warmup_steps", absl::StrCat(options.warmup_steps)},
      {"--clip_norm", absl::StrCat(options.clip_norm)},
      {"--min_snr_gamma", absl::StrCat(options.min_snr_gamma)},
      {"--model_guidance", absl::StrCat(options.model_guidance)},
      {"--ema_decay", absl::StrCat(options.ema_decay)},
      {"--label_dropout", absl::StrCat(options.label_dropout)},
      {"--seed", absl::StrCat(options.seed)},
      {"--precision", options.precision},
  };
  for (const auto& [file, sha256] : data.sha256) recipe.emplace_back(absl::StrCat(file, " of SHA-256"), sha256);
  return recipe;
}

// A run from its first batch to its last.
class Trainer {
 public:
  Trainer(const Dataset& data, const TrainingOptions& options, const NoiseSchedule& schedule,
          const std::optional<Checkpoint>& init, const ProcessPlace& place, const torch::Device& device,
          ProcessGroup* group)
      : options_(options),
        files_(options.out),
        data_sha256_(data.sha256),
        place_(place),
        device_(device),
        group_(group),
        threads_(options.threads > 0 ? options.threads : AvailableCores()),
        batches_(data, schedule,
                 {.rows = options.batch_size,
                  .null_label = NullLabel(options),
                  .label_dropout = options.label_dropout,
                  .min_snr_gamma = options.min_snr_gamma,
                  .seed = options.seed,
                  .rank = place.rank,
                  .ranks = place.size}),
        recipe_(RecipeOf(data, options, init, batches_.global_rows())),
        unet_(FirstUnet(options, init, device)),
        workers_(unet_, {.device = device,
                         .bf16 = options.precision == "bf16",
                         .threads = threads_,
                         .null_label = NullLabel(options),
                         .model_guidance = options.model_guidance,
                         .group = group,
                         .processes = place.size}),
        optimizer_(ParametersOf(unet_),
                   torch::optim::AdamWOptions(options.learning_rate).weight_decay(options.weight_decay)),
        ema_(unet_, OnDevice(MakeUnet(options.unet), device), options.ema_decay) {}

  absl::StatusOr<TrainingSummary> Run() {
    if (options_.resume) DENOISED_RETURN_IF_ERROR(LoadState());
    if (writes_files()) {
      absl::FPrintF(stderr, "training on %s, %d images an epoch, %d a step; writing to %s/\n", device_.str(),
                    batches_.per_epoch() * batches_.global_rows(), batches_.global_rows(), options_.out);
    }
    last_save_ = Clock::now();
    while (progress_.epoch < options_.epochs && progress_.epochs_without_progress < options_.patience && !stopping_) {
      DENOISED_RETURN_IF_ERROR(RunEpoch());
    }
    return Summary();
  }

 private:
  static Module OnDevice(Module unet, const torch::Device& device) {
    unet.to(device);
    return unet;
  }

  static Module FirstUnet(const TrainingOptions& options, const std::optional<Checkpoint>& init,
                          const torch::Device& device) {
    torch::manual_seed(options.seed);
    Module unet = OnDevice(MakeUnet(options.unet), device);
    if (init) {
      const torch::NoGradGuard no_grad;
      const std::vector<at::Tensor> from = ParametersOf(init->unet), to = ParametersOf(unet);
      for (size_t i = 0; i < to.size(); ++i) to[i].copy_(from[i]);
    }
    for (at::Tensor parameter : unet.parameters()) parameter.set_requires_grad(true);
    return unet;
  }

  absl::Status RunEpoch() {
    const Clock::time_point start = Clock::now();
    const double seconds_before = progress_.seconds;
    const int64_t first = progress_.batch, batches = batches_.per_epoch();
    batches_.StartEpoch(progress_.epoch);
    while (progress_.batch < batches) {
      progress_.loss_sum += RunStep(batches_.Make(progress_.batch));
      ++progress_.batch;
      progress_.seconds = seconds_before + SecondsSince(start);
      if (progress_.batch % 20 == 0) ReportProgress(progress_.batch - first, SecondsSince(start));
      if (StopRequested()) return Stop();
      if (SaveIsDue()) DENOISED_RETURN_IF_ERROR(SaveState());
    }
    return FinishEpoch(static_cast<double>((batches - first) * batches_.global_rows()) / SecondsSince(start));
  }

  double RunStep(const TrainingBatch& batch) {
    SetLearningRate();
    const double loss = workers_.Run(batch);
    if (options_.clip_norm > 0) torch::nn::utils::clip_grad_norm_(ParametersOf(unet_), options_.clip_norm);
    optimizer_.step();
    ema_.Update(progress_.step++);
    return loss;
  }

  double LearningRate() const {
    const auto step = static_cast<double>(progress_.step);
    double factor = options_.warmup_steps == 0 ? 1 : std::min(1.0, (step + 1) / options_.warmup_steps);
    if (options_.cosine) {
      const auto total = static_cast<double>(options_.epochs * batches_.per_epoch());
      factor *= 0.5 * (1 + std::cos(std::numbers::pi * step / total));
    }
    return options_.learning_rate * factor;
  }

  void SetLearningRate() {
    for (auto& group : optimizer_.param_groups()) group.options().set_lr(LearningRate());
  }

  absl::Status FinishEpoch(double images_per_second) {
    const double loss = progress_.loss_sum / static_cast<double>(progress_.batch);
    if (!std::isfinite(loss)) {
      return absl::AbortedError(absl::StrCat("the loss of epoch ", progress_.epoch + 1,
                                             " is not a finite number; the checkpoints of earlier epochs are kept. "
                                             "Try a lower --learning_rate"));
    }
    const bool best = loss < progress_.best_loss;
    ++progress_.epoch;
    progress_.batch = 0;
    progress_.loss_sum = 0;
    progress_.epochs_without_progress = best ? 0 : progress_.epochs_without_progress + 1;
    if (best) progress_.best_loss = loss;
    log_.Add({.epoch = progress_.epoch,
              .loss = loss,
              .best_loss = progress_.best_loss,
              .learning_rate = LearningRate(),
              .images_seen = progress_.step * batches_.global_rows(),
              .images_per_second = images_per_second,
              .seconds = progress_.seconds});
    if (!writes_files()) return absl::OkStatus();
    DENOISED_RETURN_IF_ERROR(WriteFiles(best));
    ReportEpoch(log_.records().back(), best);
    return absl::OkStatus();
  }

  bool writes_files() const { return place_.rank == 0; }

  // The processes stop after the same step, as soon as any of them is asked to.
  bool StopRequested() {
    bool stop = options_.stop_requested != nullptr && options_.stop_requested();
    if (group_ != nullptr) {
      at::Tensor votes = torch::full({1}, stop ? 1 : 0, torch::TensorOptions(torch::kInt64).device(device_));
      group_->Sum(votes);
      stop = votes.item<int64_t>() > 0;
    }
    return stop;
  }

  absl::Status Stop() {
    stopping_ = true;
    ClearProgress();
    return writes_files() ? SaveState() : absl::OkStatus();
  }

  bool SaveIsDue() const {
    return writes_files() && options_.save_every_seconds > 0 && SecondsSince(last_save_) >= options_.save_every_seconds;
  }

  // `done` batches of this epoch in `seconds`, not counting those of an earlier part of the run.
  void ReportProgress(int64_t done, double seconds) const {
    if (!writes_files()) return;
    const double seconds_per_batch = seconds / static_cast<double>(done);
    const int64_t batches = batches_.per_epoch();
    const auto left = static_cast<double>((options_.epochs - progress_.epoch) * batches - progress_.batch);
    ShowProgress(FormatProgress({.epoch = progress_.epoch + 1,
                                 .epochs = options_.epochs,
                                 .epoch_fraction = static_cast<double>(progress_.batch) / static_cast<double>(batches),
                                 .loss = progress_.loss_sum / static_cast<double>(progress_.batch),
                                 .images_per_second = static_cast<double>(batches_.global_rows()) / seconds_per_batch,
                                 .seconds_left = seconds_per_batch * left}));
  }

  void ReportEpoch(const EpochRecord& record, bool best) const {
    ClearProgress();
    absl::FPrintF(stderr, "epoch %d/%d  loss %.5f%s  %.0f images/s  %s so far\n", record.epoch, options_.epochs,
                  record.loss, best ? " (best)" : "", record.images_per_second, FormatDuration(record.seconds));
  }

  ModelMetadata Metadata() const {
    ModelMetadata metadata;
    metadata.unet = options_.unet;
    metadata.noise_schedule = options_.schedule;
    metadata.variance_type = options_.variance_type;
    metadata.clip_sample = options_.clip_sample;
    metadata.null_label = NullLabel(options_);
    metadata.training = {.data_sha256 = data_sha256_,
                         .epochs = progress_.epoch,
                         .images_seen = progress_.step * batches_.global_rows(),
                         .best_loss = progress_.best_loss,
                         .ema_decay = options_.ema_decay,
                         .seed = options_.seed,
                         .command = options_.command,
                         .source_revision = kSourceRevision,
                         .libtorch_version = TORCH_VERSION};
    return metadata;
  }

  // The state before the log: a run that ends between the two writes the log again when it is resumed.
  absl::Status WriteFiles(bool best) {
    const Module& weights = options_.ema_decay > 0 ? ema_.module() : unet_;
    DENOISED_ASSIGN_OR_RETURN(const std::string bytes, SerializeCheckpoint(Metadata(), weights));
    DENOISED_RETURN_IF_ERROR(WriteFileAtomically(files_.last, bytes));
    if (best) DENOISED_RETURN_IF_ERROR(WriteFileAtomically(files_.best, bytes));
    DENOISED_RETURN_IF_ERROR(SaveState());
    DENOISED_RETURN_IF_ERROR(WriteLog());
    if (options_.sample_every == 0 || progress_.epoch % options_.sample_every != 0) return absl::OkStatus();
    ClearProgress();
    DENOISED_ASSIGN_OR_RETURN(const Checkpoint checkpoint, ParseCheckpoint(files_.last, bytes));
    DENOISED_ASSIGN_OR_RETURN(const std::string png, DrawSampleGrid(checkpoint, threads_));
    return WriteFileAtomically(files_.samples, png);
  }

  absl::Status WriteLog() const {
    DENOISED_RETURN_IF_ERROR(WriteFileAtomically(files_.log, log_.ToJsonLines()));
    if (log_.records().empty()) return absl::OkStatus();
    DENOISED_ASSIGN_OR_RETURN(const std::string png, log_.PlotLoss(absl::StrCat("Training: ", options_.out)));
    return WriteFileAtomically(files_.loss_plot, png);
  }

  TrainingState State() {
    return {.recipe = &recipe_,
            .weights = ParametersOf(unet_),
            .averages = ParametersOf(ema_.module()),
            .optimizer = &optimizer_,
            .progress = &progress_,
            .log = &log_};
  }

  absl::Status SaveState() {
    last_save_ = Clock::now();
    return WriteFileAtomically(files_.state, SerializeTrainingState(State()));
  }

  // Process 0 reads the state and hands it to the others, which may run on machines without the file.
  absl::Status LoadState() {
    absl::StatusOr<std::string> bytes = std::string();
    if (writes_files()) bytes = ReadFile(files_.state, kMaxStateBytes);
    if (group_ != nullptr) bytes = Shared(bytes.ok() ? *std::move(bytes) : "");
    if (!bytes.ok() || bytes->empty()) {
      return absl::NotFoundError(absl::StrCat("nothing to resume: ", files_.state,
                                              " is not there or cannot be read; leave out --resume to begin a run"));
    }
    DENOISED_RETURN_IF_ERROR(RestoreTrainingState(files_.state, *bytes, State()));
    return writes_files() ? WriteLog() : absl::OkStatus();
  }

  std::string Shared(const std::string& bytes) {
    at::Tensor size =
        torch::full({1}, static_cast<int64_t>(bytes.size()), torch::TensorOptions(torch::kInt64).device(device_));
    group_->Broadcast(size);
    at::Tensor content = torch::empty({size.item<int64_t>()}, torch::kUInt8);
    if (writes_files()) std::copy(bytes.begin(), bytes.end(), content.data_ptr<uint8_t>());
    content = content.to(device_);
    if (content.numel() > 0) group_->Broadcast(content);
    content = content.cpu();
    return std::string(reinterpret_cast<const char*>(content.data_ptr<uint8_t>()), content.numel());
  }

  TrainingSummary Summary() const {
    TrainingSummary summary = {.checkpoint = files_.best,
                               .epochs = progress_.epoch,
                               .best_loss = progress_.best_loss,
                               .images_seen = progress_.step * batches_.global_rows(),
                               .seconds = progress_.seconds,
                               .stopped_early = !stopping_ && progress_.epoch < options_.epochs,
                               .interrupted = stopping_,
                               .writes_files = writes_files()};
    for (const EpochRecord& record : log_.records()) {
      if (record.loss == summary.best_loss) summary.best_epoch = record.epoch;
    }
    return summary;
  }

  // Constant after construction.
  const TrainingOptions options_;
  const TrainingFiles files_;
  const std::vector<std::pair<std::string, std::string>> data_sha256_;
  const ProcessPlace place_;
  const torch::Device device_;
  ProcessGroup* const group_;  // null: no other processes
  const int threads_;

  TrainingBatches batches_;
  const Recipe recipe_;
  Module unet_;
  GradientWorkers workers_;
  torch::optim::AdamW optimizer_;
  Ema ema_;
  TrainingProgressState progress_;
  TrainingLog log_;
  Clock::time_point last_save_;
  bool stopping_ = false;
};

// Each process of a machine takes a GPU of its own, unless one is named.
absl::StatusOr<torch::Device> DeviceFor(const TrainingOptions& options, const ProcessPlace& place) {
  DENOISED_ASSIGN_OR_RETURN(std::string name, ResolveTorchDevice(options.device));
  if (place.size > 1 && name == "cuda:0" && options.device != "cuda:0") {
    DENOISED_ASSIGN_OR_RETURN(name, ResolveTorchDevice(absl::StrCat("cuda:", place.local_rank)));
  }
  return torch::Device(name);
}

absl::Status PrepareFolder(const TrainingOptions& options) {
  const TrainingFiles files(options.out);
  std::error_code ignored;
  for (const std::string& file : {files.state, files.best}) {
    if (options.resume || !std::filesystem::exists(file, ignored)) continue;
    return absl::AlreadyExistsError(
        absl::StrCat(file, " is there already: add --resume to go on with that run, or choose another --out"));
  }
  return EnsureWritableFolder(options.out);
}

absl::StatusOr<std::optional<Checkpoint>> LoadInit(const TrainingOptions& options) {
  if (options.init.empty()) return std::nullopt;
  DENOISED_ASSIGN_OR_RETURN(Checkpoint init, LoadCheckpoint(options.init));
  if (init.metadata.unet == options.unet && init.metadata.noise_schedule == options.schedule) return init;
  return absl::FailedPreconditionError(
      absl::StrCat("--init ", options.init,
                   " is another kind of network than this run's: give the --arch, --prediction_type and "
                   "--beta_schedule that it was trained with"));
}

absl::StatusOr<TrainingSummary> TrainHere(const Dataset& data, const TrainingOptions& options) {
  DENOISED_RETURN_IF_ERROR(ValidateOptions(data, options));
  DENOISED_ASSIGN_OR_RETURN(const NoiseSchedule schedule, NoiseSchedule::Create(options.schedule));
  DENOISED_ASSIGN_OR_RETURN(const ProcessPlace place, PlaceFromEnvironment());
  DENOISED_ASSIGN_OR_RETURN(const torch::Device device, DeviceFor(options, place));
  if (options.precision == "bf16" && !device.is_cuda()) {
    return absl::InvalidArgumentError("--precision bf16 needs a CUDA device; use fp32 on the CPU");
  }
  if (int64_t{options.batch_size} * place.size > static_cast<int64_t>(data.size())) {
    return absl::InvalidArgumentError(absl::StrCat("--batch_size ", options.batch_size, " in ", place.size,
                                                   " processes is more than the ", data.size(), " images there are"));
  }
  DENOISED_ASSIGN_OR_RETURN(const std::optional<Checkpoint> init, LoadInit(options));
  if (place.rank == 0) DENOISED_RETURN_IF_ERROR(PrepareFolder(options));
  DENOISED_ASSIGN_OR_RETURN(const std::unique_ptr<ProcessGroup> group, ProcessGroup::FromEnvironment(place, device));
  Trainer trainer(data, options, schedule, init, place, device, group.get());
  return trainer.Run();
}

}  // namespace

absl::StatusOr<TrainingOptions> DefaultTrainingOptions(const std::string& architecture) {
  TrainingOptions options;
  if (architecture == "compact") return options;
  if (architecture == "seed") {  // as the original trained it: Adam, constant rate, raw weights, no clipping
    options.unet = SeedUnetConfig();
    options.learning_rate = 2e-4;
    options.weight_decay = 0;
    options.cosine = false;
    options.warmup_steps = 0;
    options.clip_norm = 0;
    options.ema_decay = 0;
    options.label_dropout = 0;
    options.clip_sample = false;
    return options;
  }
  return absl::InvalidArgumentError(absl::StrCat("--arch must be compact or seed, got \"", architecture, "\""));
}

absl::StatusOr<TrainingSummary> Train(const Dataset& data, const TrainingOptions& options) {
  try {
    return TrainHere(data, options);
  } catch (const std::exception& e) {
    return absl::InternalError(absl::StrCat("training failed: ", TorchErrorText(e)));
  }
}

}  // namespace denoised
