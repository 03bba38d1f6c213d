#include "server/models/model_manager.h"

#include <malloc.h>
#include <pthread.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "common/support/caught.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

using Clock = std::chrono::steady_clock;

// Between two looks at what other threads do: at a last call's end, at the first steps of a generation.
constexpr std::chrono::milliseconds kPollInterval(20);
// Between telling that another one is at work and its work, so that a step that a team already runs is over first.
constexpr std::chrono::milliseconds kNotice(20);

// One admission for all generations: what still waits on the old one counts against the limits of the new one. And one
// machine, on which one does not time its steps while another one is at work.
ModelManagerOptions WithWhatGenerationsShare(ModelManagerOptions options, std::shared_ptr<AnotherAtWork> at_work) {
  options.model.taken_places = std::make_shared<TakenPlaces>();
  options.model.another_at_work = std::move(at_work);
  return options;
}

void LogNews(const std::string& news) { spdlog::info("{}", news); }

}  // namespace

ModelManager::ModelManager(ModelManagerOptions options, Loader load, Metrics& metrics, Publish publish)
    : another_at_work_(std::make_shared<AnotherAtWork>(false)),
      options_(WithWhatGenerationsShare(std::move(options), another_at_work_)),
      load_(std::move(load)),
      metrics_(metrics),
      publish_(std::move(publish)) {}

ModelManager::~ModelManager() {
  Stop();
  if (thread_.joinable()) thread_.join();
}

absl::Status ModelManager::Start() {
  // Whatever is large goes back to the system when it is freed. Left alone, glibc moves this bound up to the largest
  // piece freed so far, takes the next generation's weights from its heap, and keeps 60 MiB there after ten reloads.
  mallopt(M_MMAP_THRESHOLD, 256 << 10);
  ServingModelOptions options = options_.model;
  options.tell = LogNews;
  DENOISED_ASSIGN_OR_RETURN(std::shared_ptr<ServingModel> model, load_(options, &metrics_));
  if (options_.watch_interval.count() > 0) watch_.emplace(options_.model.checkpoint, model->info().sha256);
  publish_(model);
  {
    const absl::MutexLock lock(&mu_);
    serving_ = std::move(model);
  }
  malloc_trim(0);  // what loading took and the engine does not keep
  thread_ = std::thread([this] { Run(); });
  return absl::OkStatus();
}

int64_t ModelManager::RequestReload(std::string_view why) {
  const absl::MutexLock lock(&mu_);
  if (stop_) return wanted_ + 1;
  if (wanted_ == started_) {
    ++wanted_;
    interruption_.Set();
    spdlog::info("{}: the checkpoint is loaded again{}", why, started_ > finished_ ? ", after the load that runs" : "");
  } else {
    spdlog::info("{}: the checkpoint will be loaded again already", why);
  }
  return wanted_;
}

absl::Status ModelManager::AwaitReload(int64_t load) {
  const absl::MutexLock lock(&mu_);
  const auto over = [this, load]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return stop_ || finished_ >= load; };
  mu_.Await(absl::Condition(&over));
  return finished_ >= load ? result_ : absl::CancelledError("the server is stopping");
}

void ModelManager::Disown(std::shared_ptr<ServingModel> hung) {
  static auto* const kept = new std::vector<std::shared_ptr<ServingModel>>;
  const absl::MutexLock lock(&mu_);
  if (serving_ == hung) serving_.reset();
  if (before_ == hung) before_.reset();
  std::erase(retiring_, hung);
  kept->push_back(std::move(hung));
}

void ModelManager::Forget(const std::shared_ptr<ServingModel>& failing) {
  const absl::MutexLock lock(&mu_);
  for (std::shared_ptr<ServingModel>* const model : {&serving_, &before_}) {
    if (*model != failing) continue;
    model->reset();
    retiring_.push_back(failing);
  }
}

void ModelManager::Stop() {
  const absl::MutexLock lock(&mu_);
  stop_ = true;
  interruption_.Set();
}

std::vector<std::shared_ptr<ServingModel>> ModelManager::live() const {
  const absl::MutexLock lock(&mu_);
  std::vector<std::shared_ptr<ServingModel>> models;
  const auto add = [&models](std::shared_ptr<ServingModel> model) {
    if (model != nullptr && std::find(models.begin(), models.end(), model) == models.end()) {
      models.push_back(std::move(model));
    }
  };
  add(serving_);
  add(before_);
  for (const std::shared_ptr<ServingModel>& model : retiring_) add(model);
  return models;
}

bool ModelManager::alone() const { return retiring_.empty(); }

bool ModelManager::stopping() const {
  const absl::MutexLock lock(&mu_);
  return stop_;
}

bool ModelManager::InterruptedWithin(std::chrono::nanoseconds duration) {
  interruption_.Clear();
  {
    const absl::MutexLock lock(&mu_);
    if (interrupted()) return true;
  }
  return interruption_.WaitFor(duration);
}

// ---- On its own thread ----

void ModelManager::Run() {
  pthread_setname_np(pthread_self(), "models");
  while (AwaitWork() && AwaitRetired()) Reload();
}

// Until a load is wanted. False: stop.
bool ModelManager::AwaitWork() {
  constexpr std::chrono::hours kForever(24);
  const std::chrono::nanoseconds watch = watch_.has_value() ? options_.watch_interval : kForever;
  while (!InterruptedWithin(memory_to_return_ ? std::min<std::chrono::nanoseconds>(kPollInterval, watch) : watch)) {
    ReturnMemory();
    LookAtFile();
  }
  return !stopping();
}

void ModelManager::Reload() {
  {
    const absl::MutexLock lock(&mu_);
    ++started_;
  }
  *another_at_work_ = !live().empty();
  const absl::Status status = LoadAndSwap();
  metrics_.OnModelReload(status.ok() ? "ok" : "error");
  Finish(status);
  std::shared_ptr<ServingModel> model;
  {
    const absl::MutexLock lock(&mu_);
    model = serving_;
  }
  if (!status.ok()) {
    spdlog::error("{}: {}", model == nullptr ? "no model serves" : "the old model goes on serving",
                  std::string(status.message()));
    memory_to_return_ = true;
    return;
  }
  if (model != nullptr && !ProvesItself(*model)) GoBack();
  model.reset();
  Retire();
}

// Until at most one generation is alive, or none serves. False: stop.
bool ModelManager::AwaitRetired() {
  const auto retired = [this] {
    DropRetired();
    const absl::MutexLock lock(&mu_);
    return serving_ == nullptr || alone();
  };
  if (!retired()) {
    spdlog::info("the reload waits: calls still run on the model before this one, and no more than two are kept");
  }
  while (!retired() && !stopping()) std::this_thread::sleep_for(kPollInterval);
  ReturnMemory();
  return !stopping();
}

absl::Status ModelManager::LoadAndSwap() {
  ServingModelOptions options = options_.model;
  options.in_background = true;
  options.tell = LogNews;
  options.give_up = [this] { return stopping(); };
  {
    const absl::MutexLock lock(&mu_);
    options.beside = serving_;
  }
  if (options.beside != nullptr) std::this_thread::sleep_for(kNotice);
  std::shared_ptr<ServingModel> model;
  DENOISED_RETURN_IF_ERROR(Caught("loading failed", [&]() -> absl::Status {
    DENOISED_ASSIGN_OR_RETURN(model, load_(options, &metrics_));
    return absl::OkStatus();
  }));
  if (watch_.has_value()) watch_->Know(model->info().sha256);
  {
    const absl::MutexLock lock(&mu_);
    if (stop_) return absl::CancelledError("the server is stopping");
    before_ = std::exchange(serving_, model);
  }
  publish_(std::move(model));
  return absl::OkStatus();
}

// Whether the first steps of a generation succeed. A generation that nobody asks to step is believed after a while, and
// one whose first step has yet to end is not: it may hang. Whoever interrupts may have taken it away for that.
bool ModelManager::ProvesItself(const ServingModel& model) {
  const Clock::time_point end = Clock::now() + options_.probation_time;
  do {
    LookForOthersAtWork();
    const SchedulerStats stats = model.scheduler().stats();
    if (stats.failed_steps > stats.steps) return false;
    if (stats.steps >= options_.probation_steps) return true;
    const bool begins = model.scheduler().heartbeat().working && stats.steps == 0;
    if (!begins && Clock::now() >= end) return true;
  } while (!InterruptedWithin(kPollInterval));
  const absl::MutexLock lock(&mu_);
  return stop_ || serving_.get() == &model;
}

void ModelManager::GoBack() {
  std::shared_ptr<ServingModel> old;
  bool was_taken_away = false;
  {
    const absl::MutexLock lock(&mu_);
    if (stop_ || before_ == nullptr) return;  // nothing is published any more, or the one before was lost
    was_taken_away = serving_ == nullptr;
    std::swap(serving_, before_);
    old = serving_;
  }
  publish_(old);
  if (was_taken_away) {  // by somebody who wants another one: this is it
    const absl::MutexLock lock(&mu_);
    started_ = finished_ = wanted_;
    result_ = absl::OkStatus();
  }
  metrics_.OnModelReload("rolled_back");
  spdlog::error(
      "the first steps of the new model failed: model {} serves again; what failed is told by the calls' lines",
      old->info().version());
}

// The generation that does not serve lives on for its calls alone.
void ModelManager::Retire() {
  std::shared_ptr<ServingModel> old;
  {
    const absl::MutexLock lock(&mu_);
    old = std::exchange(before_, nullptr);
    if (old != nullptr) retiring_.push_back(std::move(old));
  }
  DropRetired();
  memory_to_return_ = true;
}

// Once nothing is being loaded: those that do not serve.
void ModelManager::LookForOthersAtWork() {
  std::shared_ptr<ServingModel> serving;
  {
    const absl::MutexLock lock(&mu_);
    serving = serving_;
  }
  const std::vector<std::shared_ptr<ServingModel>> models = live();
  *another_at_work_ = std::any_of(models.begin(), models.end(), [&serving](const auto& model) {
    return model != serving && model->scheduler().heartbeat().working;
  });
}

void ModelManager::DropRetired() {
  std::vector<std::shared_ptr<ServingModel>> dropped;  // destroyed without the lock
  const absl::MutexLock lock(&mu_);
  for (std::shared_ptr<ServingModel>& model : retiring_) {
    if (model.use_count() == 1 && !model->scheduler().heartbeat().working) dropped.push_back(std::move(model));
  }
  std::erase(retiring_, nullptr);
}

void ModelManager::LookAtFile() {
  if (!watch_.has_value() || Clock::now() < next_look_) return;
  next_look_ = Clock::now() + options_.watch_interval;
  if (watch_->Replaced()) RequestReload(options_.model.checkpoint + " has been replaced");
}

// Threads come and go with each generation, and the allocator keeps what they freed, in each thread's arena apart, for
// threads that may come: without this, memory grows with each of the first reloads.
void ModelManager::ReturnMemory() {
  if (!memory_to_return_) return;
  DropRetired();
  LookForOthersAtWork();
  {
    const absl::MutexLock lock(&mu_);
    if (!alone()) return;
  }
  malloc_trim(0);
  memory_to_return_ = false;
}

void ModelManager::Finish(const absl::Status& status) {
  const absl::MutexLock lock(&mu_);
  result_ = status;
  finished_ = started_;
}

}  // namespace denoised
