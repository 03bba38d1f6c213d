#include "server/scheduler/scheduler.h"

#include <algorithm>
#include <limits>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "common/support/caught.h"
#include "common/support/clock.h"
#include "common/support/counted.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

constexpr char kRetryAfterPayload[] = "denoised/retry_after_nanoseconds";

// A deadline is called impossible only below this share of the estimate: a machine may speed up, and others may leave.
constexpr double kDeadlineTolerance = 0.5;

// Nobody is told to come back sooner, as when images are finished but not read yet, which can be over at any moment.
constexpr std::chrono::nanoseconds kMinRetryAfter = std::chrono::milliseconds(100);
// Where what is in the way is another scheduler's.
constexpr std::chrono::nanoseconds kMinRetryAfterElsewhere = std::chrono::seconds(1);

// A step's time where none has been measured yet, and what the shortest count as.
constexpr std::chrono::microseconds kMinStepTime(1);

// Without work for so long, times that are doubtful are measured again; if they stay so, after twice as long, and so
// on.
constexpr std::chrono::seconds kPause(10), kLongestPause(640);

// A queue of so many images at most is played forward, at a tenth of a microsecond each.
constexpr int64_t kMostPlayed = 128;

// The step that engines are tried by: its image is the network's output for noise, so that it shows what that is made
// of.
const StepPlan& TrialPlan() {
  constexpr float kAny = std::numeric_limits<float>::infinity();
  static const auto* const plan = new StepPlan{{.q = 1, .lo = -kAny, .hi = kAny, .b = 1}};
  return *plan;
}

// What an engine has thrown goes on like this.
constexpr char kEngineFailed[] = "the engine failed";

absl::Status DrainingStatus() { return absl::UnavailableError("the server is shutting down; try another replica"); }

}  // namespace

const char* DropReasonName(DropReason reason) {
  switch (reason) {
    case DropReason::kQueueFull:
      return "queue_full";
    case DropReason::kClientFull:
      return "client_full";
    case DropReason::kDeadline:
      return "deadline";
    case DropReason::kDraining:
      return "draining";
    case DropReason::kCancelled:
      return "cancelled";
    case DropReason::kSlowReader:
      return "slow_reader";
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
  if (state_->request->places > 0) state_->scheduler->TakePlaces(*state_->request, -1);
}

void Ticket::Cancel(DropReason reason) {
  if (state_ == nullptr) return;
  const absl::MutexLock lock(&state_->scheduler->mu_);
  if (state_->request->over || state_->request->cancelled.has_value()) return;
  state_->request->cancelled = reason;
  state_->scheduler->Leave(state_->request);
}

void Ticket::Release() {
  if (state_ == nullptr) return;
  Cancel();
  {
    const absl::MutexLock lock(&state_->scheduler->mu_);
    state_->request->abandoned = true;
    state_->scheduler->ReturnPlaces(*state_->request);
  }
  state_.reset();
}

// ---- Scheduler, for all threads ----

Scheduler::Scheduler(Engine& engine, const SchedulerOptions& options, SchedulerObserver* observer, ClockFunction now)
    : engine_(engine),
      options_(options),
      observer_(observer),
      now_(std::move(now)),
      taken_places_(options.taken_places != nullptr ? options.taken_places : std::make_shared<TakenPlaces>()),
      measurement_(options.max_batch_rows),
      step_rows_(options.max_batch_rows),
      active_(engine.num_slots()),
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
  const ScheduleForecast::Outlook outlook = OutlookFor(*request);
  if (ImagesHere() > 0) {
    DENOISED_RETURN_IF_ERROR(CheckDeadline(*request, outlook.duration,
                                           "behind the requests that came before; allow more time, ask for fewer "
                                           "steps or images, or try again later"));
  }
  auto ticket = std::make_unique<Ticket::State>();
  ticket->scheduler = this;
  ticket->request = request;
  TakePlaces(*request, wanted.count);
  ++unfinished_requests_;
  Enqueue(request);
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
  if (request.draw.count > max_images_of_a_client()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%d images are more than the %d that one client may have here; ask for fewer",
                        request.draw.count, max_images_of_a_client()));
  }
  if (request.draw.deadline <= request.submitted) {
    return Reject(DropReason::kDeadline, absl::DeadlineExceededError("the deadline has passed already"));
  }
  DENOISED_RETURN_IF_ERROR(CheckDeadline(request, LeastTimeFor(request),
                                         "on an idle server; allow more time or ask for fewer steps or images"));
  DENOISED_RETURN_IF_ERROR(CheckPlaces(request));
  DENOISED_RETURN_IF_ERROR(CheckClient(request));
  return CheckSteps(request);
}

// `where`: in what circumstances the request takes this duration, and what to do.
absl::Status Scheduler::CheckDeadline(const Request& request, std::chrono::nanoseconds duration,
                                      const char* where) const {
  if (request.draw.deadline == SteadyTime::max()) return absl::OkStatus();
  const std::chrono::nanoseconds left = request.draw.deadline - request.submitted;
  if (Seconds(left) >= kDeadlineTolerance * Seconds(duration)) return absl::OkStatus();
  return Reject(DropReason::kDeadline, absl::DeadlineExceededError(absl::StrFormat(
                                           "the deadline cannot be met: %s left, and this request takes about %s %s",
                                           DurationText(left), DurationText(duration), where)));
}

absl::Status Scheduler::CheckPlaces(const Request& request) const {
  const int64_t taken = taken_places_->total(), elsewhere = taken - places_;
  if (taken + request.draw.count <= capacity()) return absl::OkStatus();
  // Places are free again once so many images are finished. Those finished already count as read, which they soon are.
  return QueueFull(
      DropReason::kQueueFull,
      absl::StrFormat("the queue is full: images that wait, are being drawn or have not been read yet take "
                      "%d of %d places, and this request needs %d",
                      taken, capacity(), request.draw.count),
      ImagesHere() + elsewhere + request.draw.count - capacity());
}

absl::Status Scheduler::CheckClient(const Request& request) const {
  const int64_t taken = taken_places_->of(request.draw.client);
  const int64_t most = options_.max_client_images;
  if (most == 0 || taken + request.draw.count <= most) return absl::OkStatus();
  return QueueFull(DropReason::kClientFull,
                   absl::StrFormat("this client has enough here: its images take %d of the %d places that one client "
                                   "may have, and this request needs %d; others still have room",
                                   taken, most, request.draw.count),
                   request.draw.count);
}

absl::Status Scheduler::CheckSteps(const Request& request) const {
  Work due = ChosenWork();
  due += paused_.total();
  due += waiting_.total();
  const int64_t most = options_.max_queued_steps;
  const int64_t wanted = request.WorkOf(request.draw.count).row_steps;
  // One request may be more than that, if it comes to an idle server.
  if (most == 0 || due.row_steps == 0 || due.row_steps + wanted <= most) return absl::OkStatus();
  const int64_t too_many = due.row_steps + wanted - most;
  return QueueFull(DropReason::kQueueFull,
                   absl::StrFormat("too much is due: %d of at most %d denoising steps, and this request needs %d, of "
                                   "which guided ones count twice",
                                   due.row_steps, most, wanted),
                   (due.images * std::min(too_many, due.row_steps) + due.row_steps - 1) / due.row_steps);
}

// With the time after which so many images are finished. Those of another scheduler, where so many are not here, are
// not forecast.
absl::Status Scheduler::QueueFull(DropReason reason, const std::string& what, int64_t images_too_many) const {
  const int64_t images = std::clamp<int64_t>(images_too_many, 0, ImagesHere());
  const std::chrono::nanoseconds least = images < images_too_many ? kMinRetryAfterElsewhere : kMinRetryAfter;
  const std::chrono::nanoseconds wait = std::max(UntilFinished(images), least);
  absl::Status status =
      absl::ResourceExhaustedError(absl::StrFormat("%s; try again in about %s", what, DurationText(wait)));
  SetRetryAfter(status, wait);
  return Reject(reason, std::move(status));
}

absl::Status Scheduler::Reject(DropReason reason, absl::Status status) const {
  if (observer_ != nullptr) observer_->OnRejected(reason);
  return status;
}

std::vector<Scheduler::Round> Scheduler::RoundsOf(const Request& request) const {
  const Turns& turns = request.turns;
  std::vector<Round> rounds;
  for (int64_t first = request.started, end = first; first < request.draw.count; first = end) {
    while (end < request.draw.count && turns.Round(end, step_rows_) == turns.Round(first, step_rows_)) ++end;
    rounds.push_back({.turn = turns.Waiting(first, step_rows_), .images = end - first});
  }
  return rounds;
}

void Scheduler::Enqueue(const std::shared_ptr<Request>& request) {
  const Turns& turns = request->turns;
  live_.emplace(turns.request, request);
  queued_.emplace(turns.request, request.get());
  if (request->draw.deadline != SteadyTime::max()) {
    request->judged = HopelessFrom(*request);
    deadlines_.emplace(request->judged, turns.request);
  }
  request->flow = order_.Enter(request->draw.client, request->draw.priority, request->WorkOf(request->draw.count));
  for (const auto& [turn, images] : RoundsOf(*request)) {
    waiting_.Add(turn, request.get(), request->WorkOf(images));
    FairOrder::Entry round = request->EntryOf(turn, request->steps());
    round.images = images;
    order_.AddWaiting(request->flow, round);
  }
  came_or_went_ = true;
}

// Takes out what a request has in the queue.
void Scheduler::StopWaiting(Request& request) {
  if (request.leaving || queued_.erase(request.turns.request) == 0) return;
  for (const auto& [turn, images] : RoundsOf(request)) {
    waiting_.Take(turn, request.WorkOf(images));
    order_.TakeWaiting(request.flow, turn, images);
  }
}

// Before its time: the loop drops it at the next step.
void Scheduler::Leave(const std::shared_ptr<Request>& request) {
  if (request->leaving || request->over) return;
  StopWaiting(*request);
  request->leaving = true;
  leaving_.push_back(request);
  leaving_images_ += request->started - request->finished;
}

void Scheduler::Close(Request& request) {
  request.over = true;
  deadlines_.erase({request.judged, request.turns.request});
  live_.erase(request.turns.request);
  ReturnPlaces(request);
}

// Those of a request that is over, when nobody is left to give them back.
void Scheduler::ReturnPlaces(Request& request) {
  if (request.over && request.abandoned) TakePlaces(request, -request.places);
}

// Or gives them back, if there are fewer than none.
void Scheduler::TakePlaces(Request& request, int64_t places) {
  request.places += places;
  places_ += places;
  taken_places_->Take(request.draw.client, places);
}

// ---- Forecasts ----

// Those that wait or are being drawn, but for those who are leaving.
int64_t Scheduler::ImagesHere() const {
  return waiting_.total().images + paused_.total().images + static_cast<int64_t>(chosen_.size()) - leaving_images_;
}

Work Scheduler::ChosenWork() const {
  Work work;
  for (const ActiveImage* image : chosen_) work += image->WorkLeft();
  return work;
}

// Of full steps.
std::chrono::nanoseconds Scheduler::TimeFor(int64_t row_steps) const {
  return Nanoseconds(Seconds(step_times_.Estimate(step_rows_)) / step_rows_ * static_cast<double>(row_steps));
}

// What is here already, but for those who are leaving.
ScheduleForecast Scheduler::Forecast() const {
  ScheduleForecast forecast(step_rows_, step_times_);
  const auto add = [&forecast](const ActiveImage& image) {
    const Request& request = *image.request;
    if (!request.leaving) forecast.AddBegun(request.turns, request.steps() - image.step);
  };
  for (const auto& [number, request] : queued_) {
    forecast.AddWaiting(request->turns, request->started, request->waiting());
  }
  for (const ActiveImage* image : chosen_) add(*image);
  paused_.ForEach([&add](const auto& entry) { add(*entry.item); });
  return forecast;
}

// With one client here the turns decide; with several, a client has what is its share even if others have waited
// longer, and batch work comes last.
ScheduleForecast::Outlook Scheduler::OutlookFor(const Request& request) const {
  ScheduleForecast::Outlook outlook = OutlookByTurns(request);
  const DrawRequest& draw = request.draw;
  Work work = request.WorkOf(draw.count);
  const std::optional<int64_t> fair = order_.RowStepsUntil(draw.client, draw.priority, work.row_steps);
  if (!fair.has_value()) return outlook;
  if (draw.priority == Priority::kBatch) {
    work += ChosenWork();
    work += paused_.total();
    work += waiting_.total();
    return {.images_ahead = waiting_.total().images,
            .duration = std::max(TimeFor(work.row_steps), DurationAlone(request))};
  }
  const std::chrono::nanoseconds shared = std::max(TimeFor(*fair), DurationAlone(request));
  if (shared < outlook.duration) {
    outlook.images_ahead = outlook.images_ahead * shared.count() / outlook.duration.count();
    outlook.duration = shared;
  }
  return outlook;
}

ScheduleForecast::Outlook Scheduler::OutlookByTurns(const Request& request) const {
  const int64_t count = request.draw.count;
  if (ImagesHere() + count <= kMostPlayed) {
    ScheduleForecast forecast = Forecast();
    return forecast.Follow(forecast.AddWaiting(request.turns, 0, count));
  }
  const Turn last = request.turns.Waiting(count - 1, step_rows_);
  Work work = request.WorkOf(count);
  work += ChosenWork();
  work += paused_.Before(last);
  work += waiting_.Before(last);
  return {.images_ahead = waiting_.Before(request.turns.Waiting(0, step_rows_)).images,
          .duration = std::max(TimeFor(work.row_steps), DurationAlone(request))};
}

// Until so many of those that wait or are being drawn are finished.
std::chrono::nanoseconds Scheduler::UntilFinished(int64_t images) const {
  if (ImagesHere() <= kMostPlayed) return Forecast().UntilFinished(images);
  Work begun = ChosenWork();
  begun += paused_.total();
  if (images == 0) return std::chrono::nanoseconds::zero();
  if (images <= begun.images) return TimeFor(begun.row_steps * images / begun.images);
  return TimeFor(begun.row_steps + waiting_.RowStepsOfFirst(images - begun.images));
}

std::chrono::nanoseconds Scheduler::UntilIdle() const {
  const absl::MutexLock lock(&mu_);
  return UntilFinished(ImagesHere());
}

std::chrono::nanoseconds Scheduler::DurationOfFullQueue(int steps) const {
  const absl::MutexLock lock(&mu_);
  return TimeFor(capacity() * steps);
}

// All of its images take equally many steps, so that they come in rounds.
std::chrono::nanoseconds Scheduler::DurationAlone(const Request& request) const {
  const int rows = request.rows_per_image();
  const int64_t at_once = step_rows_ / rows;
  const int64_t left = request.draw.count % at_once;
  std::chrono::nanoseconds steps =
      step_times_.Estimate(static_cast<int>(at_once) * rows) * (request.draw.count / at_once);
  if (left > 0) steps += step_times_.Estimate(static_cast<int>(left) * rows);
  return steps * request.steps();
}

// What is left of a request takes at least so long, if steps are as short as they have ever been and nobody else is
// here.
std::chrono::nanoseconds Scheduler::LeastTimeFor(const Request& request) const {
  const int rows = request.rows_per_image();
  int64_t steps = 0;
  for (const int slot : request.slots) {
    steps = std::max<int64_t>(steps, request.steps() - active_[static_cast<size_t>(slot)].step);
  }
  if (request.waiting() > 0) {
    const int64_t at_once = step_rows_ / rows;
    steps = std::max(steps, (request.waiting() + at_once - 1) / at_once * request.steps());
  }
  return step_times_.Least(rows) * steps;
}

// From then on the deadline cannot be met, whatever happens.
SteadyTime Scheduler::HopelessFrom(const Request& request) const {
  return request.draw.deadline - Nanoseconds(kDeadlineTolerance * Seconds(LeastTimeFor(request)));
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
  shutdown_ = Drop{DropReason::kDraining, DrainingStatus()};
}

void Scheduler::GiveUp(const absl::Status& status) {
  const absl::MutexLock lock(&mu_);
  admitting_ = false;
  shutdown_ = Drop{DropReason::kEngineError, status};
}

SchedulerStats Scheduler::stats() const {
  const SteadyTime now = now_();
  const absl::MutexLock lock(&mu_);
  const int64_t waiting = waiting_.total().images;
  SchedulerStats stats{.waiting_images = static_cast<int>(waiting),
                       .denoising_images = static_cast<int>(paused_.total().images) + static_cast<int>(chosen_.size()),
                       .steps = steps_,
                       .failed_steps = lost_steps_,
                       .step_rows = step_rows_};
  if (!queued_.empty()) stats.oldest_wait = now - queued_.begin()->second->submitted;
  return stats;
}

Heartbeat Scheduler::heartbeat() const { return {.beats = beats_, .working = working_, .failed_steps = failed_steps_}; }

bool Scheduler::Abandon(const absl::Status& status) {
  EngineUse use = EngineUse::kInStep;
  if (!engine_use_.compare_exchange_strong(use, EngineUse::kAbandoned)) return false;
  std::vector<std::shared_ptr<Request>> ended;
  {
    const absl::MutexLock lock(&mu_);
    admitting_ = false;
    shutdown_ = Drop{DropReason::kEngineError, status};
    for (const ActiveImage& image : active_) {
      if (observer_ == nullptr || image.request == nullptr || image.step == 0) continue;
      observer_->OnWasted(DropReason::kEngineError, image.RowStepsDone());
    }
    for (const auto& [number, request] : live_) ended.push_back(request);
    for (const std::shared_ptr<Request>& request : ended) {
      StopWaiting(*request);
      Close(*request);
    }
  }
  for (const std::shared_ptr<Request>& request : ended) Conclude(*request, status);
  return true;
}

// ---- Scheduler, on its own thread ----

absl::Status Scheduler::Calibrate() {
  DENOISED_RETURN_IF_ERROR(measurement_.Run([this](absl::Span<const StepRow> rows) { return CallEngine(rows, 1); },
                                            now_, [] { return false; }));
  DENOISED_RETURN_IF_ERROR(TryEngine(0));
  const absl::MutexLock lock(&mu_);
  TakeMeasurement();
  return absl::OkStatus();
}

absl::Status Scheduler::CalibrateLike(const Scheduler& other) {
  DENOISED_RETURN_IF_ERROR(TryEngine(0));
  const StepMeasurement measured = other.measurement();
  const absl::MutexLock lock(&mu_);
  measurement_ = measured;
  TakeMeasurement();
  return absl::OkStatus();
}

StepMeasurement Scheduler::measurement() const {
  const absl::MutexLock lock(&mu_);
  return measurement_;
}

void Scheduler::TakeMeasurement() {
  step_rows_ = measurement_.WideEnough();
  step_times_ = StepTimeModel(options_.max_batch_rows);
  measurement_.Teach(step_times_);
  outdated_ = false;
}

bool Scheduler::OughtToMeasureAgain() const {
  const absl::MutexLock lock(&mu_);
  return outdated_ || !measurement_.steady() || measurement_.IsContradictedBy(step_times_);
}

bool Scheduler::HasToGiveWay() const {
  if (options_.another_at_work != nullptr && *options_.another_at_work) return true;
  const absl::MutexLock lock(&mu_);
  return shutdown_.has_value() || !live_.empty();
}

// Whether it was let.
bool Scheduler::LetEngineChooseAgain() {
  bool changed = false;
  const absl::Status status = InEngine([&] {
    changed = engine_.ChooseAgain([this] {
      ++beats_;
      return HasToGiveWay();
    });
    return absl::OkStatus();
  });
  const absl::MutexLock lock(&mu_);
  outdated_ |= changed;
  return status.ok();
}

// NOTE: turns in the queue rest on step_rows_, so it may change only while nobody is here.
bool Scheduler::MeasureAgain() {
  working_ = true;
  StepMeasurement measurement(options_.max_batch_rows);
  absl::Status status = absl::AbortedError("abandoned");
  if (LetEngineChooseAgain()) {
    status = measurement.Run([this](absl::Span<const StepRow> rows) { return CallEngine(rows, 1); }, now_,
                             [this] { return HasToGiveWay(); });
  }
  working_ = false;
  const absl::MutexLock lock(&mu_);
  if (!status.ok() || shutdown_.has_value() || !live_.empty()) return false;
  const bool better = measurement.steady() || measurement.spread() < measurement_.spread();
  if (!better && !outdated_ && !measurement_.IsContradictedBy(step_times_)) return false;
  measurement_ = std::move(measurement);
  TakeMeasurement();
  return true;
}

void Scheduler::Run() {
  do {
    working_ = true;
    while (RunStep()) {
    }
    working_ = false;
  } while (!abandoned() && AwaitWork());
}

// False once there will be none. Long pauses are for measuring what is doubtful, in longer and longer intervals.
bool Scheduler::AwaitWork() {
  const auto wanted = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return shutdown_.has_value() || !live_.empty(); };
  for (std::chrono::nanoseconds pause = kPause; !abandoned();
       pause = std::min<std::chrono::nanoseconds>(2 * pause, kLongestPause)) {
    const absl::Duration patience = OughtToMeasureAgain() ? absl::FromChrono(pause) : absl::InfiniteDuration();
    {
      const absl::MutexLock lock(&mu_);
      if (mu_.AwaitWithTimeout(absl::Condition(&wanted), patience)) return !shutdown_.has_value() || !live_.empty();
    }
    MeasureAgain();
  }
  return false;
}

bool Scheduler::RunStep() {
  ++beats_;
  std::vector<std::shared_ptr<Request>> leaving, dropped;  // may be the last to know a listener: freed without the lock
  {
    const absl::MutexLock lock(&mu_);
    const SteadyTime now = now_();  // NOTE: with the lock, so that no request here is younger
    leaving = Leaving(now);
    dropped = TakeDropped(leaving, now);
    Choose(now);
  }
  for (const std::shared_ptr<Request>& request : dropped) Conclude(*request, request->drop->status);
  if (chosen_.empty()) return !dropped.empty();
  StepChosen();
  if (abandoned()) return false;
  AdvanceChosen();
  JudgeEngine();
  return !abandoned();
}

// Why a request is over before its time.
std::optional<Scheduler::Drop> Scheduler::Judge(const Request& request, SteadyTime now) const {
  if (request.drop.has_value()) return request.drop;
  if (request.cancelled.has_value()) return Drop{*request.cancelled, absl::CancelledError("the client left")};
  if (request.draw.deadline <= now) {
    return Drop{DropReason::kDeadline,
                absl::DeadlineExceededError(absl::StrFormat("the deadline passed after %d of %s", request.finished,
                                                            Counted(request.draw.count, "image")))};
  }
  if (HopelessFrom(request) <= now) {
    return Drop{DropReason::kDeadline,
                absl::DeadlineExceededError(absl::StrFormat(
                    "the deadline can no longer be met: %s left, and after %d of %s the rest takes %s at best",
                    DurationText(request.draw.deadline - now), request.finished, Counted(request.draw.count, "image"),
                    DurationText(LeastTimeFor(request))))};
  }
  return shutdown_;
}

// Those that may be over: the cancelled and failed, those past their deadlines, or everybody.
std::vector<std::shared_ptr<Scheduler::Request>> Scheduler::Leaving(SteadyTime now) {
  std::vector<std::shared_ptr<Request>> leaving = std::exchange(leaving_, {});
  leaving_images_ = 0;
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    const std::shared_ptr<Request>& request = live_.at(deadlines_.begin()->second);
    deadlines_.erase(deadlines_.begin());
    request->judged = HopelessFrom(*request);  // later by the steps that it has taken meanwhile
    if (request->judged <= now) {
      leaving.push_back(request);
    } else {
      deadlines_.emplace(request->judged, request->turns.request);
    }
  }
  if (shutdown_.has_value()) {
    for (const auto& [number, request] : live_) leaving.push_back(request);
  }
  return leaving;
}

// Takes what is over out of the queue and out of its slots; each request once.
std::vector<std::shared_ptr<Scheduler::Request>> Scheduler::TakeDropped(
    const std::vector<std::shared_ptr<Request>>& leaving, SteadyTime now) {
  std::vector<std::shared_ptr<Request>> dropped;
  for (const std::shared_ptr<Request>& request : leaving) {
    if (request->over) continue;
    request->drop = Judge(*request, now);
    StopWaiting(*request);
    Close(*request);
    dropped.push_back(request);
  }
  for (const std::shared_ptr<Request>& request : dropped) {
    DropImages(*request);
    order_.Leave(request->flow, request->WorkOf(request->draw.count - request->finished));
  }
  std::erase_if(chosen_, [](const ActiveImage* image) { return image->request == nullptr; });
  came_or_went_ = came_or_went_ || !dropped.empty();
  return dropped;
}

// Frees the slots of a request that is over.
void Scheduler::DropImages(Request& request) {
  for (const int slot : std::exchange(request.slots, {})) {
    ActiveImage& image = active_[static_cast<size_t>(slot)];
    if (!image.in_step) paused_.Take(image.turn(), image.WorkLeft());
    if (observer_ != nullptr && image.step > 0) {
      observer_->OnWasted(request.drop->reason, image.RowStepsDone());
    }
    Free(image);
  }
}

void Scheduler::Free(ActiveImage& image) {
  std::erase(image.request->slots, image.slot.index);
  order_.TakeBegun(image.request->flow, image.slot.index);
  slots_.Release(image.slot);
  image.request.reset();
}

// The images whose turn it is, waiting ones that it begins among them, as many as a step has rows for.
void Scheduler::Choose(SteadyTime now) {
  // With each step the turns of those chosen come nearer, so that they stay chosen until somebody comes or goes.
  if (!std::exchange(came_or_went_, false)) return;
  const auto refresh = [this](FairOrder::Entry& entry) {
    const ActiveImage& image = active_[static_cast<size_t>(entry.slot)];
    entry.turn = image.turn();
    entry.patience = image.request->EntryOf(entry.turn, image.request->steps() - image.step).patience;
  };
  const std::vector<FairOrder::Pick> picks =
      order_.Deal(step_rows_, slots_.free(), Seconds(now.time_since_epoch()), refresh);
  const std::vector<ActiveImage*> before = std::exchange(chosen_, {});
  for (const FairOrder::Pick& pick : picks) {
    chosen_.push_back(pick.slot == FairOrder::kWaiting ? Begin(live_.at(pick.turn.request), now) : Resume(pick.slot));
  }
  for (ActiveImage* image : before) {
    if (std::exchange(image->in_step, false)) paused_.Add(image->turn(), image, image->WorkLeft());
  }
  for (ActiveImage* image : chosen_) image->in_step = true;
}

// An image that has begun, out of the step that was or out of a pause.
Scheduler::ActiveImage* Scheduler::Resume(int slot) {
  ActiveImage& image = active_[static_cast<size_t>(slot)];
  if (!std::exchange(image.in_step, false)) paused_.Take(image.turn(), image.WorkLeft());
  return &image;
}

// The next image of a waiting request, in a slot.
Scheduler::ActiveImage* Scheduler::Begin(const std::shared_ptr<Request>& request, SteadyTime now) {
  const SlotHandle slot = *slots_.Acquire();
  ActiveImage& image = active_[static_cast<size_t>(slot.index)];
  image = {.request = request, .image_index = request->started, .slot = slot, .started = now};
  request->slots.push_back(slot.index);
  const Turn round = request->turns.Waiting(request->started, step_rows_);
  waiting_.Take(round, request->WorkOf(1));
  FairOrder::Entry begun = request->EntryOf(image.turn(), request->steps());
  begun.slot = slot.index;
  order_.Begin(request->flow, round, begun);
  if (++request->started == request->draw.count) queued_.erase(request->turns.request);
  if (observer_ != nullptr) observer_->OnImageStarted(now - request->submitted);
  return &image;
}

void Scheduler::StepChosen() {
  rows_.clear();
  for (ActiveImage* image : chosen_) {
    const DrawRequest& draw = image->request->draw;
    image->advanced = 0;
    rows_.push_back({.slot = image->slot.index,
                     .plan = draw.plan.get(),
                     .step = image->step,
                     .label = draw.label,
                     .guidance_scale = draw.guidance_scale,
                     .seed = draw.seed,
                     .image_index = image->number()});
  }
  rows_saved_ = 0;
  failed_slot_.reset();
  unreadable_ = false;
  engine_works_.reset();
  steps_at_once_ = StepsAtOnce();
  const absl::Status status = StepRows(rows_);
  if (!status.ok() && !abandoned()) Salvage(rows_, status);
}

// Up to the next frame that somebody wants, or the end of a chain.
int Scheduler::StepsAtOnce() const {
  int steps = engine_.StepsAtOnce(NetworkRows(rows_));
  for (const ActiveImage* image : chosen_) {
    steps = std::min(steps, image->request->steps() - image->step);
    const auto every = static_cast<int>(image->request->draw.preview_every);
    if (every > 0) steps = std::min(steps, every - image->step % every);
  }
  return std::max(steps, 1);
}

absl::Status Scheduler::InEngine(absl::FunctionRef<absl::Status()> use_engine) {
  engine_use_ = EngineUse::kInStep;
  ++beats_;
  const absl::Status status = Caught(kEngineFailed, use_engine);
  EngineUse use = EngineUse::kInStep;
  if (!engine_use_.compare_exchange_strong(use, EngineUse::kNone)) return absl::AbortedError("abandoned");
  return status;
}

absl::Status Scheduler::CallEngine(absl::Span<const StepRow> rows, int steps) {
  return InEngine([&] { return steps == 1 ? engine_.Step(rows) : engine_.Steps(rows, steps); });
}

// Whether the engine makes the step that it was started with, in a slot whose content nobody needs.
absl::Status Scheduler::TryEngine(int slot) {
  DENOISED_RETURN_IF_ERROR(CallEngine({{.slot = slot, .plan = &TrialPlan()}}, 1));
  if (!engine_.Finite(slot)) return absl::InternalError("the network's output is not made of finite numbers");
  ModelPixels pixels{};
  return ReadEngine(slot, FrameKind::kNoisy, pixels);
}

absl::Status Scheduler::ReadEngine(int slot, FrameKind kind, ModelPixels& pixels) {
  return Caught(kEngineFailed, [&] { return engine_.Read(slot, kind, absl::MakeSpan(pixels)); });
}

// Tried once in a pass.
bool Scheduler::EngineWorks(int slot) {
  if (!engine_works_.has_value()) engine_works_ = TryEngine(slot).ok();
  return *engine_works_;
}

// After a pass by which nobody came further, the engine is tried: if it works, it was the rows. If it does not, it is
// tried after each pass until it does, as it may only seem to make steps.
void Scheduler::JudgeEngine() {
  if (rows_saved_ > 0 && !unreadable_ && failed_steps_ == 0) return;
  std::optional<int> slot = failed_slot_;
  if (!slot.has_value() && slots_.free() > 0) {
    const SlotHandle spare = *slots_.Acquire();
    slot = spare.index;
    slots_.Release(spare);
  }
  if (!slot.has_value()) return;
  const bool works = EngineWorks(*slot);
  if (abandoned()) return;
  failed_steps_ = works ? 0 : failed_steps_ + 1;
  if (works) return;
  const absl::MutexLock lock(&mu_);
  ++lost_steps_;
}

// steps_at_once_ steps of these, with all that is to be known of each.
absl::Status Scheduler::StepRows(absl::Span<const StepRow> rows) {
  const int network_rows = NetworkRows(rows);
  const double network_before = engine_.network_seconds();
  const SteadyTime start = now_();
  DENOISED_RETURN_IF_ERROR(CallEngine(rows, steps_at_once_));
  const std::chrono::nanoseconds duration = (now_() - start) / steps_at_once_;
  const std::chrono::nanoseconds network = Nanoseconds(engine_.network_seconds() - network_before) / steps_at_once_;
  for (const StepRow& row : rows) OnAdvanced(row);
  for (int step = 0; observer_ != nullptr && step < steps_at_once_; ++step) {
    observer_->OnStep(network_rows, engine_.ComputedRows(network_rows) - network_rows, duration, network);
  }
  const absl::MutexLock lock(&mu_);
  step_times_.Record(network_rows, duration);
  if (rows_saved_ > 0) steps_ += steps_at_once_;
  return absl::OkStatus();
}

// After a step that failed: tries its rows again by halves, so that those at fault fail alone. If the first ones fail,
// and the engine does not work, the others are not tried.
void Scheduler::Salvage(absl::Span<const StepRow> rows, const absl::Status& error) {
  std::vector<StepRow> again;
  for (const StepRow& row : rows) {
    const int done = engine_.StepsDone(row.slot);
    if (done == row.step + steps_at_once_) {
      OnAdvanced(row);
    } else if (done == row.step && rows.size() > 1) {
      again.push_back(row);
    } else {
      FailImage(row.slot, error);
    }
  }
  if (again.empty()) return;
  const bool hopeless = failed_slot_.has_value() && rows_saved_ == 0 && !EngineWorks(*failed_slot_);
  if (abandoned()) return;
  if (hopeless) {
    for (const StepRow& row : again) FailImage(row.slot, error);
    return;
  }
  const absl::Span<const StepRow> left(again);
  const size_t half = (left.size() + 1) / 2;
  for (const absl::Span<const StepRow> part : {left.subspan(0, half), left.subspan(half)}) {
    if (part.empty()) continue;
    const absl::Status status = StepRows(part);
    if (abandoned()) return;
    if (!status.ok()) Salvage(part, status);
  }
}

void Scheduler::OnAdvanced(const StepRow& row) {
  ActiveImage& image = active_[static_cast<size_t>(row.slot)];
  image.advanced = steps_at_once_;
  if (engine_.Finite(row.slot)) {
    ++rows_saved_;
    return;
  }
  FailImage(row.slot, absl::InternalError(
                          absl::StrFormat("image %d is not made of finite numbers after step %d of %d; try another "
                                          "seed, or a lower guidance_scale if it has one",
                                          row.image_index, row.step + steps_at_once_, row.plan->size())));
}

void Scheduler::FailImage(int slot, absl::Status status) {
  failed_slot_ = slot;
  active_[static_cast<size_t>(slot)].request->drop = Drop{DropReason::kEngineError, std::move(status)};
}

void Scheduler::AdvanceChosen() {
  const SteadyTime now = now_();
  FetchFrames();
  for (ActiveImage* image : chosen_) image->finished = image->advanced > 0 && HandOut(*image, now);
  std::vector<std::shared_ptr<Request>> done;
  {
    const absl::MutexLock lock(&mu_);
    for (const ActiveImage* image : chosen_) {
      if (image->advanced > 0) {
        order_.Charge(image->request->flow, image->advanced * image->request->rows_per_image());
      }
    }
    came_or_went_ = order_.EndStep() || came_or_went_;
    std::erase_if(chosen_, [&](ActiveImage* image) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
      image->step += image->advanced;
      const std::shared_ptr<Request> request = image->request;
      if (request->drop.has_value()) Leave(request);
      if (!image->finished) return false;
      came_or_went_ = true;
      Free(*image);
      order_.Leave(request->flow, request->WorkOf(1));
      if (request->leaving) --leaving_images_;
      if (++request->finished == request->draw.count) {
        Close(*request);
        done.push_back(request);
      }
      return true;
    });
  }
  for (const std::shared_ptr<Request>& request : done) Conclude(*request, absl::OkStatus());
}

// Tells the engine what will be read after this step.
void Scheduler::FetchFrames() {
  wanted_.clear();
  for (ActiveImage* image : chosen_) {
    Request& request = *image->request;
    if (image->advanced == 0 || request.drop.has_value()) continue;
    const int step = image->step + image->advanced;
    const auto every = static_cast<int>(request.draw.preview_every);
    image->preview_wanted = every > 0 && step % every == 0 && request.listener->WantsPreview(image->number());
    if (image->preview_wanted) wanted_.push_back({image->slot.index, request.draw.preview_kind});
    const bool both = image->preview_wanted && request.draw.preview_kind == FrameKind::kNoisy;
    if (step == request.steps() && !both) wanted_.push_back({image->slot.index, FrameKind::kNoisy});
  }
  if (wanted_.empty()) return;
  const auto fetch = [this] {
    engine_.Prefetch(wanted_);
    return absl::OkStatus();
  };
  Caught(kEngineFailed, fetch).IgnoreError();  // Read tells of it
}

// Gives the listener what this image has to show after the step that has just been run. Returns whether the image is
// finished.
bool Scheduler::HandOut(const ActiveImage& image, SteadyTime now) {
  Request& request = *image.request;
  if (request.drop.has_value()) return false;
  const uint32_t step = static_cast<uint32_t>(image.step + image.advanced);
  const uint32_t total_steps = static_cast<uint32_t>(request.steps());
  const auto read = [&](FrameKind kind, ModelPixels& pixels) {
    const absl::Status status = ReadEngine(image.slot.index, kind, pixels);
    if (status.ok()) return true;
    unreadable_ = true;
    FailImage(image.slot.index, status);
    return false;
  };
  if (image.preview_wanted) {
    PreviewFrame frame{.image_index = image.number(), .step = step, .total_steps = total_steps};
    if (!read(request.draw.preview_kind, frame.pixels)) return false;
    request.listener->OnPreview(frame);
  }
  if (step < total_steps) return false;
  FinishedImage finished{.image_index = image.number(),
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

}  // namespace denoised
