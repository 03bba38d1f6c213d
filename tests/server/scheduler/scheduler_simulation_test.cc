// Random schedules on the real scheduler, on a clock of their own: requests arrive, are cancelled, expire and are read
// or not, steps fail or stall or make numbers that are not finite, the model is loaded anew or given up. Whatever comes
// of it, the promises of scheduler.h hold.
//
// Each schedule is a function of its seed, which a failure names:
//   DENOISED_SCHEDULES=1000000 build/release/bin/scheduler_tests --gtest_filter='SchedulerSimulationTest.*'
//   DENOISED_SCHEDULE_SEED=1234 build/release/bin/scheduler_tests --gtest_filter='SchedulerSimulationTest.*'
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/scheduler/scheduler.h"
#include "tests/server/scheduler/random_schedules.h"
#include "tests/testing/puppet_engine.h"

namespace denoised {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr uint64_t kDefaultSchedules = 3000;
constexpr int kMostSteps = 6;

// What a schedule may do wrong, and what it counts.
struct Books {
  SteadyTime now = SteadyTime(std::chrono::hours(1));
  std::vector<std::string> broken;  // promises
  int64_t advanced = 0;             // network rows of images' steps
  int64_t delivered = 0;            // of those, in images that were handed out
  int64_t wasted = 0;               // of those, as the scheduler told
  bool steps_failed = false;
  bool given_up = false;  // a generation was shut down or abandoned
  std::map<std::string, int64_t> endings;

  void Expect(bool kept, const std::string& promise) {
    if (!kept) broken.push_back(promise);
  }
};

class WasteObserver : public SchedulerObserver {
 public:
  explicit WasteObserver(Books& books) : books_(books) {}
  void OnStep(int, int, std::chrono::nanoseconds, std::chrono::nanoseconds) override {}
  void OnImageStarted(std::chrono::nanoseconds wait) override {
    books_.Expect(wait >= std::chrono::nanoseconds::zero(), "nobody starts before coming");
  }
  void OnImageFinished(SamplerType, std::chrono::nanoseconds) override {}
  void OnRejected(DropReason) override {}
  void OnWasted(DropReason, uint64_t steps) override { books_.wasted += static_cast<int64_t>(steps); }

 private:
  Books& books_;
};

// An engine whose rows carry their own truth: whose image is in each slot, and how far it is.
class FaultyPuppet : public Engine {
 public:
  enum class Fault { kNone, kFails, kRow, kLost, kNotFinite, kUnreadable, kStall, kAbandon };

  FaultyPuppet(Books& books, int slots) : books_(books), slots_(static_cast<size_t>(slots)) {}

  int num_slots() const override { return static_cast<int>(slots_.size()); }

  absl::Status Step(absl::Span<const StepRow> rows) override {
    if (gone_) return absl::OkStatus();
    if (std::exchange(first_of_pass_, false)) look_(rows);
    announced_.clear();
    on_trial_ = !rows.empty() && IsTrial(rows[0]);
    const Fault fault = std::exchange(next_, Fault::kNone);
    CheckRows(rows);
    books_.now += milliseconds(1) + microseconds(100) * static_cast<int>(rows.size());
    if (fault == Fault::kStall) books_.now += std::chrono::seconds(5);
    gone_ = fault == Fault::kAbandon && abandon_();
    if (gone_) return absl::OkStatus();  // too late: nobody is there any more
    lost_ = fault == Fault::kLost;
    if (fault == Fault::kRow) poison_ = rows[rows.size() / 2].seed;
    for (const StepRow& row : rows) slots_[row.slot].done = row.step;
    const bool poisoned =
        std::any_of(rows.begin(), rows.end(), [this](const StepRow& row) { return row.seed == poison_; });
    if (fault == Fault::kFails || lost_ || poisoned) {
      books_.steps_failed = true;
      return absl::InternalError("the puppet fails");
    }
    for (const StepRow& row : rows) Advance(row);
    not_finite_ = fault == Fault::kNotFinite ? rows[0].slot : -1;
    unreadable_ = fault == Fault::kUnreadable ? rows[0].slot : -1;
    books_.steps_failed = books_.steps_failed || not_finite_ >= 0 || unreadable_ >= 0;
    return absl::OkStatus();
  }

  int StepsAtOnce(int) const override { return steps_at_once_; }
  int StepsDone(int slot) const override { return lost_ ? kLost : slots_[static_cast<size_t>(slot)].done; }
  bool Finite(int slot) const override { return slot != not_finite_; }
  void Prefetch(absl::Span<const WantedFrame> frames) override {
    on_trial_ = false;
    for (const WantedFrame& frame : frames) {
      books_.Expect(announced_.emplace(frame.slot, frame.kind).second, "a frame is announced once");
    }
  }
  absl::Status Read(int slot, FrameKind kind, absl::Span<float> pixels) override {
    books_.Expect(on_trial_ || gone_ || announced_.contains({slot, kind}), "frames are announced before they are read");
    if (slot == unreadable_) return absl::InternalError("the puppet cannot read");
    std::fill(pixels.begin(), pixels.end(), slots_[static_cast<size_t>(slot)].pixel);
    return absl::OkStatus();
  }

  void NextStep(Fault fault) { next_ = fault; }
  void OnAbandon(std::function<bool()> abandon) { abandon_ = std::move(abandon); }
  void SetStepRows(int rows) { step_rows_ = rows; }
  void SetStepsAtOnce(int steps) { steps_at_once_ = steps; }
  // What is to be checked at the first call of a pass; those after it try again what failed.
  void OnPass(std::function<void(absl::Span<const StepRow>)> look) { look_ = std::move(look); }
  void BeginPass() { first_of_pass_ = true; }

 private:
  struct Slot {
    uint64_t seed = 0;
    uint32_t image = 0;
    int done = 0;
    float pixel = 0;
  };

  void CheckRows(absl::Span<const StepRow> rows) {
    std::vector<bool> used(slots_.size());
    for (const StepRow& row : rows) {
      books_.Expect(!used[row.slot], "a slot is in a step once");
      used[row.slot] = true;
      const Slot& slot = slots_[row.slot];
      books_.Expect(row.step == 0 || (slot.seed == row.seed && slot.image == row.image_index && slot.done == row.step),
                    "a slot is one image's, which goes on where it was");
    }
    books_.Expect(!rows.empty() && NetworkRows(rows) <= step_rows_, "a step has at most as many rows as fit");
  }

  void Advance(const StepRow& row) {
    if (!IsTrial(row)) books_.advanced += NetworkRows(row);
    slots_[row.slot] = {.seed = row.seed,
                        .image = row.image_index,
                        .done = row.step + 1,
                        .pixel = PuppetPixel(row.label, row.seed, row.image_index, row.step + 1)};
  }

  Books& books_;
  std::vector<Slot> slots_;
  Fault next_ = Fault::kNone;
  bool lost_ = false, gone_ = false;
  uint64_t poison_ = ~uint64_t{0};
  int not_finite_ = -1, unreadable_ = -1;
  int step_rows_ = 0, steps_at_once_ = 1;
  bool first_of_pass_ = false, on_trial_ = false;
  std::set<std::pair<int, FrameKind>> announced_;
  std::function<void(absl::Span<const StepRow>)> look_;
  std::function<bool()> abandon_;
};

// A request, and what its client hears.
class Client : public DrawListener {
 public:
  Client(Books& books, DrawRequest wanted) : draw(std::move(wanted)), books_(books), heard_(draw.count) {}

  bool WantsPreview(uint32_t) override { return wants_previews; }
  void OnPreview(const PreviewFrame& frame) override {
    books_.Expect(admitted && !done.has_value(), "previews come between admission and end");
    books_.Expect(frame.image_index < draw.count && !heard_[frame.image_index], "no preview of a finished image");
    books_.Expect(frame.pixels[0] == Pixel(frame.image_index, static_cast<int>(frame.step)), "a preview's pixels");
  }
  void OnImage(const FinishedImage& image) override {
    books_.Expect(admitted && !done.has_value(), "images come between admission and end");
    books_.Expect(image.image_index < draw.count && !heard_[image.image_index], "each image comes once");
    heard_[image.image_index] = true;
    ++images;
    books_.delivered += static_cast<int64_t>(draw.plan->size()) * (draw.guidance_scale == 1 ? 1 : 2);
    books_.Expect(image.pixels[0] == Pixel(image.image_index, static_cast<int>(draw.plan->size())),
                  "an image is finished, and its request's");
    if (leaves_after_an_image) Cancel();
  }
  void OnDone(const absl::Status& status) override {
    books_.Expect(admitted && !done.has_value(), "a request ends once");
    done = status;
    ++books_.endings[absl::StrCat("ends ", absl::StatusCodeToString(status.code()))];
    CheckEnd(status.code());
  }

  void Cancel() {
    cancelled = true;
    if (ticket.has_value()) ticket->Cancel();
  }
  // The client has got an image, if there is one that it has not.
  void ReadOne() {
    if (!ticket.has_value() || read == images) return;
    ++read;
    ticket->ReleaseOne();
  }
  int64_t places() const { return ticket.has_value() ? int64_t{draw.count} - read : 0; }

  const DrawRequest draw;
  std::optional<Ticket> ticket;
  bool admitted = false;
  bool cancelled = false;
  bool wants_previews = true;
  bool leaves_after_an_image = false;
  uint32_t images = 0, read = 0;
  std::optional<absl::Status> done;

 private:
  float Pixel(uint32_t image, int steps) const { return PuppetPixel(draw.label, draw.seed, image, steps); }

  void CheckEnd(absl::StatusCode code) {
    switch (code) {
      case absl::StatusCode::kOk:
        return books_.Expect(images == draw.count, "OK comes after all images");
      case absl::StatusCode::kCancelled:
        return books_.Expect(cancelled, "only who left is cancelled");
      case absl::StatusCode::kDeadlineExceeded:
        return books_.Expect(draw.deadline != SteadyTime::max(), "only who has a deadline misses it");
      case absl::StatusCode::kInternal:
        return books_.Expect(books_.steps_failed, "steps fail only by the engine's fault");
      case absl::StatusCode::kUnavailable:
        return books_.Expect(books_.given_up, "nobody is sent away before a stop");
      default:
        books_.Expect(false, absl::StrCat("an end that is not one: ", absl::StatusCodeToString(code)));
    }
  }

  Books& books_;
  std::vector<bool> heard_;
};

// One model's scheduler and engine.
struct Generation {
  Generation(Books& books, WasteObserver& observer, const SchedulerOptions& options)
      : engine(books, UsefulSlots(options)), scheduler(engine, options, &observer, [&books] { return books.now; }) {
    engine.SetStepRows(scheduler.step_rows());
    engine.OnPass([this, &books](absl::Span<const StepRow> rows) {
      const SchedulerStats stats = scheduler.stats();
      const bool others_wait = stats.waiting_images + stats.denoising_images > static_cast<int>(rows.size());
      books.Expect(!others_wait || NetworkRows(rows) >= scheduler.step_rows() - 1,
                   "no row is idle while somebody waits, but one that a guided image has no use for");
    });
    engine.OnAbandon([this, &books] {
      books.given_up = true;
      abandoned = scheduler.Abandon(absl::UnavailableError("the engine hangs"));
      return abandoned;
    });
  }
  FaultyPuppet engine;
  Scheduler scheduler;
  bool abandoned = false;
  bool stopping = false;
};

class Schedule {
 public:
  explicit Schedule(uint64_t seed) : random_(seed) {
    options_.max_batch_rows = 2 + random_.UpTo(6);
    options_.max_queued_images = random_.UpTo(12);
    if (random_.OneIn(2)) options_.max_client_images = 1 + random_.UpTo(8);
    if (random_.OneIn(3)) options_.max_queued_steps = 10 + random_.UpTo(60);
    options_.taken_places = std::make_shared<TakenPlaces>();
    LoadModel();
  }
  ~Schedule() {
    for (const auto& client : clients_) client->ticket.reset();
  }

  // The promises that were broken.
  std::vector<std::string> Run() {
    const int events = 10 + random_.UpTo(60);
    for (int i = 0; i < events && books_.broken.empty(); ++i) {
      Happen();
      CheckPlaces();
    }
    if (books_.broken.empty()) End();
    return books_.broken;
  }
  // How requests ended.
  const std::map<std::string, int64_t>& endings() const { return books_.endings; }

 private:
  Generation& current() { return *generations_.back(); }
  int64_t capacity() const { return int64_t{options_.max_batch_rows} + options_.max_queued_images; }

  void Happen() {
    switch (random_.UpTo(15)) {
      case 0:
      case 1:
      case 2:
      case 3:
        return Arrive();
      case 4:
        return WithAClient([](Client& client) { client.Cancel(); });
      case 5:
        return WithAClient([](Client& client) {
          client.cancelled = true;
          client.ticket.reset();
        });
      case 6:
      case 7:
        return WithAClient([](Client& client) { client.ReadOne(); });
      case 8:
        books_.now += microseconds(500) * random_.UpTo(20);
        return;
      case 9:
        return current().engine.NextStep(static_cast<FaultyPuppet::Fault>(random_.UpTo(6)));
      case 10:
        if (random_.OneIn(6)) Upset();
        return;
      default:
        for (int steps = random_.UpTo(4); steps >= 0; --steps) StepAll();
    }
  }

  // A reload, a stop or an engine that hangs.
  void Upset() {
    switch (random_.UpTo(2)) {
      case 0:
        current().scheduler.StopAdmitting();
        return LoadModel();
      case 1:
        books_.given_up = true;
        current().stopping = true;
        current().scheduler.Shutdown();
        return LoadModel();
      default:
        current().engine.NextStep(FaultyPuppet::Fault::kAbandon);
        StepAll();
        current().engine.NextStep(FaultyPuppet::Fault::kNone);  // it may have had nothing to do
        if (current().abandoned) LoadModel();
    }
  }

  void LoadModel() {
    generations_.push_back(std::make_unique<Generation>(books_, observer_, options_));
    current().engine.SetStepsAtOnce(1 + random_.UpTo(3));
  }

  void StepAll() {
    for (const auto& generation : generations_) {
      generation->engine.BeginPass();
      if (!generation->abandoned) generation->scheduler.RunStep();
    }
  }

  template <typename Function>
  void WithAClient(Function function) {
    if (!clients_.empty()) function(*random_.Of(clients_));
  }

  DrawRequest MakeRequest() {
    DrawRequest draw;
    draw.label = random_.UpTo(9);
    draw.count = static_cast<uint32_t>(1 + random_.UpTo(3));
    draw.seed = ++seeds_;
    draw.plan = std::make_shared<const StepPlan>(1 + random_.UpTo(kMostSteps - 1));
    draw.guidance_scale = random_.OneIn(3) ? 2 : 1;
    draw.preview_every = random_.OneIn(2) ? 1 : 0;
    draw.client = absl::StrCat("client ", random_.UpTo(3));
    draw.priority = random_.OneIn(4) ? Priority::kBatch : Priority::kInteractive;
    if (random_.OneIn(4)) draw.deadline = books_.now + milliseconds(random_.UpTo(40) - 1);
    return draw;
  }

  void Arrive() {
    auto client = std::make_shared<Client>(books_, MakeRequest());
    client->wants_previews = random_.OneIn(2);
    client->leaves_after_an_image = random_.OneIn(8);
    client->admitted = true;
    absl::StatusOr<Admission> admission = current().scheduler.Submit(client->draw, client);
    if (!admission.ok()) {
      ++books_.endings[absl::StrCat("refused ", absl::StatusCodeToString(admission.status().code()))];
      CheckRefusal(client->draw, admission.status().code());
      client->admitted = false;  // it hears nothing from now on
    } else {
      client->ticket = std::move(admission->ticket);
    }
    clients_.push_back(std::move(client));
  }

  void CheckRefusal(const DrawRequest& draw, absl::StatusCode code) {
    switch (code) {
      case absl::StatusCode::kResourceExhausted:
        return books_.Expect(int64_t{draw.count} <= current().scheduler.max_images_of_a_client(),
                             "who can never have room is not told to come back");
      case absl::StatusCode::kInvalidArgument:
        return books_.Expect(
            int64_t{draw.count} > current().scheduler.max_images_of_a_client() || options_.max_queued_steps > 0,
            "only who asks for more than there is asks in vain");
      case absl::StatusCode::kDeadlineExceeded:
        return books_.Expect(draw.deadline != SteadyTime::max(), "only who has a deadline misses it");
      default:
        books_.Expect(false, absl::StrCat("a refusal that is not one: ", absl::StatusCodeToString(code)));
    }
  }

  void CheckPlaces() {
    int64_t held = 0;
    for (const auto& client : clients_) held += client->places();
    const int64_t taken = options_.taken_places->total();
    books_.Expect(taken <= capacity(), "no more images are here than there are places");
    books_.Expect(taken >= held, "an image that is not delivered has its place");
  }

  // Everybody reads, nobody comes: all is finished in as many passes as there are steps left, and all is free again.
  void End() {
    current().engine.NextStep(FaultyPuppet::Fault::kNone);
    int64_t passes = 0;
    for (const auto& client : clients_) passes += int64_t{client->draw.count} * (kMostSteps + 1);
    for (; passes >= 0 && !Idle(); --passes) StepAll();
    books_.Expect(Idle(), "work that nothing stands in the way of is finished");
    for (const auto& client : clients_) {
      books_.Expect(client->done.has_value() == client->admitted, "who was admitted hears of the end, nobody else");
      while (client->ticket.has_value() && client->read < client->images) client->ReadOne();
      client->ticket.reset();
    }
    StepAll();
    books_.Expect(options_.taken_places->total() == 0, "all places are free again");
    books_.Expect(books_.advanced == books_.delivered + books_.wasted,
                  absl::StrCat("each step is in an image or told as waste: ", books_.advanced, " are not ",
                               books_.delivered, " and ", books_.wasted));
    ExpectRoomForAll();
  }

  bool Idle() const {
    return std::all_of(generations_.begin(), generations_.end(), [](const auto& generation) {
      const SchedulerStats stats = generation->scheduler.stats();
      return generation->abandoned ||
             (generation->scheduler.idle() && stats.waiting_images == 0 && stats.denoising_images == 0);
    });
  }

  // No place was lost: as many images as ever are admitted, and drawn.
  void ExpectRoomForAll() {
    for (int64_t i = 0; i < capacity(); ++i) {
      DrawRequest draw;
      draw.seed = ++seeds_;
      draw.plan = std::make_shared<const StepPlan>(1);
      draw.client = absl::StrCat("newcomer ", i);
      auto client = std::make_shared<Client>(books_, draw);
      client->admitted = true;
      absl::StatusOr<Admission> admission = current().scheduler.Submit(draw, client);
      if (!admission.ok()) {
        // Its own limits hold: of all steps that may be due together.
        books_.Expect(options_.max_queued_steps > 0 && i >= options_.max_queued_steps, "there is room again for all");
        break;
      }
      client->ticket = std::move(admission->ticket);
      clients_.push_back(client);
    }
    for (int64_t passes = 2 * capacity(); passes >= 0 && !Idle(); --passes) StepAll();
    for (const auto& client : clients_) {
      if (client->admitted) books_.Expect(client->done.has_value(), "newcomers are served");
    }
  }

  Random random_;
  Books books_;
  WasteObserver observer_{books_};
  SchedulerOptions options_;
  std::vector<std::unique_ptr<Generation>> generations_;
  std::vector<std::shared_ptr<Client>> clients_;  // NOTE: after the schedulers, as tickets end first
  uint64_t seeds_ = 0;
};

TEST(SchedulerSimulationTest, PromisesHoldWhateverHappens) {
  const RandomSchedules schedules(kDefaultSchedules);
  std::map<std::string, int64_t> endings;
  for (uint64_t seed = schedules.first; seed < schedules.end && !HasFailure(); ++seed) {
    Schedule schedule(seed);
    for (const std::string& promise : schedule.Run()) {
      ADD_FAILURE() << promise << "\nreplay: DENOISED_SCHEDULE_SEED=" << seed;
    }
    for (const auto& [ending, times] : schedule.endings()) endings[ending] += times;
  }
  if (schedules.replay) return;
  for (const auto& [ending, times] : endings) std::cout << absl::StrFormat("%10d %s\n", times, ending);
  for (const char* ending : {"ends OK", "ends CANCELLED", "ends DEADLINE_EXCEEDED", "ends INTERNAL", "ends UNAVAILABLE",
                             "refused RESOURCE_EXHAUSTED", "refused DEADLINE_EXCEEDED"}) {
    EXPECT_GT(endings[ending], 0) << "schedules should bring that about too: " << ending;
  }
}

}  // namespace
}  // namespace denoised
