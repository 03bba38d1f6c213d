#include "server/scheduler.h"

#include <algorithm>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/status_macros.h"

namespace denoised {
namespace {

constexpr char kRetryAfterPayload[] = "denoised/retry_after_nanoseconds";

// A deadline is called impossible only below this share of the estimate: a machine may speed up, and others may leave.
constexpr double kDeadlineTolerance = 0.5;

// Nobody is told to come back sooner, as when images are finished but not read yet, which can be over at any moment.
constexpr std::chrono::milliseconds kMinRetryAfter(100);

double Seconds(std::chrono::nanoseconds duration) { return std::chrono::duration<double>(duration).count(); }

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
      slots_(engine.num_slots()),
      step_times_(options.max_batch_rows) {}

Scheduler::~Scheduler() = default;

absl::StatusOr<Admission> Scheduler::Submit(const DrawRequest& wanted, std::shared_ptr<DrawListener> listener) {
  auto request = std::make_shared<Request>(wanted, std::move(listener), now_());
  const absl::MutexLock lock(&mu_);
  DENOISED_RETURN_IF_ERROR(CheckAdmission(*request));
  ScheduleForecast forecast = Forecast();
  const int number = forecast.AddWaiting(request->image_cost(), wanted.count);
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
  ScheduleForecast forecast(options_.max_batch_rows, step_times_);
  for (const std::shared_ptr<Request>& request : waiting_) {
    if (request->cancelled) continue;
    request->forecast_number = forecast.AddWaiting(request->image_cost(), request->waiting());
  }
  for (const ActiveImage& image : active_) {
    const Request& request = *image.request;
    if (request.cancelled) continue;
    forecast.AddActive({.rows = request.rows_per_image(), .steps = request.steps() - image.step},
                       request.waiting() > 0 ? request.forecast_number : ScheduleForecast::kNoneWaiting);
  }
  return forecast;
}

std::chrono::nanoseconds Scheduler::DurationAlone(const Request& request) const {
  ScheduleForecast forecast(options_.max_batch_rows, step_times_);
  return forecast.Follow(forecast.AddWaiting(request.image_cost(), request.draw.count)).duration;
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
  constexpr int kRepeats = 3;
  const StepPlan plan = {StepCoefficients{}};
  for (const int rows : {1, options_.max_batch_rows}) {
    std::vector<StepRow> batch;
    for (int slot = 0; slot < rows; ++slot) batch.push_back({.slot = slot, .plan = &plan});
    for (int i = 0; i < kRepeats; ++i) {
      const SteadyTime start = now_();
      DENOISED_RETURN_IF_ERROR(engine_.Step(batch));
      const absl::MutexLock lock(&mu_);
      step_times_.Record(rows, now_() - start);
    }
  }
  return absl::OkStatus();
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
  Admit(now);
  for (const std::shared_ptr<Request>& request : dropped) Conclude(*request, request->drop->status);
  if (active_.empty()) return !dropped.empty();
  const absl::Status status = StepActive();
  if (status.ok()) {
    AdvanceActive();
  } else {
    for (const ActiveImage& image : active_) image.request->drop = Drop{DropReason::kEngineError, status};
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
  return dropped;
}

// The waiting request with the fewest images in the making; among equals the oldest.
size_t Scheduler::NextWaiting() const {
  size_t best = 0;
  for (size_t i = 1; i < waiting_.size(); ++i) {
    if (waiting_[i]->denoising < waiting_[best]->denoising) best = i;
  }
  return best;
}

void Scheduler::Admit(SteadyTime now) {
  const absl::MutexLock lock(&mu_);
  int rows = ActiveRows();
  while (!waiting_.empty()) {
    const size_t next = NextWaiting();
    const std::shared_ptr<Request> request = waiting_[next];
    if (rows + request->rows_per_image() > options_.max_batch_rows) break;
    const std::optional<SlotHandle> slot = slots_.Acquire();
    if (!slot.has_value()) break;
    rows += request->rows_per_image();
    active_.push_back({.request = request, .image_index = request->started, .slot = *slot, .started = now});
    ++request->denoising;
    if (++request->started == request->draw.count) waiting_.erase(waiting_.begin() + static_cast<ptrdiff_t>(next));
    if (observer_ != nullptr) observer_->OnImageStarted(now - request->submitted);
  }
}

absl::Status Scheduler::StepActive() {
  std::vector<StepRow> rows;
  rows.reserve(active_.size());
  for (const ActiveImage& image : active_) {
    const DrawRequest& draw = image.request->draw;
    rows.push_back({.slot = image.slot.index,
                    .plan = draw.plan.get(),
                    .step = image.step,
                    .label = draw.label,
                    .guidance_scale = draw.guidance_scale,
                    .seed = draw.seed,
                    .image_index = image.image_index});
  }
  const int network_rows = ActiveRows();
  const double network_before = engine_.network_seconds();
  const SteadyTime start = now_();
  DENOISED_RETURN_IF_ERROR(engine_.Step(rows));
  const std::chrono::nanoseconds duration = now_() - start;
  if (observer_ != nullptr) {
    const std::chrono::duration<double> network(engine_.network_seconds() - network_before);
    observer_->OnStep(network_rows, engine_.ComputedRows(network_rows) - network_rows, duration,
                      std::chrono::duration_cast<std::chrono::nanoseconds>(network));
  }
  const absl::MutexLock lock(&mu_);
  step_times_.Record(network_rows, duration);
  return absl::OkStatus();
}

void Scheduler::AdvanceActive() {
  const SteadyTime now = now_();
  for (ActiveImage& image : active_) image.finished = HandOut(image, now);
  std::vector<std::shared_ptr<Request>> done;
  {
    const absl::MutexLock lock(&mu_);
    std::erase_if(active_, [&](ActiveImage& image) {
      ++image.step;
      if (!image.finished) return false;
      slots_.Release(image.slot);
      --image.request->denoising;
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

int Scheduler::ActiveRows() const {
  int rows = 0;
  for (const ActiveImage& image : active_) rows += image.request->rows_per_image();
  return rows;
}

}  // namespace denoised
