#include "server/scheduler/scheduler.h"

#include <algorithm>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/support/clock.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

constexpr char kRetryAfterPayload[] = "denoised/retry_after_nanoseconds";

// A deadline is called impossible only below this share of the estimate: a machine may speed up, and others may leave.
constexpr double kDeadlineTolerance = 0.5;

// Nobody is told to come back sooner, as when images are finished but not read yet, which can be over at any moment.
constexpr std::chrono::milliseconds kMinRetryAfter(100);

// A step's time where none has been measured yet, and what the shortest count as.
constexpr std::chrono::microseconds kMinStepTime(1);

// Longer steps are not tried at start, and of shorter ones it does not matter how many rows they have.
constexpr std::chrono::milliseconds kLongStep(100);
constexpr std::chrono::microseconds kShortStep(20);

// How much of the best rate, in rows a second, a step must reach to be wide enough.
constexpr double kRateWanted = 0.95;

absl::Status DrainingStatus() { return absl::UnavailableError("the server is shutting down; try another replica"); }

}  // namespace

const char* DropReasonName(DropReason reason) {
  switch (reason) {
    case DropReason::kQueueFull:
      return "queue_full";
    case DropReason::kDeadline:
      return "deadline";
    case DropReason::kDraining:
      return "draining";
    case DropReason::kCancelled:
      return "cancelled";
    case DropReason::kEngineError:
      return "engine_error";
  }
  return "unknown";
}

void SetRetryAfter(absl::Status& status, std::chrono::nanoseconds wait) {
  status.SetPayload(kRetryAfterPayload, absl::Cord(absl::StrCat(wait.count())));
}

std::optional<std::chrono::nanoseconds> GetRetryAfter(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(kRetryAfterPayload);
  int64_t nanoseconds = 0;
  if (!payload.has_value() || !absl::SimpleAtoi(std::string(*payload), &nanoseconds)) return std::nullopt;
  return std::chrono::nanoseconds(nanoseconds);
}

// ---- Ticket ----

struct Ticket::State {
  Scheduler* scheduler = nullptr;
  std::shared_ptr<Scheduler::Request> request;
  int64_t places = 0;  // not given back yet; guarded by the scheduler's mutex
};

Ticket::Ticket() = default;

Ticket::Ticket(std::unique_ptr<State> state) : state_(std::move(state)) {}

Ticket::~Ticket() { Release(); }

Ticket::Ticket(Ticket&& other) noexcept = default;

Ticket& Ticket::operator=(Ticket&& other) noexcept {
  if (this != &other) {
    Release();
    state_ = std::move(other.state_);
  }
  return *this;
}

void Ticket::ReleaseOne() {
  if (state_ == nullptr) return;
  const absl::MutexLock lock(&state_->scheduler->mu_);
  if (state_->places == 0) return;
  --state_->places;
  --state_->scheduler->taken_places_;
}

void Ticket::Cancel() {
  if (state_ != nullptr) state_->request->cancelled = true;
}

void Ticket::Release() {
  if (state_ == nullptr) return;
  Cancel();
  {
    const absl::MutexLock lock(&state_->scheduler->mu_);
    state_->scheduler->taken_places_ -= state_->places;
  }
  state_.reset();
}

// ---- Scheduler, for all threads ----

Scheduler::Scheduler(Engine& engine, const SchedulerOptions& options, SchedulerObserver* observer, ClockFunction now)
    : engine_(engine),
      options_(options),
      observer_(observer),
      now_(std::move(now)),
      step_rows_(options.max_batch_rows),
      slots_(engine.num_slots()),
      step_times_(options.max_batch_rows) {}

Scheduler::~Scheduler() = default;

absl::StatusOr<Admission> Scheduler::Submit(const DrawRequest& wanted, std::shared_ptr<DrawListener> listener) {
  auto request = std::make_shared<Request>(wanted, std::move(listener), now_());
  const absl::MutexLock lock(&mu_);
  const int rows = request->rows_per_image();
  request->turns = {
      .submitted = Seconds(request->submitted.time_since_epoch()),
      .step_seconds = Seconds(std::max<std::chrono::nanoseconds>(step_times_.Estimate(rows), kMinStepTime)),
      .steps = request->steps(),
      .rows = rows,
      .request = submitted_requests_++};
  DENOISED_RETURN_IF_ERROR(CheckAdmission(*request));
  ScheduleForecast forecast = Forecast();
  const int number = forecast.AddWaiting(request->turns, 0, wanted.count);
  const ScheduleForecast::Outlook outlook = forecast.Follow(number);
  DENOISED_RETURN_IF_ERROR(CheckDeadline(*request, outlook.duration,
                                         "behind the requests that came before; allow more time, ask for fewer steps "
                                         "or images, or try again later"));
  auto ticket = std::make_unique<Ticket::State>();
  ticket->scheduler = this;
  ticket->request = request;
  ticket->places = wanted.count;
  taken_places_ += wanted.count;
  ++unfinished_requests_;
  waiting_.push_back(std::move(request));
  came_or_went_ = true;
  return Admission{.ticket = Ticket(std::move(ticket)),
                   .queue_position = static_cast<uint32_t>(outlook.images_ahead),
                   .estimated_duration = outlook.duration};
}

absl::Status Scheduler::CheckAdmission(const Request& request) const {
  if (!admitting_) return Reject(DropReason::kDraining, DrainingStatus());
  if (request.draw.count > capacity()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%d images are more than the %d that this server can hold at once; ask for fewer",
                        request.draw.count, capacity()));
  }
  if (request.draw.deadline <= request.submitted) {
    return Reject(DropReason::kDeadline, absl::DeadlineExceededError("the deadline has passed already"));
  }
  DENOISED_RETURN_IF_ERROR(CheckDeadline(request, DurationAlone(request),
                                         "on an idle server; allow more time or ask for fewer steps or images"));
  return CheckPlaces(request);
}

// `where`: in what circumstances the request takes this duration, and what to do.
absl::Status Scheduler::CheckDeadline(const Request& request, std::chrono::nanoseconds duration,
                                      const char* where) const {
  if (request.draw.deadline == SteadyTime::max()) return absl::OkStatus();
  const double left = Seconds(request.draw.deadline - request.submitted);
  if (left >= kDeadlineTolerance * Seconds(duration)) return absl::OkStatus();
  return Reject(DropReason::kDeadline,
                absl::DeadlineExceededError(absl::StrFormat(
                    "the deadline cannot be met: %.2g s are left, and this request takes about %.2g s %s", left,
                    Seconds(duration), where)));
}

absl::Status Scheduler::CheckPlaces(const Request& request) const {
  if (taken_places_ + request.draw.count <= capacity()) return absl::OkStatus();
  // Places are free again once so many images are finished. Those finished already count as read, which they soon are.
  ScheduleForecast forecast = Forecast();
  const int64_t too_many = std::max<int64_t>(forecast.images() + request.draw.count - capacity(), 0);
  const std::chrono::nanoseconds wait =
      std::max<std::chrono::nanoseconds>(forecast.UntilFinished(too_many), kMinRetryAfter);
  absl::Status status = absl::ResourceExhaustedError(absl::StrFormat(
      "the queue is full: images that wait, are being drawn or have not been read yet take %d of %d places, and this "
      "request needs %d; try again in about %.2g s",
      taken_places_, capacity(), request.draw.count, Seconds(wait)));
  SetRetryAfter(status, wait);
  return Reject(DropReason::kQueueFull, std::move(status));
}

absl::Status Scheduler::Reject(DropReason reason, absl::Status status) const {
  if (observer_ != nullptr) observer_->OnRejected(reason);
  return status;
}

// What is here already, but for those who left: they are dropped at the next step.
ScheduleForecast Scheduler::Forecast() const {
  ScheduleForecast forecast(step_rows_, step_times_);
  for (const std::shared_ptr<Request>& request : waiting_) {
    if (!request->cancelled) forecast.AddWaiting(request->turns, request->started, request->waiting());
  }
  for (const ActiveImage& image : active_) {
    if (!image.request->cancelled) forecast.AddBegun(image.request->turns, image.request->steps() - image.step);
  }
  return forecast;
}

std::chrono::nanoseconds Scheduler::DurationAlone(const Request& request) const {
  ScheduleForecast forecast(step_rows_, step_times_);
  return forecast.Follow(forecast.AddWaiting(request.turns, 0, request.draw.count)).duration;
}

void Scheduler::StopAdmitting() {
  const absl::MutexLock lock(&mu_);
  admitting_ = false;
}

bool Scheduler::idle() const {
  const absl::MutexLock lock(&mu_);
  return unfinished_requests_ == 0;
}

void Scheduler::Shutdown() {
  const absl::MutexLock lock(&mu_);
  admitting_ = false;
  shutdown_ = true;
}

SchedulerStats Scheduler::stats() const {
  const SteadyTime now = now_();
  const absl::MutexLock lock(&mu_);
  SchedulerStats stats{.denoising_images = static_cast<int>(active_.size())};
  for (const std::shared_ptr<Request>& request : waiting_) stats.waiting_images += static_cast<int>(request->waiting());
  if (!waiting_.empty()) stats.oldest_wait = now - waiting_.front()->submitted;
  return stats;
}

// ---- Scheduler, on its own thread ----

absl::Status Scheduler::Calibrate() {
  constexpr int kRounds = 8;  // apart, so that a slow moment does not hit one number of rows alone
  std::vector<MeasuredStep> measured;
  for (int rows = 1;; rows = std::min(2 * rows, options_.max_batch_rows)) {
    measured.push_back({.rows = rows});
    DENOISED_RETURN_IF_ERROR(MeasureStep(measured.back()));
    if (rows == options_.max_batch_rows || 2 * measured.back().shortest > kLongStep) break;
  }
  for (int round = 1; round < kRounds; ++round) {
    for (MeasuredStep& step : measured) DENOISED_RETURN_IF_ERROR(MeasureStep(step));
  }
  step_rows_ = WideEnough(measured);
  const absl::MutexLock lock(&mu_);
  for (const MeasuredStep& step : measured) step_times_.Record(step.rows, step.shortest);
  return absl::OkStatus();
}

// Times one step, after others of as many rows, as in a chain.
absl::Status Scheduler::MeasureStep(MeasuredStep& step) {
  constexpr int kStepsBefore = 2;
  const StepPlan plan = {StepCoefficients{}};
  std::vector<StepRow> batch;
  for (int slot = 0; slot < step.rows; ++slot) batch.push_back({.slot = slot, .plan = &plan});
  for (int i = 0; i < kStepsBefore; ++i) DENOISED_RETURN_IF_ERROR(engine_.Step(batch));
  const SteadyTime start = now_();
  DENOISED_RETURN_IF_ERROR(engine_.Step(batch));
  step.shortest = std::min<std::chrono::nanoseconds>(step.shortest, now_() - start);
  return absl::OkStatus();
}

// The fewest rows whose steps get through nearly as many rows a second as any, at least those of a guided image.
int Scheduler::WideEnough(const std::vector<MeasuredStep>& measured) const {
  const auto rate = [](const MeasuredStep& step) {
    return step.rows / Seconds(std::max<std::chrono::nanoseconds>(step.shortest, kMinStepTime));
  };
  if (measured.back().shortest < kShortStep) return options_.max_batch_rows;
  double best = 0;
  for (const MeasuredStep& step : measured) best = std::max(best, rate(step));
  for (const MeasuredStep& step : measured) {
    if (step.rows >= 2 && rate(step) >= kRateWanted * best) return step.rows;
  }
  return 2;
}

void Scheduler::Run() {
  const auto wanted = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return shutdown_ || !waiting_.empty(); };
  while (true) {
    if (RunStep()) continue;
    const absl::MutexLock lock(&mu_);
    mu_.Await(absl::Condition(&wanted));
    if (shutdown_ && waiting_.empty()) return;
  }
}

bool Scheduler::RunStep() {
  const SteadyTime now = now_();
  const std::vector<std::shared_ptr<Request>> dropped = TakeDropped(now);
  Choose(now);
  for (const std::shared_ptr<Request>& request : dropped) Conclude(*request, request->drop->status);
  if (chosen_ == 0) return !dropped.empty();
  const absl::Status status = StepChosen();
  if (status.ok()) {
    AdvanceChosen();
  } else {
    for (size_t i = 0; i < chosen_; ++i) active_[i].request->drop = Drop{DropReason::kEngineError, status};
  }
  return true;
}

// Decides whether a request is over before its time.
void Scheduler::Judge(Request& request, SteadyTime now, bool shutdown) const {
  if (request.drop.has_value()) return;
  if (request.cancelled) {
    request.drop = Drop{DropReason::kCancelled, absl::CancelledError("the client left")};
  } else if (request.draw.deadline <= now) {
    request.drop = Drop{DropReason::kDeadline,
                        absl::DeadlineExceededError(absl::StrFormat("the deadline passed after %d of %d images",
                                                                    request.finished, request.draw.count))};
  } else if (shutdown) {
    request.drop = Drop{DropReason::kDraining, DrainingStatus()};
  }
}

// Takes what is over out of the queue and out of its slots; each request once.
std::vector<std::shared_ptr<Scheduler::Request>> Scheduler::TakeDropped(SteadyTime now) {
  std::vector<std::shared_ptr<Request>> dropped;
  const absl::MutexLock lock(&mu_);
  std::erase_if(waiting_, [&](const std::shared_ptr<Request>& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    Judge(*request, now, shutdown_);
    if (request->drop.has_value()) dropped.push_back(request);
    return request->drop.has_value();
  });
  std::erase_if(active_, [&](const ActiveImage& image) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    const std::shared_ptr<Request>& request = image.request;
    Judge(*request, now, shutdown_);
    if (!request->drop.has_value()) return false;
    slots_.Release(image.slot);
    if (observer_ != nullptr && image.step > 0) {
      observer_->OnWasted(request->drop->reason, static_cast<uint64_t>(image.step));
    }
    if (std::find(dropped.begin(), dropped.end(), request) == dropped.end()) dropped.push_back(request);
    return true;
  });
  came_or_went_ = came_or_went_ || !dropped.empty();
  return dropped;
}

// The waiting image with the earliest turn.
std::optional<Scheduler::NextImage> Scheduler::NextWaiting() const {
  std::optional<NextImage> best;
  for (size_t i = 0; i < waiting_.size(); ++i) {
    const Turn turn = waiting_[i]->turns.Waiting(waiting_[i]->started, step_rows_);
    if (!best.has_value() || turn < best->turn) best = {.turn = turn, .request = i};
  }
  return best;
}

// Puts the images with the earliest turns first in active_, waiting ones that it begins among them, as many as a step
// has rows for.
void Scheduler::Choose(SteadyTime now) {
  const absl::MutexLock lock(&mu_);
  // With each step the turns of those chosen come nearer, so that they stay chosen until somebody comes or goes.
  if (!std::exchange(came_or_went_, false)) return;
  std::stable_sort(active_.begin(), active_.end(),
                   [](const ActiveImage& a, const ActiveImage& b) { return a.turn() < b.turn(); });
  int rows = 0;
  for (chosen_ = 0;; ++chosen_) {
    const std::optional<NextImage> next = slots_.free() > 0 ? NextWaiting() : std::nullopt;
    const bool any_left = chosen_ < active_.size();
    if (!next.has_value() && !any_left) return;
    const bool begin = next.has_value() && (!any_left || next->turn < active_[chosen_].turn());
    rows += (begin ? waiting_[next->request] : active_[chosen_].request)->rows_per_image();
    if (rows > step_rows_) return;
    if (begin) active_.insert(active_.begin() + static_cast<ptrdiff_t>(chosen_), Begin(next->request, now));
  }
}

// The next image of a waiting request, in a slot.
Scheduler::ActiveImage Scheduler::Begin(size_t waiting, SteadyTime now) {
  const std::shared_ptr<Request> request = waiting_[waiting];
  ActiveImage image = {.request = request, .image_index = request->started, .slot = *slots_.Acquire(), .started = now};
  if (++request->started == request->draw.count) waiting_.erase(waiting_.begin() + static_cast<ptrdiff_t>(waiting));
  if (observer_ != nullptr) observer_->OnImageStarted(now - request->submitted);
  return image;
}

absl::Status Scheduler::StepChosen() {
  std::vector<StepRow> rows;
  rows.reserve(chosen_);
  for (size_t i = 0; i < chosen_; ++i) {
    const ActiveImage& image = active_[i];
    const DrawRequest& draw = image.request->draw;
    rows.push_back({.slot = image.slot.index,
                    .plan = draw.plan.get(),
                    .step = image.step,
                    .label = draw.label,
                    .guidance_scale = draw.guidance_scale,
                    .seed = draw.seed,
                    .image_index = image.image_index});
  }
  const int network_rows = ChosenRows();
  const double network_before = engine_.network_seconds();
  const SteadyTime start = now_();
  DENOISED_RETURN_IF_ERROR(engine_.Step(rows));
  const std::chrono::nanoseconds duration = now_() - start;
  if (observer_ != nullptr) {
    observer_->OnStep(network_rows, engine_.ComputedRows(network_rows) - network_rows, duration,
                      Nanoseconds(engine_.network_seconds() - network_before));
  }
  const absl::MutexLock lock(&mu_);
  step_times_.Record(network_rows, duration);
  return absl::OkStatus();
}

void Scheduler::AdvanceChosen() {
  const SteadyTime now = now_();
  for (size_t i = 0; i < chosen_; ++i) active_[i].finished = HandOut(active_[i], now);
  std::vector<std::shared_ptr<Request>> done;
  {
    const absl::MutexLock lock(&mu_);
    for (size_t i = 0; i < chosen_; ++i) ++active_[i].step;
    std::erase_if(active_, [&](ActiveImage& image) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
      if (!image.finished) return false;
      came_or_went_ = true;
      slots_.Release(image.slot);
      if (++image.request->finished == image.request->draw.count) done.push_back(image.request);
      return true;
    });
  }
  for (const std::shared_ptr<Request>& request : done) Conclude(*request, absl::OkStatus());
}

// Gives the listener what this image has to show after the step that has just been run. Returns whether the image is
// finished.
bool Scheduler::HandOut(const ActiveImage& image, SteadyTime now) {
  Request& request = *image.request;
  if (request.drop.has_value()) return false;
  const uint32_t step = static_cast<uint32_t>(image.step) + 1;
  const uint32_t total_steps = static_cast<uint32_t>(request.steps());
  const auto read = [&](FrameKind kind, ModelPixels& pixels) {
    const absl::Status status = engine_.Read(image.slot.index, kind, absl::MakeSpan(pixels));
    if (!status.ok()) request.drop = Drop{DropReason::kEngineError, status};
    return status.ok();
  };
  if (request.draw.preview_every > 0 && step % request.draw.preview_every == 0) {
    PreviewFrame frame{.image_index = image.image_index, .step = step, .total_steps = total_steps};
    if (!read(request.draw.preview_kind, frame.pixels)) return false;
    request.listener->OnPreview(frame);
  }
  if (step < total_steps) return false;
  FinishedImage finished{.image_index = image.image_index,
                         .queue_duration = image.started - request.submitted,
                         .denoise_duration = now - image.started};
  if (!read(FrameKind::kNoisy, finished.pixels)) return false;
  if (observer_ != nullptr) observer_->OnImageFinished(request.draw.sampler, finished.denoise_duration);
  request.listener->OnImage(finished);
  return true;
}

void Scheduler::Conclude(Request& request, const absl::Status& status) {
  request.listener->OnDone(status);
  const absl::MutexLock lock(&mu_);
  --unfinished_requests_;
}

int Scheduler::ChosenRows() const {
  int rows = 0;
  for (size_t i = 0; i < chosen_; ++i) rows += active_[i].request->rows_per_image();
  return rows;
}

}  // namespace denoised
