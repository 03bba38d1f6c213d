#include "trainer/training/train.h"

#include <torch/version.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/checkpoint/checkpoint.h"
#include "common/checkpoint/torch_error.h"
#include "common/command_line/progress_bar.h"
#include "common/engine/device.h"
#include "common/support/available_cores.h"
#include "common/support/clock.h"
#include "common/support/counted.h"
#include "common/support/quoted.h"
#include "common/support/status_macros.h"
#include "trainer/data/held_out_split.h"
#include "trainer/data/training_batches.h"
#include "trainer/records/step_log.h"
#include "trainer/training/beginning.h"
#include "trainer/training/gradient_workers.h"
#include "trainer/training/learner.h"
#include "trainer/training/process_group.h"
#include "trainer/training/run_folder.h"
#include "trainer/training/run_reporter.h"
#include "trainer/training/sample_grid.h"
#include "trainer/training/training_log.h"
#include "trainer/training/training_state.h"
#include "trainer/training/validation.h"

namespace denoised {
namespace {

using Clock = std::chrono::steady_clock;

// Between writes of what is known of each step, so that it can be looked at meanwhile.
constexpr double kFlushSeconds = 2;

// Between two processes' weights; their rounding makes less in an epoch.
constexpr double kMostDrift = 1e-3;

double WallTime() { return Seconds(std::chrono::system_clock::now().time_since_epoch()); }

// Where a run computes, and with whom.
struct Workplace {
  ProcessPlace place;
  torch::Device device;
  int threads;
  std::unique_ptr<ProcessGroup> group;  // null: no other processes
};

RunSetting SettingOf(const Beginning& beginning, const Workplace& workplace) {
  return {.init_sha256 = beginning.init ? beginning.init->sha256 : "",
          .teacher_sha256 = beginning.teacher_sha256,
          .processes = workplace.place.size,
          .on_cpu = workplace.device.is_cpu(),
          .threads = workplace.threads};
}

const Teacher* TeacherOf(const Beginning& beginning) { return beginning.teacher ? &*beginning.teacher : nullptr; }

TrainingBatchesOptions BatchesOptions(const TrainingOptions& options, const Beginning& beginning,
                                      const ProcessPlace& place) {
  return {.rows = options.batch_size * options.accumulate,
          .null_label = NullLabel(options),
          .label_dropout = options.label_dropout,
          .keep_last = options.keep_last_batch,
          .min_snr_gamma = options.min_snr_gamma,
          .timesteps = beginning.teacher ? beginning.teacher->timesteps() : std::vector<int64_t>(),
          .seed = options.seed,
          .rank = place.rank,
          .ranks = place.size};
}

// Of each thread, so that all of them together hold a batch.
int64_t RowsAtOnce(const TrainingOptions& options, const Workplace& workplace) {
  const int threads = workplace.device.is_cpu() ? workplace.threads : 1;
  return (options.batch_size + threads - 1) / threads;
}

int64_t TotalSteps(const TrainingOptions& options, const TrainingBatches& batches) {
  const int64_t by_epochs = options.epochs * batches.per_epoch();
  return options.max_steps > 0 ? std::min(options.max_steps, by_epochs) : by_epochs;
}

GradientOptions GradientOptionsOf(const TrainingOptions& options, const Beginning& beginning,
                                  const Workplace& workplace) {
  return {.device = workplace.device,
          .bf16 = options.precision == "bf16",
          .threads = workplace.threads,
          .rows_at_once = RowsAtOnce(options, workplace),
          .null_label = NullLabel(options),
          .model_guidance = options.model_guidance,
          .model_guidance_below = options.model_guidance_below,
          .model_guidance_from = options.model_guidance_from,
          .teacher = TeacherOf(beginning),
          .group = workplace.group.get(),
          .processes = workplace.place.size};
}

absl::Status CheckRevision(const std::string& what, const std::string& revision) {
  if (!absl::StrContains(revision, "-dirty") && !absl::StrContains(revision, "unknown")) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("--release needs sources that are in a commit, and ", what, " is of revision ", revision,
                   ": commit what has changed, build again in a clone with git, and begin the run anew"));
}

// A run from its first batch to its last.
class Trainer {
 public:
  // `held_out` may be empty; it, `data` and `beginning` outlive this.
  Trainer(const Dataset& data, const Dataset& held_out, const TrainingOptions& options, const NoiseSchedule& schedule,
          const Beginning& beginning, Workplace workplace)
      : options_(options),
        folder_(options.out),
        data_sha256_(data.sha256),
        workplace_(std::move(workplace)),
        batches_(data, schedule, BatchesOptions(options, beginning, workplace_.place)),
        setting_(SettingOf(beginning, workplace_)),
        recipe_(RecipeOf(options, data, setting_)),
        learner_(options, TotalSteps(options, batches_), beginning.init ? &beginning.init->unet : nullptr,
                 GradientOptionsOf(options, beginning, workplace_)),
        reporter_(options, batches_, TotalSteps(options, batches_), /*speaks=*/writes_files()) {
    if (held_out.size() > 0) validation_.emplace(held_out, schedule, GradientOptionsOf(options, beginning, workplace_));
  }

  // Begins anew, or where the bytes of a state leave off, if there are any.
  absl::StatusOr<TrainingSummary> Run(const std::string& state) {
    DENOISED_RETURN_IF_ERROR(CheckProcessesAgree());
    DENOISED_RETURN_IF_ERROR(CheckSize());
    if (!state.empty()) DENOISED_RETURN_IF_ERROR(LoadState(state));
    TakeFromFirst(workplace_.group.get(), Weights());  // random ones may differ between machines
    DENOISED_RETURN_IF_ERROR(OpenStepLog());
    reporter_.Begin(workplace_.device.str(), progress_);
    last_save_ = last_checkpoint_ = Clock::now();
    // Before anything is learnt, so that there is no time at which a run that is killed could not be resumed; and a
    // disk that is too small is found out now.
    if (state.empty() && writes_files()) DENOISED_RETURN_IF_ERROR(SaveState());
    while (progress_.epoch < options_.epochs && progress_.epochs_without_progress < options_.patience && !stopping_ &&
           !(AllStepsTaken() && progress_.batch == 0)) {
      DENOISED_RETURN_IF_ERROR(RunEpoch());
    }
    return Summary();
  }

 private:
  // A process with other data or flags would spoil the sums of all, or wait for ever.
  absl::Status CheckProcessesAgree() {
    if (workplace_.group == nullptr) return absl::OkStatus();
    std::vector<std::string> own;
    for (const Recipe& recipe : {recipe_, FlagsOf(options_, setting_)}) {
      for (const auto& [flag, value] : recipe) own.push_back(absl::StrCat(flag, " ", value));
    }
    const std::string firsts = BytesOfFirst(*workplace_.group, workplace_.device, absl::StrJoin(own, "\n"));
    const std::vector<std::string> first = absl::StrSplit(firsts, '\n');
    if (!AnySaysYes(workplace_.group.get(), workplace_.device, own != first)) return absl::OkStatus();
    constexpr char kAdvice[] = ": start all with the same flags and data";
    const auto differs = std::mismatch(own.begin(), own.end(), first.begin(), first.end());
    if (differs.first == own.end() && differs.second == first.end()) {
      return absl::FailedPreconditionError(
          absl::StrCat("another process has other flags or data than that with RANK 0", kAdvice));
    }
    return absl::FailedPreconditionError(
        absl::StrCat("this process has ", differs.first == own.end() ? "less than" : *differs.first,
                     ", that with RANK 0 has ", differs.second == first.end() ? "not" : *differs.second, kAdvice));
  }

  // Of what programs read. A state is four times as large.
  absl::Status CheckSize() const {
    int64_t parameters = 0;
    for (const at::Tensor& weight : learner_.weights()) parameters += weight.numel();
    constexpr int64_t kMost = (int64_t{kMaxCheckpointBytes} - (int64_t{16} << 20)) / int64_t{sizeof(float)};
    if (parameters <= kMost) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("--channels and --blocks make a network of ", parameters,
                                                   " parameters, and checkpoints of more than ", kMost,
                                                   " cannot be read: choose fewer"));
  }

  absl::Status RunEpoch() {
    batches_.StartEpoch(progress_.epoch);
    while (progress_.batch < batches_.per_epoch() && !AllStepsTaken()) {
      const Clock::time_point start = Clock::now();
      DENOISED_ASSIGN_OR_RETURN(const StepResult step, RunBatch());
      CountLearning(last_images_, SecondsSince(start));
      if (step.taken) LogStep(step, SecondsSince(start));
      if (step.stop) return Stop();
      if (!writes_files()) continue;
      DENOISED_RETURN_IF_ERROR(CountApart([this] { return WriteWhatIsDue(); }));
    }
    return FinishEpoch();
  }

  absl::Status OpenStepLog() {
    if (!writes_files() || !options_.step_log) return absl::OkStatus();
    DENOISED_ASSIGN_OR_RETURN(StepLog log, StepLog::Open(options_.out, progress_.step, WallTime()));
    step_log_ = std::move(log);
    return absl::OkStatus();
  }

  void LogStep(const StepResult& step, double seconds) {
    if (!step_log_) return;
    step_log_->Add({.step = progress_.step,
                    .epoch = progress_.epoch + 1,
                    .batch = progress_.batch,
                    .loss = step.loss,
                    .gradient_norm = step.gradient_norm,
                    .learning_rate = step.learning_rate,
                    .images_per_second = static_cast<double>(last_images_) / seconds,
                    .wall_time = WallTime()});
  }

  absl::Status FlushStepLog() {
    last_flush_ = Clock::now();
    return step_log_ ? step_log_->Flush() : absl::OkStatus();
  }

  absl::Status WriteWhatIsDue() {
    if (SecondsSince(last_flush_) > kFlushSeconds) DENOISED_RETURN_IF_ERROR(FlushStepLog());
    if (IsDue(last_checkpoint_, options_.checkpoint_every_seconds)) DENOISED_RETURN_IF_ERROR(WriteLast());
    return IsDue(last_save_, options_.save_every_seconds) ? SaveState() : absl::OkStatus();
  }

  // With --max_steps the last epoch may be a short one.
  bool AllStepsTaken() const { return options_.max_steps > 0 && progress_.step >= options_.max_steps; }

  void CountLearning(int64_t images, double seconds) {
    progress_.seconds += seconds;
    progress_.epoch_seconds += seconds;
    progress_.epoch_images += images;
    reporter_.Batch(progress_, images, seconds);
  }

  // What `work` takes is no time of learning.
  absl::Status CountApart(const std::function<absl::Status()>& work) {
    const Clock::time_point start = Clock::now();
    const absl::Status status = work();
    CountApart(SecondsSince(start));
    return status;
  }
  void CountApart(double seconds) { progress_.other_seconds += seconds; }

  absl::StatusOr<StepResult> RunBatch() {
    TrainingBatch batch = batches_.Make(progress_.batch);
    if (options_.change_batch != nullptr) options_.change_batch(progress_.epoch, progress_.batch, batch);
    last_images_ = batch.all_rows;
    const StepResult step = learner_.Step(progress_.step, batch, StopRequested());
    ++progress_.batch;
    if (!step.taken) {
      DENOISED_RETURN_IF_ERROR(LeaveOut(step));
      return step;
    }
    progress_.bad_batches_in_a_row = 0;
    progress_.loss_sum += step.loss;
    ++progress_.step;
    progress_.images += batch.all_rows;
    return step;
  }

  // The batch just seen, of which the optimizer has taken nothing.
  absl::Status LeaveOut(const StepResult& step) {
    ++progress_.bad_batches;
    ++progress_.bad_batches_in_a_row;
    const std::string what = std::isfinite(step.loss) ? absl::StrCat("the gradient's norm is ", step.gradient_norm)
                                                      : absl::StrCat("the loss is ", step.loss);
    const std::string where =
        absl::StrCat("batch ", progress_.batch, " of ", batches_.per_epoch(), " in epoch ", progress_.epoch + 1);
    reporter_.Line(absl::StrCat(where, " is left out: ", what));
    if (progress_.bad_batches_in_a_row < options_.max_bad_batches) return absl::OkStatus();
    return Diverged(absl::StrCat(Counted(progress_.bad_batches_in_a_row, "batch", "batches"),
                                 " in a row had no finite loss and gradient, the last one ", where, ": ", what));
  }

  absl::Status Diverged(const std::string& what) const {
    return absl::AbortedError(absl::StrCat(
        what, ". The files in ", options_.out,
        "/ are from before. Begin a new run with a lower --learning_rate; if the machine was at fault, --resume"));
  }

  absl::Status FinishEpoch() {
    if (progress_.learnt_batches() == 0) {
      return Diverged(absl::StrCat("no batch of epoch ", progress_.epoch + 1, " had a finite loss and gradient"));
    }
    DENOISED_RETURN_IF_ERROR(CheckDrift());
    const double loss = progress_.MeanLoss();
    const std::optional<double> validation_loss = ValidationLoss();
    const double decisive = validation_loss.value_or(loss);
    if (!std::isfinite(decisive)) {
      return Diverged(absl::StrCat("the validation loss of epoch ", progress_.epoch + 1, " is ", decisive));
    }
    // After weights that made the epoch's last batches bad the mean says nothing about them; nor does that of an epoch
    // which --max_steps has cut to a few batches.
    const bool counts =
        validation_loss.has_value() || progress_.epoch == 0 || 2 * progress_.batch >= batches_.per_epoch();
    const bool best = counts && decisive < progress_.best_loss && progress_.bad_batches_in_a_row == 0;
    const int64_t bad_batches = std::exchange(progress_.bad_batches, 0);
    const double images_per_second = EpochSpeed();
    progress_.epoch_images = 0;
    progress_.epoch_seconds = 0;
    ++progress_.epoch;
    progress_.batch = 0;
    progress_.loss_sum = 0;
    progress_.epochs_without_progress = best ? 0 : progress_.epochs_without_progress + 1;
    if (best) progress_.best_loss = decisive;
    log_.Add({.epoch = progress_.epoch,
              .loss = loss,
              .validation_loss = validation_loss,
              .best_loss = progress_.best_loss,
              .learning_rate = learner_.LearningRate(std::max<int64_t>(progress_.step - 1, 0)),
              .images_seen = progress_.images,
              .bad_batches = bad_batches,
              .images_per_second = images_per_second,
              .seconds = progress_.seconds,
              .other_seconds = progress_.other_seconds});
    if (!writes_files()) return absl::OkStatus();
    DENOISED_RETURN_IF_ERROR(CountApart([this, best] { return WriteFiles(best); }));
    reporter_.Epoch(log_.records().back(), best);
    return absl::OkStatus();
  }

  std::vector<at::Tensor> Weights() const {
    std::vector<at::Tensor> all = learner_.weights();
    for (const at::Tensor& average : learner_.averages()) all.push_back(average);
    return all;
  }

  // Processes take the same steps, so that only other processors' rounding may part them. What little there is of that
  // ends with each epoch; more is a fault.
  absl::Status CheckDrift() {
    const double drift = TakeFromFirst(workplace_.group.get(), Weights());
    const bool far = !(drift <= kMostDrift);
    if (!AnySaysYes(workplace_.group.get(), workplace_.device, far)) return absl::OkStatus();
    return Diverged(absl::StrCat("the processes' weights differ in epoch ", progress_.epoch + 1,
                                 ", though all take the same steps: by ", drift, " here"));
  }

  // Process 0's, so that all agree which epoch is the best.
  std::optional<double> ValidationLoss() {
    if (!validation_) return std::nullopt;
    double loss = 0;
    if (writes_files()) {
      const Clock::time_point start = Clock::now();
      loss = validation_->Loss(learner_.result());
      CountApart(SecondsSince(start));
    }
    return DoubleOfFirst(workplace_.group.get(), workplace_.device, loss);
  }

  // Images a second; of the run so far, where the epoch ended with a state of before its own were counted.
  double EpochSpeed() const {
    if (progress_.epoch_images > 0) return static_cast<double>(progress_.epoch_images) / progress_.epoch_seconds;
    return static_cast<double>(progress_.images) / progress_.seconds;
  }

  bool writes_files() const { return workplace_.place.rank == 0; }

  // Of this process; all stop after the same step.
  bool StopRequested() const { return options_.stop_requested != nullptr && options_.stop_requested(); }

  absl::Status Stop() {
    stopping_ = true;
    if (!writes_files()) return absl::OkStatus();
    return CountApart([this]() -> absl::Status {
      if (progress_.step > 0) DENOISED_RETURN_IF_ERROR(WriteLast());
      return SaveState();
    });
  }

  // What is on the disk is from before bad batches, as long as nobody knows where they come from.
  bool IsDue(Clock::time_point last, double every_seconds) const {
    return progress_.bad_batches_in_a_row == 0 && every_seconds > 0 && SecondsSince(last) >= every_seconds;
  }

  bool HasBest() const { return std::isfinite(progress_.best_loss); }

  // Where no epoch was the best yet, that of the last one, or of what there is of the first.
  double BestLossSoFar() const {
    if (HasBest()) return progress_.best_loss;
    return log_.records().empty() ? progress_.MeanLoss() : log_.records().back().decisive_loss();
  }

  ModelMetadata Metadata() const {
    ModelMetadata metadata;
    metadata.unet = options_.unet;
    metadata.noise_schedule = options_.schedule;
    metadata.variance_type = options_.variance_type;
    metadata.clip_sample = options_.clip_sample;
    metadata.class_names = options_.class_names;
    metadata.null_label = NullLabel(options_);
    metadata.distilled_steps = setting_.teacher_sha256.empty() ? 0 : options_.student_steps;
    metadata.black_below = options_.black_below;
    metadata.training = {.data_sha256 = data_sha256_,
                         .epochs = progress_.epoch,
                         .images_seen = progress_.images,
                         .best_loss = BestLossSoFar(),
                         .ema_decay = options_.ema_decay,
                         .seed = options_.seed,
                         .command = origin_.command,
                         .init_sha256 = setting_.init_sha256,
                         .flags = FlagsOf(options_, setting_),
                         .source_revision = origin_.source_revision,
                         .libtorch_version = origin_.libtorch_version};
    return metadata;
  }

  // The state before the log: a run that ends between the two writes the log again when it is resumed.
  absl::Status WriteFiles(bool best) {
    DENOISED_RETURN_IF_ERROR(CheckWeights());
    DENOISED_ASSIGN_OR_RETURN(const std::string bytes, SerializeCheckpoint(Metadata(), learner_.result()));
    DENOISED_RETURN_IF_ERROR(folder_.WriteCheckpoint(bytes, best));
    last_checkpoint_ = Clock::now();
    DENOISED_RETURN_IF_ERROR(SaveState());
    DENOISED_RETURN_IF_ERROR(folder_.WriteLog(log_));
    if (options_.sample_every == 0 || progress_.epoch % options_.sample_every != 0) return absl::OkStatus();
    return WriteSamples(bytes);
  }

  // A checkpoint from within an epoch, so that there is something to serve and to look at.
  absl::Status WriteLast() {
    DENOISED_RETURN_IF_ERROR(CheckWeights());
    DENOISED_ASSIGN_OR_RETURN(const std::string bytes, SerializeCheckpoint(Metadata(), learner_.result()));
    last_checkpoint_ = Clock::now();
    return folder_.WriteCheckpoint(bytes, /*best=*/false);
  }

  absl::Status WriteSamples(const std::string& checkpoint_bytes) const {
    ClearProgress();
    DENOISED_ASSIGN_OR_RETURN(const Checkpoint checkpoint, ParseCheckpoint(folder_.files().last, checkpoint_bytes));
    DENOISED_ASSIGN_OR_RETURN(const std::string png, DrawSampleGrid(checkpoint, workplace_.threads));
    return folder_.WriteSamples(png);
  }

  TrainingState State() {
    return {.recipe = &recipe_,
            .weights = learner_.weights(),
            .averages = learner_.averages(),
            .optimizer = &learner_.optimizer(),
            .progress = &progress_,
            .log = &log_,
            .origin = &origin_};
  }

  absl::Status CheckWeights() const {
    if (learner_.IsFinite()) return absl::OkStatus();
    return Diverged(absl::StrCat("step ", progress_.step, " made weights that are not finite numbers"));
  }

  absl::Status SaveState() {
    DENOISED_RETURN_IF_ERROR(CheckWeights());
    DENOISED_RETURN_IF_ERROR(FlushStepLog());  // a state that is resumed never lacks lines of before
    last_save_ = Clock::now();
    return folder_.WriteState(SerializeTrainingState(State()));
  }

  absl::Status LoadState(const std::string& bytes) {
    DENOISED_RETURN_IF_ERROR(RestoreTrainingState(folder_.files().state, bytes, State()));
    if (progress_.images == 0) progress_.images = progress_.step * batches_.global_rows();  // not in states of before
    if (options_.release) DENOISED_RETURN_IF_ERROR(CheckRevision("the run to resume", origin_.source_revision));
    return writes_files() ? folder_.WriteLog(log_) : absl::OkStatus();
  }

  std::string LastCheckpoint() const { return progress_.step > 0 ? folder_.files().last : ""; }

  TrainingSummary Summary() const {
    TrainingSummary summary = {.checkpoint = stopping_ || !HasBest() ? LastCheckpoint() : folder_.files().best,
                               .epochs = progress_.epoch,
                               .best_loss = progress_.best_loss,
                               .images_seen = progress_.images,
                               .seconds = progress_.seconds,
                               .other_seconds = progress_.other_seconds,
                               .stopped_early = !stopping_ && !AllStepsTaken() && progress_.epoch < options_.epochs,
                               .interrupted = stopping_,
                               .writes_files = writes_files()};
    for (const EpochRecord& record : log_.records()) {
      if (record.decisive_loss() == summary.best_loss) summary.best_epoch = record.epoch;
    }
    return summary;
  }

  // Constant after construction.
  const TrainingOptions options_;
  const RunFolder folder_;
  const std::vector<std::pair<std::string, std::string>> data_sha256_;
  const Workplace workplace_;

  TrainingBatches batches_;
  const RunSetting setting_;
  const Recipe recipe_;
  Learner learner_;
  std::optional<Validation> validation_;  // none: no images are held out
  TrainingProgressState progress_;
  TrainingLog log_;
  RunOrigin origin_ = {
      .command = options_.command, .source_revision = options_.source_revision, .libtorch_version = TORCH_VERSION};
  RunReporter reporter_;
  int64_t last_images_ = 0;          // of the last batch, over all processes
  std::optional<StepLog> step_log_;  // none: another process writes it, or nobody
  Clock::time_point last_save_, last_checkpoint_, last_flush_;
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

absl::Status ValidateWorkplace(const TrainingOptions& options, const Dataset& data, const ProcessPlace& place,
                               const torch::Device& device) {
  if (options.precision == "bf16" && !device.is_cuda()) {
    return absl::InvalidArgumentError("--precision bf16 needs a CUDA device; use fp32 on the CPU");
  }
  const int64_t images = static_cast<int64_t>(data.size()) - options.validation_images;
  if (int64_t{options.batch_size} * options.accumulate * place.size > images) {
    return absl::InvalidArgumentError(absl::StrCat("--batch_size ", options.batch_size * options.accumulate, " in ",
                                                   place.size, " processes is more than the ", images,
                                                   " images there are"));
  }
  return absl::OkStatus();
}

// Of each class something must be left.
absl::StatusOr<SplitIndices> Split(const Dataset& data, int64_t held_out) {
  DENOISED_ASSIGN_OR_RETURN(SplitIndices split, HeldOutSplit(data.labels, held_out));
  std::vector<int64_t> images(data.class_names.size()), kept(data.class_names.size());
  for (const uint8_t label : data.labels) ++images[label];
  for (const int64_t image : split.kept) ++kept[data.labels[static_cast<size_t>(image)]];
  for (size_t label = 0; label < kept.size(); ++label) {
    if (kept[label] > 0 || images[label] == 0) continue;
    return absl::InvalidArgumentError(absl::StrCat("--validation_images ", held_out, " would hold out all of class ",
                                                   label, ", ", Quoted(data.class_names[label]), ", which has ",
                                                   Counted(images[label], "image"), ": hold out fewer, or find more"));
  }
  return split;
}

// Makes the folder ready, and this process's alone as long as `folder` is there. Reads the state where a run is to be
// resumed: no bytes where one begins.
absl::StatusOr<std::string> OpenRun(const TrainingOptions& options, RunFolder& folder) {
  absl::StatusOr<std::string> state = std::string();
  if (options.resume) state = folder.ReadState();  // where there is none, no folder is made
  DENOISED_RETURN_IF_ERROR(state.status());
  DENOISED_RETURN_IF_ERROR(folder.Prepare(options.resume));
  DENOISED_RETURN_IF_ERROR(folder.Lock());
  return state;
}

// How many threads each process gets: by their number sums are rounded, so that a resumed run keeps it.
int ThreadsFor(const TrainingOptions& options, const std::string& state) {
  if (options.threads > 0) return options.threads;
  int saved = 0;
  if (!state.empty() && absl::SimpleAtoi(SavedFlag(state, "--threads"), &saved) && saved > 0) return saved;
  return AvailableCores();
}

// What a process has before it meets the others.
struct Preparation {
  TrainingOptions options;
  NoiseSchedule schedule;
  torch::Device device;
  SplitIndices split;
  Beginning beginning;
};

absl::StatusOr<Preparation> Prepare(const absl::StatusOr<Dataset>& data, const TrainingOptions& asked,
                                    const ProcessPlace& place) {
  DENOISED_RETURN_IF_ERROR(data.status());
  TrainingOptions options = ForClasses(asked, data->class_names);
  DENOISED_RETURN_IF_ERROR(ValidateTrainingOptions(options, static_cast<int>(data->size())));
  DENOISED_ASSIGN_OR_RETURN(NoiseSchedule schedule, NoiseSchedule::Create(options.schedule));
  DENOISED_ASSIGN_OR_RETURN(const torch::Device device, DeviceFor(options, place));
  DENOISED_RETURN_IF_ERROR(ValidateWorkplace(options, *data, place, device));
  DENOISED_ASSIGN_OR_RETURN(SplitIndices split, Split(*data, options.validation_images));
  DENOISED_ASSIGN_OR_RETURN(Beginning beginning, LoadBeginning(options, device));
  if (options.release) DENOISED_RETURN_IF_ERROR(CheckRevision("this build", options.source_revision));
  return Preparation{.options = std::move(options),
                     .schedule = std::move(schedule),
                     .device = device,
                     .split = std::move(split),
                     .beginning = std::move(beginning)};
}

absl::StatusOr<TrainingSummary> TrainHere(const absl::StatusOr<Dataset>& read, const TrainingOptions& asked) {
  DENOISED_ASSIGN_OR_RETURN(const ProcessPlace place, PlaceFromEnvironment());
  const absl::StatusOr<Preparation> prepared = Prepare(read, asked, place);
  DENOISED_ASSIGN_OR_RETURN(
      std::unique_ptr<ProcessGroup> group,
      ProcessGroup::FromEnvironment(
          place, prepared.ok() ? absl::StatusOr<torch::Device>(prepared->device) : prepared.status()));
  const auto& [options, schedule, device, split, beginning] = *prepared;
  const Dataset& data = *read;
  // Process 0 reads the state and hands it to the others, which may run on machines without the file.
  absl::StatusOr<std::string> opened = std::string();
  RunFolder folder(options.out);
  if (place.rank == 0) opened = OpenRun(options, folder);
  DENOISED_ASSIGN_OR_RETURN(const std::string state, AnswerOfFirst(group.get(), device, opened));
  const int threads = static_cast<int>(NumberOfFirst(group.get(), device, ThreadsFor(options, state)));
  const int64_t count = options.validation_images;
  const Dataset held_out = Subset(data, split.held_out);
  const Dataset learnt = count > 0 ? Subset(data, split.kept) : Dataset();
  Trainer trainer(count > 0 ? learnt : data, held_out, options, schedule, beginning,
                  {.place = place, .device = device, .threads = threads, .group = std::move(group)});
  return trainer.Run(state);
}

}  // namespace

absl::StatusOr<TrainingSummary> Train(const absl::StatusOr<Dataset>& data, const TrainingOptions& options) {
  try {
    return TrainHere(data, options);
  } catch (const std::exception& e) {
    return absl::InternalError(absl::StrCat("training failed: ", TorchErrorText(e)));
  }
}

}  // namespace denoised
