// Replays random schedules on the scheduler and on its rule written out plainly, which looks at everything in each
// pass, and compares every decision: who is admitted, who is in each step, how each request ends.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <tuple>
#include <vector>

#include "absl/strings/str_format.h"
#include "common/support/clock.h"
#include "server/scheduler/scheduler.h"
#include "tests/testing/puppet_engine.h"
#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

constexpr std::chrono::milliseconds kStep(1);

// One row of a step, as the rule chose it.
struct Choice {
  int64_t request = 0;
  uint32_t image = 0;
  int step = 0;

  friend bool operator==(const Choice&, const Choice&) = default;
  friend void PrintTo(const Choice& choice, std::ostream* out) {
    *out << absl::StrFormat("%d/%d@%d", choice.request, choice.image, choice.step);
  }
};

// The rule of scheduler.h and turn.h without any data structure to speak of.
class PlainScheduler {
 public:
  PlainScheduler(int slots, int step_rows, int64_t capacity)
      : slots_(slots), step_rows_(step_rows), capacity_(capacity) {}

  bool Submit(int64_t number, const DrawRequest& draw, SteadyTime now) {
    if (taken_places_ + draw.count > capacity_) return false;
    const int rows = draw.guidance_scale == 1 ? 1 : 2;
    const int steps = static_cast<int>(draw.plan->size());
    Request& request = requests_[number];
    request.draw = draw;
    request.rows = rows;
    request.places = draw.count;
    request.turns = {.submitted = Seconds(now.time_since_epoch()),
                     .step_seconds = Seconds(std::chrono::nanoseconds(kStep)),
                     .steps = steps,
                     .rows = rows,
                     .request = number};
    taken_places_ += draw.count;
    changed_ = true;
    return true;
  }

  void Cancel(int64_t number) { requests_.at(number).cancelled = true; }

  // An image of a request has been read by its client.
  void ReleaseOne(int64_t number) {
    --requests_.at(number).places;
    --taken_places_;
  }

  // One pass, whose step fails if `fail`. Who is in it.
  std::vector<Choice> Pass(SteadyTime now, bool fail) {
    Drop(now);
    Choose();
    std::vector<Choice> choices;
    for (const Image& image : chosen()) choices.push_back({image.request, image.index, image.step});
    for (size_t i = 0; i < chosen_; ++i) {
      if (fail) {
        requests_.at(begun_[i].request).failed = true;
      } else {
        ++begun_[i].step;
      }
    }
    if (!fail) Finish();
    return choices;
  }

  std::map<int64_t, absl::StatusCode> ends() const { return ends_; }

 private:
  struct Request {
    DrawRequest draw;
    Turns turns;
    int rows = 1;
    int64_t places = 0;
    uint32_t started = 0, finished = 0;
    bool cancelled = false, failed = false;
  };
  struct Image {
    int64_t request = 0;
    uint32_t index = 0;
    int step = 0;
  };

  Turn TurnOf(const Image& image) const {
    const Turns& turns = requests_.at(image.request).turns;
    return turns.Begun(turns.steps - image.step, image.index);
  }

  std::vector<Image> chosen() const { return {begun_.begin(), begun_.begin() + static_cast<ptrdiff_t>(chosen_)}; }

  std::optional<absl::StatusCode> WhyOver(const Request& request, SteadyTime now) const {
    if (request.failed) return absl::StatusCode::kInternal;
    if (request.cancelled) return absl::StatusCode::kCancelled;
    if (request.draw.deadline - LeastTimeFor(request) / 2 <= now) return absl::StatusCode::kDeadlineExceeded;
    return std::nullopt;
  }

  // Alone here, for what is left.
  std::chrono::nanoseconds LeastTimeFor(const Request& request) const {
    int64_t steps = 0;
    for (const Image& image : begun_) {
      if (&requests_.at(image.request) == &request) steps = std::max<int64_t>(steps, request.turns.steps - image.step);
    }
    const uint32_t at_once = static_cast<uint32_t>(step_rows_ / request.rows);
    const uint32_t rounds = (request.draw.count - request.started + at_once - 1) / at_once;
    return kStep * std::max<int64_t>(steps, int64_t{rounds} * request.turns.steps);
  }

  void Drop(SteadyTime now) {
    for (auto& [number, request] : requests_) {
      const std::optional<absl::StatusCode> why = WhyOver(request, now);
      if (ends_.contains(number) || !why.has_value()) continue;
      ends_[number] = *why;
      changed_ = true;
      if (request.cancelled) taken_places_ -= std::exchange(request.places, 0);
    }
    std::erase_if(begun_, [&](const Image& image) { return ends_.contains(image.request); });
  }

  void Choose() {
    if (!std::exchange(changed_, false)) return;
    std::stable_sort(begun_.begin(), begun_.end(),
                     [&](const Image& a, const Image& b) { return TurnOf(a) < TurnOf(b); });
    int rows = 0;
    for (chosen_ = 0;; ++chosen_) {
      std::optional<std::pair<Turn, int64_t>> next;
      for (const auto& [number, request] : requests_) {
        if (ends_.contains(number) || request.started == request.draw.count) continue;
        const Turn turn = request.turns.Waiting(request.started, step_rows_);
        if (!next.has_value() || turn < next->first) next.emplace(turn, number);
      }
      if (static_cast<int>(begun_.size()) == slots_) next.reset();
      const bool any_begun = chosen_ < begun_.size();
      if (!next.has_value() && !any_begun) return;
      const bool begin = next.has_value() && (!any_begun || next->first < TurnOf(begun_[chosen_]));
      const int64_t number = begin ? next->second : begun_[chosen_].request;
      rows += requests_.at(number).rows;
      if (rows > step_rows_) return;
      if (begin) begun_.insert(begun_.begin() + static_cast<ptrdiff_t>(chosen_), {number, requests_[number].started++});
    }
  }

  void Finish() {
    std::erase_if(begun_, [&](const Image& image) {
      Request& request = requests_.at(image.request);
      if (image.step < request.turns.steps) return false;
      if (++request.finished == request.draw.count) ends_[image.request] = absl::StatusCode::kOk;
      changed_ = true;
      return true;
    });
  }

  const int slots_, step_rows_;
  const int64_t capacity_;
  std::map<int64_t, Request> requests_;
  std::vector<Image> begun_;  // the chosen first
  size_t chosen_ = 0;
  bool changed_ = false;
  int64_t taken_places_ = 0;
  std::map<int64_t, absl::StatusCode> ends_;
};

class Listener : public DrawListener {
 public:
  void OnPreview(const PreviewFrame&) override {}
  void OnImage(const FinishedImage&) override { ++unread; }
  void OnDone(const absl::Status& status) override { end = status.code(); }

  int unread = 0;
  std::optional<absl::StatusCode> end;
};

// One random schedule on both.
class Replay {
 public:
  explicit Replay(uint64_t seed)
      : random_(seed),
        rows_(2 + Any(7)),
        queued_(Any(60)),
        slots_(rows_ + Any(queued_ + 1)),
        engine_(slots_),
        scheduler_(engine_, {.max_batch_rows = rows_, .max_queued_images = queued_}, nullptr,
                   [this] { return clock_.now(); }) {
    engine_.SetStepTime(&clock_, kStep);
    engine_.ForgetStepsDone();  // a step that fails loses its rows
    EXPECT_THAT(scheduler_.Calibrate(), IsOk());
    plain_ = std::make_unique<PlainScheduler>(slots_, scheduler_.step_rows(), scheduler_.capacity());
  }

  void Run(int events) {
    for (int i = 0; i < events && !testing::Test::HasFailure(); ++i) Event();
    for (int i = 0; i < 100000 && !scheduler_.idle() && !testing::Test::HasFailure(); ++i) Pass();
    std::map<int64_t, absl::StatusCode> ends;
    for (const auto& [number, client] : clients_) ends[number] = client.heard->end.value_or(absl::StatusCode::kUnknown);
    EXPECT_EQ(ends, plain_->ends());
    for (const auto& [number, end] : ends) ++kinds_[end];
  }

  int64_t steps() const { return steps_; }
  const std::map<absl::StatusCode, int>& kinds() const { return kinds_; }  // of ends

 private:
  struct Client {
    std::shared_ptr<Listener> heard = std::make_shared<Listener>();
    Ticket ticket;
  };

  int Any(int below) { return static_cast<int>(random_() % static_cast<uint64_t>(below)); }

  void Event() {
    const int what = Any(20);
    if (what < 6) {
      Submit();
    } else if (what == 6 && !clients_.empty()) {
      Cancel(Any(static_cast<int>(clients_.size())));
    } else {
      Pass();
    }
  }

  void Submit() {
    DrawRequest draw;
    draw.count = static_cast<uint32_t>(1 + (Any(3) == 0 ? Any(12) : 0));
    draw.plan = std::make_shared<const StepPlan>(1 + Any(Any(4) == 0 ? 100 : 10));
    draw.guidance_scale = Any(4) == 0 ? 2 : 1;
    draw.seed = static_cast<uint64_t>(submitted_);
    if (Any(5) == 0) draw.deadline = clock_.now() + kStep * (1000 + Any(100));
    if (draw.count > scheduler_.capacity()) return;
    Client client;
    absl::StatusOr<Admission> admission = scheduler_.Submit(draw, client.heard);
    if (absl::IsDeadlineExceeded(admission.status())) {  // by a forecast, of which the rule here knows nothing
      ++submitted_;
      return;
    }
    ASSERT_EQ(admission.ok(), plain_->Submit(submitted_, draw, clock_.now())) << admission.status();
    if (admission.ok()) {
      client.ticket = std::move(admission->ticket);
      clients_.emplace(submitted_, std::move(client));
    }
    ++submitted_;
  }

  void Cancel(int which) {
    const auto client = std::next(clients_.begin(), which);
    if (client->second.heard->end.has_value()) return;
    client->second.ticket = Ticket();
    plain_->Cancel(client->first);
  }

  void Pass() {
    if (Any(10) == 0) clock_.Advance(kStep * Any(100));
    const bool fail = Any(200) == 0;
    const SteadyTime now = clock_.now();
    const std::vector<Choice> expected = plain_->Pass(now, fail);
    engine_.ForgetBatches();
    if (fail && !expected.empty()) engine_.FailNextStep(absl::InternalError("a fault"));
    scheduler_.RunStep();
    std::vector<Choice> chosen;
    for (const std::vector<StepRow>& batch : engine_.batches()) {
      for (const StepRow& row : batch) {
        if (!IsTrial(row)) chosen.push_back({static_cast<int64_t>(row.seed), row.image_index, row.step});
      }
    }
    ASSERT_EQ(chosen, expected) << "step " << steps_;
    ++steps_;
    for (auto& [number, client] : clients_) {
      for (; client.heard->unread > 0; --client.heard->unread) {
        client.ticket.ReleaseOne();
        plain_->ReleaseOne(number);
      }
    }
  }

  std::mt19937_64 random_;
  const int rows_, queued_, slots_;
  FakeClock clock_;
  PuppetEngine engine_;
  Scheduler scheduler_;
  std::unique_ptr<PlainScheduler> plain_;
  std::map<int64_t, Client> clients_;
  int64_t submitted_ = 0;
  int64_t steps_ = 0;
  std::map<absl::StatusCode, int> kinds_;
};

TEST(SchedulerReplayTest, DecidesAsThePlainRule) {
  int64_t steps = 0;
  std::map<absl::StatusCode, int> kinds;
  for (uint64_t seed = 0; seed < 300 && !HasFailure(); ++seed) {
    SCOPED_TRACE(absl::StrFormat("seed %d", seed));
    Replay replay(seed);
    replay.Run(400);
    steps += replay.steps();
    for (const auto& [kind, count] : replay.kinds()) kinds[kind] += count;
  }
  EXPECT_GT(steps, 100000);
  for (const absl::StatusCode kind : {absl::StatusCode::kOk, absl::StatusCode::kCancelled, absl::StatusCode::kInternal,
                                      absl::StatusCode::kDeadlineExceeded}) {
    EXPECT_GT(kinds[kind], 100) << absl::StatusCodeToString(kind);
  }
}

}  // namespace
}  // namespace denoised
