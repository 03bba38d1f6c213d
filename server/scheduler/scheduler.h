// File: scheduler.h
//
// Batches the denoising steps of all requests: batches form per step, not per request, so a new request waits for one
// step and not for a whole chain, and nothing ever waits for a batch to fill. Knows neither gRPC nor LibTorch.
//
//   Scheduler scheduler(engine, {.max_batch_rows = 16, .max_queued_images = 256});
//   std::thread thread([&] { scheduler.Run(); });
//   absl::StatusOr<Admission> admission = scheduler.Submit(request, listener);   // listener->OnImage, ..., OnDone
//
// The life of one image:
//
//                 Submit                 it is its turn            last row of the plan
//     (refused) <-------- waiting -----------------------> denoising ---------------------> finished: OnImage
//                            |                             |       ^|
//                            |                             +-------+  one Step of the engine, maybe OnPreview;
//                            |                             |          or a step without it, if others go first
//                            +-------------+---------------+
//                                          |  at the next step, if its request was cancelled, is past its deadline,
//                                          v  made a step fail, or the scheduler shuts down
//                                       dropped
//
// and of its request: OnDone(OK) after the last OnImage, or OnDone(error) once the rest has been dropped.
//
// Every pass of the loop (RunStep) does: drop; choose the images whose turn it is (turn.h within a client's work,
// fair_order.h between clients), whether they wait or are in the making, up to step_rows() network rows; one
// Engine::Step with them; hand out previews and finished images. step_rows() is as many rows as the engine rewards:
// where more rows in a step take so much longer that each costs the same, a wider step only makes all of its images
// later. A guided image takes two rows; when its turn comes it waits for both, and nobody overtakes it.
//
// Nothing here costs what the queue is long: images lie in the order of their turns with sums over them (turn_queue.h),
// deadlines in another order, and a pass looks at what has changed. Forecasts play the future of a short queue to the
// step and take a long one's from the sums. Threads that call hold the mutex for about a microsecond each, the loop for
// as long as it takes to choose.
//
// Where a call of the engine costs something by itself, it is asked for several steps in one, about a millisecond's
// work at most: as many as nobody has to hear of before they are over. Whoever comes or leaves meanwhile waits for
// them.
//
// A step that fails is tried again with halves of its rows, where the engine says that they are as they were, so that a
// row that makes steps fail costs its own request alone, however often it is sent. When no row comes through, a step
// that the engine could make when it was started tells whose fault it is: the rows', or the engine's. heartbeat() tells
// others of the engine's, and whether the loop goes on; an engine that hangs in a step is beyond help, but Abandon ends
// its requests. What an engine throws is a failure too.
//
// Invariants:
//   1. A slot of the engine belongs to at most one image; its handle dies with the loan (slot_table.h).
//   2. Images whose place has not been given back (class Ticket), whether they wait, are being drawn or have yet to
//      reach their client: at most capacity() = max_batch_rows + max_queued_images.
//   3. Rows in one Step: at most step_rows(), which is at most max_batch_rows.
//   4. A listener hears OnDone exactly once, last, unless its Submit was refused; then it hears nothing.
#ifndef DENOISED_SERVER_SCHEDULER_SCHEDULER_H_
#define DENOISED_SERVER_SCHEDULER_SCHEDULER_H_

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/diffusion/engine.h"
#include "common/diffusion/step_plan.h"
#include "common/image/image.h"
#include "server/scheduler/fair_order.h"
#include "server/scheduler/schedule_forecast.h"
#include "server/scheduler/slot_table.h"
#include "server/scheduler/step_measurement.h"
#include "server/scheduler/step_time_model.h"
#include "server/scheduler/taken_places.h"
#include "server/scheduler/turn.h"
#include "server/scheduler/turn_queue.h"

namespace denoised {

using SteadyTime = std::chrono::steady_clock::time_point;

// What to draw. Values are valid already: request_validation.h.
struct DrawRequest {
  int label = 0;
  uint32_t count = 1;        // images, at least 1
  uint32_t first_image = 0;  // their numbers begin here, in noise and frames; first_image + count fits
  uint64_t seed = 0;
  SamplerType sampler = SamplerType::kDdpm;  // for the metrics; the plan says the rest
  std::shared_ptr<const StepPlan> plan;      // not empty
  float guidance_scale = 1;                  // 1 is off
  uint32_t preview_every = 0;                // steps; 0: none
  FrameKind preview_kind = FrameKind::kNoisy;
  SteadyTime deadline = SteadyTime::max();
  std::string client;  // whose share it comes out of: fair_order.h; as client_identity.h names clients
  Priority priority = Priority::kInteractive;
};

using ModelPixels = std::array<float, kModelPixels>;  // nominally in [-1, 1]

struct PreviewFrame {
  uint32_t image_index = 0;
  uint32_t step = 0;  // steps done, 1 to total_steps
  uint32_t total_steps = 0;
  ModelPixels pixels{};
};

struct FinishedImage {
  uint32_t image_index = 0;
  ModelPixels pixels{};
  std::chrono::nanoseconds queue_duration{};    // from Submit to the start of the first step
  std::chrono::nanoseconds denoise_duration{};  // from there to the end of the last one
};

// Hears what becomes of a request. Called on the scheduler's thread, never while it holds a lock; must return at once.
class DrawListener {
 public:
  virtual ~DrawListener() = default;
  // Whether OnPreview would be of use now. If not, the frame is not read from the engine and is lost. Asked for all
  // images of a step before the first of their frames comes.
  virtual bool WantsPreview(uint32_t /*image_index*/) { return true; }
  virtual void OnPreview(const PreviewFrame& frame) = 0;
  virtual void OnImage(const FinishedImage& image) = 0;
  // OK, CANCELLED, DEADLINE_EXCEEDED, INTERNAL (the engine failed) or UNAVAILABLE (the scheduler was shut down).
  virtual void OnDone(const absl::Status& status) = 0;
};

// Why work was refused or thrown away, as the metrics' label `reason` says it.
enum class DropReason { kQueueFull, kClientFull, kDeadline, kDraining, kCancelled, kSlowReader, kEngineError };
const char* DropReasonName(DropReason reason);

// Hears what the scheduler does, for metrics. OnRejected is called by threads that call Submit, the rest on the
// scheduler's thread.
class SchedulerObserver {
 public:
  virtual ~SchedulerObserver() = default;
  // `rows` network rows were wanted, `padding_rows` were computed in vain; `network` is the time inside the network.
  virtual void OnStep(int rows, int padding_rows, std::chrono::nanoseconds step, std::chrono::nanoseconds network) = 0;
  virtual void OnImageStarted(std::chrono::nanoseconds queue_wait) = 0;
  virtual void OnImageFinished(SamplerType sampler, std::chrono::nanoseconds denoise_duration) = 0;
  virtual void OnRejected(DropReason reason) = 0;
  // Steps that were computed for an image that nobody got, those with guidance twice, as they take two network rows.
  virtual void OnWasted(DropReason reason, uint64_t steps) = 0;
};

struct SchedulerOptions {
  int max_batch_rows = 16;        // at least 2, so that a guided image fits; at most the engine's slots
  int max_queued_images = 256;    // beyond those; the more slots the engine has, the more of them may begin
  int64_t max_client_images = 0;  // places that one client may have taken; 0: all
  int64_t max_queued_steps = 0;   // network rows, each step counted, that may be due together; 0: any
  // Shared with other schedulers, each of which refuses what would exceed its own limits; null: its own.
  std::shared_ptr<TakenPlaces> taken_places = nullptr;
  std::shared_ptr<const AnotherAtWork> another_at_work = nullptr;  // null: never; meanwhile nothing is measured
};

// Slots that an engine for such a scheduler should have: one for every image that may be admitted, so that an image
// that others overtake keeps its own, but for very long queues.
inline int UsefulSlots(const SchedulerOptions& options) {
  constexpr int kMostOvertaken = 1024;
  return options.max_batch_rows + std::min(options.max_queued_images, kMostOvertaken);
}

// A point in time's view, for gauges.
struct SchedulerStats {
  int waiting_images = 0;
  int denoising_images = 0;
  std::chrono::nanoseconds oldest_wait{};  // of the image that has waited longest; 0 if none waits
  int64_t steps = 0;                       // that brought an image further, and
  int64_t failed_steps = 0;                // that failed by the engine's fault, so far
  int step_rows = 0;                       // Scheduler::step_rows()
};

// Whether the loop goes on, for somebody who watches it.
struct Heartbeat {
  uint64_t beats = 0;    // passes and calls of the engine so far
  bool working = false;  // so that it should go on
  int failed_steps = 0;  // in a row, after each of which the engine could not make the step that it was started with
};

// The expected wait that goes with RESOURCE_EXHAUSTED: carried in the status as a payload.
void SetRetryAfter(absl::Status& status, std::chrono::nanoseconds wait);
std::optional<std::chrono::nanoseconds> GetRetryAfter(const absl::Status& status);

// A request's places in the scheduler, one for each image, which bound how many there are. A place is given back once
// its image has reached the client, so that a finished image of a big request makes room at once, while images that
// nobody reads do not pile up. Destroying the ticket drops what has not been drawn, and gives the others back as soon
// as the loop has dropped it: while a step hangs, nobody can fill the memory by coming and going. Movable;
// thread-compatible. Must not outlive the scheduler.
class Ticket {
 public:
  Ticket();
  ~Ticket();
  Ticket(Ticket&& other) noexcept;
  Ticket& operator=(Ticket&& other) noexcept;

  // Gives back the place of one image: once for each OnImage, when the image has been passed on.
  void ReleaseOne();

  // Drops the rest of the request at the next step, for this reason; its listener hears CANCELLED unless it is done
  // already.
  void Cancel(DropReason reason = DropReason::kCancelled);

 private:
  friend class Scheduler;
  struct State;
  explicit Ticket(std::unique_ptr<State> state);
  void Release();

  std::unique_ptr<State> state_;
};

struct Admission {
  Ticket ticket;
  // As things stand: requests that come later may still go first, and those that leave make it faster.
  uint32_t queue_position = 0;                    // waiting images that start before this request's first
  std::chrono::nanoseconds estimated_duration{};  // until its last image; 0: not known yet
};

// Thread-safe, except that Run and RunStep belong to one thread: the scheduler's.
class Scheduler {
 public:
  using ClockFunction = std::function<SteadyTime()>;

  // `engine` and `observer` (which may be null) outlive the scheduler.
  Scheduler(Engine& engine, const SchedulerOptions& options, SchedulerObserver* observer = nullptr,
            ClockFunction now = &std::chrono::steady_clock::now);
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Measures the engine with more and more rows up to max_batch_rows (step_measurement.h), so that step_rows() and the
  // first estimates are right and the first request meets a warm engine. Before Run, on its thread. The engine's error
  // if it cannot step, INTERNAL if it makes numbers that are not finite.
  absl::Status Calibrate();

  // The same beside another scheduler whose engine is like this one, and which may be running: takes over what that one
  // has measured, after a step that shows that the engine can step.
  absl::Status CalibrateLike(const Scheduler& other);

  // Calibrate's times scattered, because something else used the machine, or steps have taken other times since.
  bool OughtToMeasureAgain() const;
  StepMeasurement measurement() const ABSL_LOCKS_EXCLUDED(mu_);
  // Lets the engine make its choices anew, then measures anew, on Run's thread, which does so by itself in pauses.
  // Gives way to whoever comes and to another model at work, and keeps what there was if the new times are no better;
  // false in all these cases.
  bool MeasureAgain();

  // Admits a request, or refuses it without a trace:
  //   RESOURCE_EXHAUSTED  too many places are taken, by all or by this client, or too much work is due; GetRetryAfter
  //                       tells when enough for this request will be free
  //   DEADLINE_EXCEEDED   the deadline has passed, or is shorter than half of what this request takes behind those that
  //                       are here already
  //   INVALID_ARGUMENT    more images than capacity(), which will never have a place each
  //   UNAVAILABLE         draining or shut down
  absl::StatusOr<Admission> Submit(const DrawRequest& request, std::shared_ptr<DrawListener> listener);

  // How long what is here should take, if nothing comes and nothing is dropped.
  std::chrono::nanoseconds UntilIdle() const;

  // How long a full queue takes, of images of so many steps.
  std::chrono::nanoseconds DurationOfFullQueue(int steps) const;

  // Refuses new requests from now on; admitted ones go on.
  void StopAdmitting();

  // True once every admitted request has heard OnDone.
  bool idle() const;

  // Stops admitting, drops everything at the next step with UNAVAILABLE, and lets Run return.
  void Shutdown();

  // The same for an engine that fails step after step: with `status`, counted as errors of the engine.
  void GiveUp(const absl::Status& status);

  // The loop: steps while there is work, waits while there is none, returns after Shutdown.
  void Run();

  // One pass. Returns whether there was anything to do.
  bool RunStep();

  SchedulerStats stats() const;

  // Never waits.
  Heartbeat heartbeat() const;

  // Ends every request with `status`, on the caller's thread, while the loop hangs in the engine; should it come back,
  // it ends without a trace. False, and nothing is done, if it is not in the engine.
  bool Abandon(const absl::Status& status);

  const SchedulerOptions& options() const { return options_; }
  int64_t capacity() const { return int64_t{options_.max_batch_rows} + options_.max_queued_images; }
  // Places that one client can take.
  int64_t max_images_of_a_client() const {
    return options_.max_client_images == 0 ? capacity() : std::min(capacity(), options_.max_client_images);
  }
  // Most network rows of a step: max_batch_rows until Calibrate knows better, and then what was measured last.
  int step_rows() const { return step_rows_; }

 private:
  friend class Ticket;

  struct Drop {
    DropReason reason;
    absl::Status status;
  };

  struct Request {
    Request(const DrawRequest& wanted, std::shared_ptr<DrawListener> hears, SteadyTime at)
        : draw(wanted), listener(std::move(hears)), submitted(at) {}
    int rows_per_image() const { return draw.guidance_scale == 1 ? 1 : 2; }
    int steps() const { return static_cast<int>(draw.plan->size()); }
    uint32_t waiting() const { return draw.count - started; }
    Work WorkOf(int64_t images) const { return {.images = images, .row_steps = images * rows_per_image() * steps()}; }

    // Constant after construction.
    const DrawRequest draw;
    const std::shared_ptr<DrawListener> listener;
    const SteadyTime submitted;

    FairOrder::Entry EntryOf(const Turn& turn, int steps_left) const {
      return {.turn = turn,
              .rows = rows_per_image(),
              .patience = kPatience * turns.step_seconds * steps_left,
              .row_steps = int64_t{rows_per_image()} * steps()};
    }

    // Constant once submitted.
    Turns turns;
    FairOrder::Flow* flow = nullptr;  // while it is not over

    // Guarded by the mutex.
    int64_t places = 0;                   // not given back yet
    bool abandoned = false;               // nobody holds its ticket
    bool leaving = false;                 // to be dropped at the next step; it waits no longer
    SteadyTime judged;                    // when its deadline is looked at next
    std::optional<DropReason> cancelled;  // by the holder of its ticket
    bool over = false;                    // finished or dropped

    // Written by the scheduler's thread while it holds the mutex.
    uint32_t started = 0;  // images that have left the queue
    uint32_t finished = 0;
    std::vector<int> slots;  // of its images in the making

    // Of the scheduler's thread alone.
    std::optional<Drop> drop;
  };

  // One image in the making, at its slot's place.
  struct ActiveImage {
    uint32_t number() const { return request->draw.first_image + image_index; }
    Turn turn() const { return request->turns.Begun(request->steps() - step, image_index); }
    Work WorkLeft() const {
      return {.images = 1, .row_steps = int64_t{request->rows_per_image()} * (request->steps() - step)};
    }

    uint64_t RowStepsDone() const {
      return static_cast<uint64_t>(request->rows_per_image()) * static_cast<uint64_t>(step);
    }

    std::shared_ptr<Request> request;
    uint32_t image_index = 0;
    SlotHandle slot;
    int step = 0;  // rows of the plan done
    SteadyTime started;
    bool in_step = false;  // one of chosen_
    int advanced = 0;      // steps, by the last call of the engine; of the scheduler's thread alone, as
    bool preview_wanted = false, finished = false;
  };

  using RequestByTime = std::pair<SteadyTime, int64_t>;

  // The loop's parts, on the scheduler's thread.
  std::optional<Drop> Judge(const Request& request, SteadyTime now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::vector<std::shared_ptr<Request>> Leaving(SteadyTime now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::vector<std::shared_ptr<Request>> TakeDropped(const std::vector<std::shared_ptr<Request>>& leaving,
                                                    SteadyTime now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void DropImages(Request& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Choose(SteadyTime now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  ActiveImage* Resume(int slot) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  ActiveImage* Begin(const std::shared_ptr<Request>& request, SteadyTime now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Free(ActiveImage& image) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void StepChosen() ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status InEngine(absl::FunctionRef<absl::Status()> use) ABSL_LOCKS_EXCLUDED(mu_);
  int StepsAtOnce() const;
  absl::Status CallEngine(absl::Span<const StepRow> rows, int steps) ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status TryEngine(int slot) ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status ReadEngine(int slot, FrameKind kind, ModelPixels& pixels);
  bool EngineWorks(int slot) ABSL_LOCKS_EXCLUDED(mu_);
  void JudgeEngine() ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status StepRows(absl::Span<const StepRow> rows) ABSL_LOCKS_EXCLUDED(mu_);
  void Salvage(absl::Span<const StepRow> rows, const absl::Status& error) ABSL_LOCKS_EXCLUDED(mu_);
  void OnAdvanced(const StepRow& row);
  void FailImage(int slot, absl::Status status);
  bool abandoned() const { return engine_use_.load() == EngineUse::kAbandoned; }
  void AdvanceChosen() ABSL_LOCKS_EXCLUDED(mu_);
  void FetchFrames();
  bool HandOut(const ActiveImage& image, SteadyTime now);
  void Conclude(Request& request, const absl::Status& status) ABSL_LOCKS_EXCLUDED(mu_);

  // Into the queue, out of it before its time, and out of the books.
  struct Round {
    Turn turn;
    int64_t images = 0;
  };
  std::vector<Round> RoundsOf(const Request& request) const;  // of its images that wait
  void Enqueue(const std::shared_ptr<Request>& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void StopWaiting(Request& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Leave(const std::shared_ptr<Request>& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Close(Request& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ReturnPlaces(Request& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void TakePlaces(Request& request, int64_t places) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  void TakeMeasurement() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool LetEngineChooseAgain() ABSL_LOCKS_EXCLUDED(mu_);
  bool HasToGiveWay() const ABSL_LOCKS_EXCLUDED(mu_);
  bool AwaitWork() ABSL_LOCKS_EXCLUDED(mu_);

  // Submit's parts.
  absl::Status CheckAdmission(const Request& request) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status CheckPlaces(const Request& request) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status CheckClient(const Request& request) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status CheckSteps(const Request& request) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status QueueFull(DropReason reason, const std::string& what, int64_t images_too_many) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status CheckDeadline(const Request& request, std::chrono::nanoseconds duration, const char* where) const;
  absl::Status Reject(DropReason reason, absl::Status status) const;
  std::chrono::nanoseconds DurationAlone(const Request& request) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::chrono::nanoseconds LeastTimeFor(const Request& request) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  SteadyTime HopelessFrom(const Request& request) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Forecasts, each played or from sums.
  int64_t ImagesHere() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Work ChosenWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::chrono::nanoseconds TimeFor(int64_t row_steps) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  ScheduleForecast Forecast() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  ScheduleForecast::Outlook OutlookFor(const Request& request) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  ScheduleForecast::Outlook OutlookByTurns(const Request& request) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::chrono::nanoseconds UntilFinished(int64_t images) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Constant after construction.
  Engine& engine_;
  const SchedulerOptions options_;
  SchedulerObserver* const observer_;
  const ClockFunction now_;
  const std::shared_ptr<TakenPlaces> taken_places_;

  // Written by the scheduler's thread while it holds mu_ and nobody is here. Others hold mu_ to read it.
  StepMeasurement measurement_;
  bool outdated_ = false;  // the engine has chosen anew since
  std::atomic<int> step_rows_;

  // Written by the scheduler's thread while it holds mu_, which it therefore may read without.
  std::vector<ActiveImage> active_;   // by slot
  std::vector<ActiveImage*> chosen_;  // those in the step, by turn
  TurnQueue<ActiveImage*> paused_;    // the others

  // Of the scheduler's thread alone, but for its size.
  SlotTable slots_;
  std::vector<StepRow> rows_;         // of the step
  std::vector<WantedFrame> wanted_;   // after it
  int steps_at_once_ = 1;             // that they are advanced by
  int rows_saved_ = 0;                // advanced by it, to finite numbers
  std::optional<int> failed_slot_;    // of an image that failed in it, whose content nobody needs any more
  bool unreadable_ = false;           // an image could not be read after it
  std::optional<bool> engine_works_;  // whether it does, once that has been tried

  enum class EngineUse { kNone, kInStep, kAbandoned };
  std::atomic<EngineUse> engine_use_ = EngineUse::kNone;
  std::atomic<uint64_t> beats_ = 0;
  std::atomic<bool> working_ = false;
  std::atomic<int> failed_steps_ = 0;

  mutable absl::Mutex mu_;
  bool admitting_ ABSL_GUARDED_BY(mu_) = true;
  std::optional<Drop> shutdown_ ABSL_GUARDED_BY(mu_);  // how what is left ends
  int64_t places_ ABSL_GUARDED_BY(mu_) = 0;            // among the taken ones, those of this scheduler's requests
  bool came_or_went_ ABSL_GUARDED_BY(mu_) = false;     // an image, since the last choice
  int64_t submitted_requests_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t unfinished_requests_ ABSL_GUARDED_BY(mu_) = 0;                          // admitted, and OnDone not heard yet
  absl::btree_map<int64_t, std::shared_ptr<Request>> live_ ABSL_GUARDED_BY(mu_);  // admitted and not over, by number
  absl::btree_map<int64_t, Request*> queued_ ABSL_GUARDED_BY(mu_);                // those of them with images to start
  TurnQueue<Request*> waiting_ ABSL_GUARDED_BY(mu_);                              // their images, by rounds
  FairOrder order_ ABSL_GUARDED_BY(mu_);                                          // of waiting_, paused_ and chosen_
  absl::btree_set<RequestByTime> deadlines_ ABSL_GUARDED_BY(mu_);                 // of those that have one: `judged`
  std::vector<std::shared_ptr<Request>> leaving_ ABSL_GUARDED_BY(mu_);            // cancelled or failed
  int64_t leaving_images_ ABSL_GUARDED_BY(mu_) = 0;                               // of theirs, that have slots
  StepTimeModel step_times_ ABSL_GUARDED_BY(mu_);
  int64_t steps_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t lost_steps_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace denoised

#endif  // DENOISED_SERVER_SCHEDULER_SCHEDULER_H_
