// Fairness between clients, seen on the whole scheduler: who is in each step.
#include "server/scheduler/fair_order.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "server/scheduler/scheduler.h"
#include "tests/testing/puppet_engine.h"
#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

using std::chrono::milliseconds;
using testing::AllOf;
using testing::Ge;
using testing::Gt;
using testing::Le;

struct Finish : DrawListener {
  explicit Finish(const FakeClock& its_clock) : clock(its_clock) {}
  void OnPreview(const PreviewFrame&) override {}
  void OnImage(const FinishedImage&) override {}
  void OnDone(const absl::Status& status) override {
    EXPECT_THAT(status, IsOk());
    at = clock.now();
  }

  const FakeClock& clock;
  std::optional<SteadyTime> at;
};

// A scheduler whose steps take a millisecond, and clients that are told apart by their labels.
class FairnessTest : public testing::Test {
 protected:
  struct Call {
    std::shared_ptr<Finish> finish;
    Admission admission;
    SteadyTime submitted;

    bool done() const { return finish->at.has_value(); }
    int64_t milliseconds() const {
      return std::chrono::duration_cast<std::chrono::milliseconds>(*finish->at - submitted).count();
    }
  };

  explicit FairnessTest(int rows = 2, int slots = 300)
      : engine_(slots), scheduler_(engine_, {.max_batch_rows = rows, .max_queued_images = 100000}, nullptr, [this] {
          return clock_.now();
        }) {
    engine_.SetStepTime(&clock_, milliseconds(1));
    EXPECT_THAT(scheduler_.Calibrate(), IsOk());
    engine_.ForgetBatches();
  }

  Call Submit(int client, int steps, uint32_t count = 1, Priority priority = Priority::kInteractive,
              float guidance_scale = 1) {
    DrawRequest draw;
    draw.client = std::to_string(client);
    draw.label = client;
    draw.count = count;
    draw.priority = priority;
    draw.guidance_scale = guidance_scale;
    draw.plan = std::make_shared<const StepPlan>(steps);
    Call call{.finish = std::make_shared<Finish>(clock_), .admission = {}, .submitted = clock_.now()};
    absl::StatusOr<Admission> admission = scheduler_.Submit(draw, call.finish);
    EXPECT_THAT(admission.status(), IsOk());
    call.admission = *std::move(admission);
    return call;
  }

  // As many requests of one image each.
  void Queue(int client, int requests, int steps, Priority priority = Priority::kInteractive,
             float guidance_scale = 1) {
    for (int i = 0; i < requests; ++i) queued_.push_back(Submit(client, steps, 1, priority, guidance_scale));
  }

  void RunSteps(int passes) {
    for (int i = 0; i < passes; ++i) ASSERT_TRUE(scheduler_.RunStep());
  }

  // Steps until it is done; the milliseconds it took.
  int64_t Follow(const Call& call) {
    while (!call.done() && scheduler_.RunStep()) {
    }
    return call.milliseconds();
  }

  // Rows that each client got in the steps since the last time.
  std::map<int, int> RowsByClient() {
    std::map<int, int> rows;
    for (const std::vector<StepRow>& batch : engine_.batches()) {
      for (const StepRow& row : batch) rows[row.label] += row.guidance_scale == 1 ? 1 : 2;
    }
    engine_.ForgetBatches();
    return rows;
  }

  FakeClock clock_;
  PuppetEngine engine_;
  Scheduler scheduler_;
  std::vector<Call> queued_;
};

class WideFairnessTest : public FairnessTest {
 protected:
  WideFairnessTest() : FairnessTest(/*rows=*/16) {}
};

class FewSlotsFairnessTest : public FairnessTest {
 protected:
  FewSlotsFairnessTest() : FairnessTest(/*rows=*/2, /*slots=*/5) {}
};

// What a client with a long queue could do to others: 0.05 s alone, 13.7 s behind it.
TEST_F(FairnessTest, ClientsLongQueueDoesNotDelayAnothersRequest) {
  std::mt19937 random(1);
  Queue(1, 200, 1000);
  for (int i = 0; i < 200; ++i) {
    RunSteps(static_cast<int>(random() % 400));
    EXPECT_EQ(Follow(Submit(2, 100)), 100) << "call " << i;
    queued_.push_back(Submit(1, 1000));
  }
}

TEST_F(FairnessTest, NorDoesOneOfGuidedImagesWhichTakeWholeSteps) {
  std::mt19937 random(1);
  Queue(1, 200, 1000, Priority::kInteractive, 2);
  for (int i = 0; i < 200; ++i) {
    RunSteps(static_cast<int>(random() % 400));
    EXPECT_LE(Follow(Submit(2, 100)), 300) << "call " << i;
    queued_.push_back(Submit(1, 1000, 1, Priority::kInteractive, 2));
  }
}

TEST_F(FairnessTest, SeveralLongQueuesDelayItByTheirShares) {
  std::mt19937 random(1);
  for (int client = 3; client < 6; ++client) Queue(client, 100, client == 3 ? 20 : 1000);
  for (int i = 0; i < 50; ++i) {
    RunSteps(static_cast<int>(random() % 400));
    EXPECT_LE(Follow(Submit(2, 100)), 300) << "call " << i;
    for (int client = 3; client < 6; ++client) Queue(client, client == 3 ? 30 : 1, client == 3 ? 20 : 1000);
  }
}

TEST_F(FairnessTest, ClientsThatWantMoreThanThereIsGetEquallyManyRows) {
  Queue(1, 1000, 20);
  Queue(2, 200, 100);
  Queue(3, 30, 1000);
  RunSteps(500);
  RowsByClient();
  RunSteps(12000);
  for (const auto& [client, rows] : RowsByClient()) EXPECT_NEAR(rows, 8000, 1000) << "client " << client;
}

TEST_F(WideFairnessTest, ClientsThatWantMoreThanThereIsGetEquallyManyRows) {
  Queue(1, 2000, 100);
  Queue(2, 200, 1000, Priority::kInteractive, 2);
  Queue(3, 300, 1000);
  RunSteps(10);
  RowsByClient();
  RunSteps(6000);
  for (const auto& [client, rows] : RowsByClient()) EXPECT_NEAR(rows, 32000, 3000) << "client " << client;
}

// Images of two requests that began stay in their slots while others run.
TEST_F(FewSlotsFairnessTest, SharesHoldWithoutASlotForEveryImage) {
  Queue(1, 1000, 20);
  Queue(2, 100, 500);
  Queue(3, 100, 1000);
  RunSteps(500);
  RowsByClient();
  RunSteps(9000);
  for (const auto& [client, rows] : RowsByClient()) EXPECT_NEAR(rows, 6000, 1500) << "client " << client;
}

TEST_F(FairnessTest, RequestsOfManyImagesCountByTheirImages) {
  queued_.push_back(Submit(1, 100, 500));
  RunSteps(50);
  EXPECT_EQ(Follow(Submit(2, 100)), 100);
  RowsByClient();
  queued_.push_back(Submit(2, 100, 100));
  RunSteps(4000);
  for (const auto& [client, rows] : RowsByClient()) EXPECT_NEAR(rows, 4000, 200) << "client " << client;
}

// Who used what nobody else wanted owes nobody anything.
TEST_F(FairnessTest, IdleRowsAreHeldAgainstNobody) {
  Queue(1, 100, 1000);
  for (int i = 0; i < 500; ++i) {
    Follow(Submit(2 + i % 5, 2));  // five clients that want little
    RunSteps(20);
  }
  Queue(9, 100, 1000);
  RowsByClient();
  RunSteps(2000);
  EXPECT_NEAR(RowsByClient()[1], 2000, 700);
}

// Nor is somebody starved by ever new clients, each of which has had nothing yet.
TEST_F(FairnessTest, NewClientsDoNotStarveAnOldOne) {
  Queue(1, 4, 500);
  for (int i = 0; i < 400; ++i) {
    Queue(100 + i, 3, 20);  // 60 rows every 30 steps: as much as there is
    RunSteps(30);
  }
  EXPECT_TRUE(queued_[0].done());
}

TEST_F(FairnessTest, OneImageOfEachClientIsDrawnByTurnsAsIfOneClientHadSentThemAll) {
  const auto draw = [](bool one_client) {
    std::mt19937 random(3);
    FakeClock clock;
    PuppetEngine engine(300);
    engine.SetStepTime(&clock, milliseconds(1));
    Scheduler scheduler(engine, {.max_batch_rows = 2, .max_queued_images = 200}, nullptr, [&] { return clock.now(); });
    EXPECT_THAT(scheduler.Calibrate(), IsOk());
    engine.ForgetBatches();
    std::vector<Admission> admissions;
    for (int i = 0; i < 60; ++i) {
      DrawRequest request;
      request.label = i;
      if (!one_client) request.client = std::to_string(i);
      request.plan = std::make_shared<const StepPlan>(std::vector<int>{20, 50, 200}[random() % 3]);
      admissions.push_back(*scheduler.Submit(request, std::make_shared<Finish>(clock)));
      for (int steps = static_cast<int>(random() % 90); steps > 0; --steps) scheduler.RunStep();
    }
    while (scheduler.RunStep()) {
    }
    std::vector<std::vector<int>> steps;
    for (const std::vector<StepRow>& batch : engine.batches()) {
      steps.emplace_back();
      for (const StepRow& row : batch) steps.back().push_back(row.label);
      std::sort(steps.back().begin(), steps.back().end());
    }
    return steps;
  };
  EXPECT_EQ(draw(true), draw(false));
}

TEST_F(FairnessTest, BatchWorkYieldsAndDoesNotStarve) {
  Queue(1, 100, 1000, Priority::kBatch);
  RunSteps(100);
  EXPECT_EQ(Follow(Submit(2, 100, 2)), 100) << "both rows at once";
  Queue(2, 100, 1000);
  RowsByClient();
  RunSteps(34000);
  const std::map<int, int> rows = RowsByClient();
  EXPECT_THAT(rows.at(1), AllOf(Ge(2000), Le(6000))) << "of 68000, a seventeenth is 4000";
}

TEST_F(FairnessTest, BatchWorkTakesAllThatNobodyElseWants) {
  Queue(1, 10, 100, Priority::kBatch);
  RunSteps(100);
  EXPECT_EQ(RowsByClient()[1], 200);
}

TEST_F(FairnessTest, ForecastKnowsAClientsShare) {
  Queue(1, 200, 1000);
  RunSteps(100);
  const Call newcomer = Submit(2, 100);
  EXPECT_EQ(newcomer.admission.estimated_duration, milliseconds(100));
  EXPECT_LE(newcomer.admission.queue_position, 2u);
  Queue(3, 1, 1000);
  const Call batch = Submit(4, 100, 1, Priority::kBatch);
  EXPECT_THAT(batch.admission.estimated_duration, Gt(milliseconds(90000))) << "after everybody else";
}

// Hunts what the bookkeeping of shares could lose under arrivals, cancels and failures: nobody waits while there is
// room in a step, and everybody is served in the end.
TEST_F(FairnessTest, NoRowStaysFreeAndEveryRequestEndsUnderRandomTraffic) {
  for (unsigned seed = 0; seed < 30; ++seed) {
    std::mt19937 random(seed);
    FakeClock clock;
    const int slots = 4 + static_cast<int>(random() % 30);
    const int rows = 2 + static_cast<int>(random() % 3);
    PuppetEngine engine(slots);
    engine.SetStepTime(&clock, milliseconds(1));
    Scheduler scheduler(engine, {.max_batch_rows = rows, .max_queued_images = 1000}, nullptr,
                        [&] { return clock.now(); });
    struct Heard : DrawListener {
      void OnPreview(const PreviewFrame&) override {}
      void OnImage(const FinishedImage&) override {}
      void OnDone(const absl::Status&) override { ++ends; }
      int ends = 0;
    };
    std::vector<std::pair<std::shared_ptr<Heard>, Admission>> calls;
    for (int i = 0; i < 2000; ++i) {
      if (random() % 10 == 0) {
        DrawRequest request;
        request.client = std::to_string(random() % 5);
        request.priority = random() % 4 == 0 ? Priority::kBatch : Priority::kInteractive;
        request.count = 1 + random() % 4;
        request.guidance_scale = random() % 5 == 0 ? 2 : 1;
        request.plan = std::make_shared<const StepPlan>(1 + random() % 40);
        auto heard = std::make_shared<Heard>();
        absl::StatusOr<Admission> admission = scheduler.Submit(request, heard);
        if (admission.ok()) calls.emplace_back(heard, *std::move(admission));
      }
      if (!calls.empty() && random() % 40 == 0) calls[random() % calls.size()].second.ticket.Cancel();
      if (random() % 100 == 0) engine.FailNextStep(absl::InternalError("no"));
      engine.ForgetBatches();
      scheduler.RunStep();
      const SchedulerStats stats = scheduler.stats();
      const std::vector<std::vector<StepRow>> batches = engine.batches();
      if (stats.waiting_images == 0 || batches.empty()) continue;
      int used = 0;
      for (const StepRow& row : batches[0]) used += row.guidance_scale == 1 ? 1 : 2;
      EXPECT_GE(used, rows - 1) << "with " << stats.waiting_images << " waiting, seed " << seed;
    }
    while (scheduler.RunStep()) {
    }
    for (const auto& [heard, admission] : calls) EXPECT_EQ(heard->ends, 1) << "seed " << seed;
    EXPECT_TRUE(scheduler.idle());
  }
}

}  // namespace
}  // namespace denoised
