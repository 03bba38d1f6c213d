// Random crowds of hostile clients on the real scheduler, on a clock of their own: long queues, floods of short chains,
// an identity for each request, guided images, requests that are taken back and sent again. Whatever they send, nobody
// starves: the bound of fair_order.h holds for every client at every step, and within a client's work that of turn.h.
//
// Each crowd is a function of its seed, which a failure names:
//   DENOISED_SCHEDULES=100000 build/release/bin/scheduler_tests --gtest_filter='StarvationTest.*'
//   DENOISED_SCHEDULE_SEED=1234 build/release/bin/scheduler_tests --gtest_filter='StarvationTest.*'
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
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
#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

constexpr std::chrono::milliseconds kStep(1);

struct Request : DrawListener {
  void OnPreview(const PreviewFrame&) override {}
  void OnImage(const FinishedImage&) override { ++finished; }
  void OnDone(const absl::Status&) override { done = true; }

  int rows() const { return draw.guidance_scale == 1 ? 1 : 2; }
  int steps() const { return static_cast<int>(draw.plan->size()); }
  int64_t left() const { return int64_t{draw.count} - finished; }
  // The turn of its next image that has not begun (turn.h).
  SteadyTime Turn(int step_rows) const {
    const int64_t round = begun * rows() / step_rows;
    return submitted + static_cast<int>(kPatience) * kStep * steps() * (1 + round);
  }

  DrawRequest draw;
  SteadyTime submitted;
  std::optional<Ticket> ticket;
  bool cancelled = false;
  bool done = false;
  int64_t begun = 0, finished = 0;  // images
};

// What a client has had of one priority, and what it should have had at least, in row-steps.
struct Account {
  double lag = 0;          // what is counted for it by fair_order.h, less what it has had
  double least = 0;        // that this has been
  int64_t most_flows = 0;  // that there have been at once
  int64_t left_out = 0;    // images that are here and not in the step
};

using FlowName = std::pair<std::string, Priority>;

FlowName FlowOf(const Request& request) { return {request.draw.client, request.draw.priority}; }
double WeightOf(const FlowName& flow) { return flow.second == Priority::kInteractive ? 16 : 1; }

// Makes steps of a millisecond, and remembers the last ones.
class CountingEngine : public Engine {
 public:
  CountingEngine(int slots, int steps_at_once) : slots_(slots), steps_at_once_(steps_at_once) {}
  int num_slots() const override { return slots_; }
  int StepsAtOnce(int) const override { return steps_at_once_; }
  absl::Status Step(absl::Span<const StepRow> rows) override { return Steps(rows, 1); }
  absl::Status Steps(absl::Span<const StepRow> rows, int count) override {
    now_ += kStep * count;
    rows_.assign(rows.begin(), rows.end());
    count_ = count;
    return absl::OkStatus();
  }
  absl::Status Read(int, FrameKind, absl::Span<float> pixels) override {
    std::fill(pixels.begin(), pixels.end(), 0.0f);
    return absl::OkStatus();
  }
  SteadyTime now() const { return now_; }
  std::vector<StepRow> TakeRows() { return std::exchange(rows_, {}); }
  int count() const { return count_; }

 private:
  const int slots_;
  const int steps_at_once_;
  SteadyTime now_ = SteadyTime(std::chrono::hours(1));
  std::vector<StepRow> rows_;
  int count_ = 1;
};

class Crowd {
 public:
  explicit Crowd(uint64_t seed) : random_(seed) {
    options_.max_batch_rows = 2 + random_.UpTo(6);
    options_.max_queued_images = 20 + random_.UpTo(180);
    steps_at_once_ = random_.OneIn(3) ? 1 + random_.UpTo(3) : 1;
    engine_ = std::make_unique<CountingEngine>(UsefulSlots(options_), steps_at_once_);
    scheduler_ = std::make_unique<Scheduler>(*engine_, options_, nullptr, [this] { return engine_->now(); });
    for (int members = 1 + random_.UpTo(11); members > 0; --members) members_.push_back(MakeMember());
  }

  ~Crowd() {
    for (auto& [seed, request] : requests_) request->ticket.reset();  // it holds the request in turn
  }

  // What was broken first; "" if nothing was.
  std::string Run() {
    if (!scheduler_->Calibrate().ok()) return "the engine cannot step";
    for (int passes = 200 + random_.UpTo(3000); passes > 0 && broken_.empty(); --passes) {
      for (Member& member : members_) Act(member);
      NoteWork();
      engine_->TakeRows();
      scheduler_->RunStep();
      const std::vector<StepRow> rows = engine_->TakeRows();
      if (!rows.empty()) Count(rows);
      ForgetDone();
    }
    return broken_;
  }

 private:
  // A client, and how it behaves.
  struct Member {
    std::string name;
    int outstanding = 1;  // requests that it keeps here
    int steps = 1;        // at most, of each
    int images = 1;       // at most, of each
    bool guided = false;
    bool steps_vary = false;
    bool renamed = false;  // another identity for each request
    bool fickle = false;   // takes back and sends again
    bool bursts = false;   // sends only when all is done
    Priority priority = Priority::kInteractive;
    std::vector<std::shared_ptr<Request>> requests;
  };

  Member MakeMember() {
    Member member;
    member.name = absl::StrCat("client ", random_.UpTo(9));
    member.outstanding = random_.OneIn(3) ? 1 + random_.UpTo(40) : 1 + random_.UpTo(3);
    member.steps = random_.OneIn(2) ? 1 + random_.UpTo(2) : 1 + random_.UpTo(60);
    member.images = random_.OneIn(3) ? 1 + random_.UpTo(8) : 1;
    member.guided = random_.OneIn(4);
    member.steps_vary = random_.OneIn(2);
    member.renamed = random_.OneIn(3);
    member.fickle = random_.OneIn(4);
    member.bursts = random_.OneIn(4);
    member.priority = random_.OneIn(4) ? Priority::kBatch : Priority::kInteractive;
    return member;
  }

  void Act(Member& member) {
    if (member.fickle && !member.requests.empty() && random_.OneIn(8)) {
      Request& request = *random_.Of(member.requests);
      request.cancelled = true;
      request.ticket.reset();
    }
    std::erase_if(member.requests, [](const auto& request) { return request->done || request->cancelled; });
    if (member.bursts && !member.requests.empty()) return;
    while (static_cast<int>(member.requests.size()) < member.outstanding && Submit(member)) {
    }
  }

  bool Submit(Member& member) {
    auto request = std::make_shared<Request>();
    DrawRequest& draw = request->draw;
    draw.seed = ++seeds_;
    draw.count = static_cast<uint32_t>(1 + random_.UpTo(member.images - 1));
    draw.plan = std::make_shared<const StepPlan>(member.steps_vary ? 1 + random_.UpTo(member.steps - 1) : member.steps);
    draw.guidance_scale = member.guided ? 2 : 1;
    draw.client = member.renamed ? absl::StrCat("nobody ", draw.seed) : member.name;
    draw.priority = member.priority;
    request->submitted = engine_->now();
    absl::StatusOr<Admission> admission = scheduler_->Submit(draw, request);
    if (!admission.ok()) return false;
    request->ticket = std::move(admission->ticket);
    requests_.emplace(draw.seed, request);
    member.requests.push_back(request);
    return true;
  }

  // Who has work before the step.
  void NoteWork() {
    for (auto& [flow, account] : accounts_) account.left_out = 0;
    for (const auto& [seed, request] : requests_) {
      if (request->cancelled) continue;
      Account& account = accounts_[FlowOf(*request)];
      account.left_out += request->left();
      int64_t& largest = largest_[FlowOf(*request)];
      largest = std::max(largest, int64_t{request->rows()} * request->steps());
    }
    std::erase_if(accounts_, [](const auto& entry) { return entry.second.left_out == 0; });
  }

  void Count(const std::vector<StepRow>& rows) {
    std::map<FlowName, SteadyTime> latest;  // submission of those in the step
    for (const StepRow& row : rows) {
      Request& request = *requests_.at(row.seed);
      if (row.step == 0) ++request.begun;
      SteadyTime& submitted = latest[FlowOf(request)];
      submitted = std::max(submitted, request.submitted);
      Account& account = accounts_.at(FlowOf(request));
      account.lag -= NetworkRows(row) * engine_->count();
      --account.left_out;
    }
    CheckShares(NetworkRows(rows));
    CheckTurns(latest);
  }

  void CheckShares(int rows) {
    double weights = 0;
    for (const auto& [flow, account] : accounts_) weights += WeightOf(flow);
    for (auto& [flow, account] : accounts_) {
      const double share = std::min(rows * WeightOf(flow) / weights, 1.0);
      if (account.left_out > 0) account.lag += share * engine_->count();
      account.most_flows = std::max(account.most_flows, static_cast<int64_t>(accounts_.size()));
      account.least = std::min(account.least, account.lag);
      const double until_owed = (FairOrder::kMostAhead + FairOrder::kMostBehind) * static_cast<double>(largest_[flow]);
      const double others = 2.0 * steps_at_once_ * static_cast<double>(account.most_flows);
      const double bound = 2 * (until_owed + others);
      if (account.lag - account.least <= bound) continue;
      broken_ = absl::StrFormat("%s lacks %.1f row-steps of its share, %.1f at most are promised", flow.first,
                                account.lag - account.least, bound);
    }
  }

  void CheckTurns(const std::map<FlowName, SteadyTime>& latest) {
    for (const auto& [seed, request] : requests_) {
      const auto in_step = latest.find(FlowOf(*request));
      if (in_step == latest.end() || request->cancelled || request->begun == request->draw.count) continue;
      if (in_step->second <= request->Turn(scheduler_->step_rows())) continue;
      broken_ =
          absl::StrFormat("request %d of %s is overtaken by one that came after its turn", seed, request->draw.client);
    }
  }

  // Frees the places of all at once, so that whoever sends most gets most of them.
  void ForgetDone() {
    for (auto& [seed, request] : requests_) {
      if (request->done) request->ticket.reset();
    }
    std::erase_if(requests_, [](const auto& entry) { return entry.second->done || entry.second->cancelled; });
    for (auto& [flow, account] : accounts_) account.left_out = 0;
    for (const auto& [seed, request] : requests_) {
      const auto account = accounts_.find(FlowOf(*request));
      if (account != accounts_.end()) ++account->second.left_out;
    }
    std::erase_if(accounts_, [](const auto& entry) { return entry.second.left_out == 0; });
  }

  Random random_;
  SchedulerOptions options_;
  int steps_at_once_ = 1;
  std::unique_ptr<CountingEngine> engine_;
  std::unique_ptr<Scheduler> scheduler_;
  std::vector<Member> members_;
  std::map<uint64_t, std::shared_ptr<Request>> requests_;  // admitted and not over, by seed
  std::map<FlowName, Account> accounts_;                   // of those that have work
  std::map<FlowName, int64_t> largest_;                    // image that it has ever sent: row-steps
  uint64_t seeds_ = 0;
  std::string broken_;
};

TEST(StarvationTest, NobodyIsPutOffForLongerThanIsPromised) {
  const RandomSchedules schedules(/*by_default=*/60);
  for (uint64_t seed = schedules.first; seed < schedules.end; ++seed) {
    ASSERT_EQ(Crowd(seed).Run(), "") << "replay: DENOISED_SCHEDULE_SEED=" << seed;
  }
}

}  // namespace
}  // namespace denoised
