#include "server/scheduler/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <thread>

#include "tests/testing/puppet_engine.h"
#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using testing::UnorderedElementsAre;

// Writes down what a request's client would hear.
class Recorder : public DrawListener {
 public:
  bool WantsPreview(uint32_t) override { return wants_previews; }
  void OnPreview(const PreviewFrame& frame) override { previews.push_back(frame); }
  void OnImage(const FinishedImage& image) override {
    EXPECT_FALSE(done.has_value()) << "an image after OnDone";
    images.push_back(image);
  }
  void OnDone(const absl::Status& status) override {
    EXPECT_FALSE(done.has_value()) << "OnDone twice";
    done = status;
  }

  bool wants_previews = true;
  std::vector<PreviewFrame> previews;
  std::vector<FinishedImage> images;
  std::optional<absl::Status> done;
};

class CountingObserver : public SchedulerObserver {
 public:
  void OnStep(int rows, int, std::chrono::nanoseconds, std::chrono::nanoseconds) override {
    rows_per_step.push_back(rows);
  }
  void OnImageStarted(std::chrono::nanoseconds wait) override { queue_waits.push_back(wait); }
  void OnImageFinished(SamplerType, std::chrono::nanoseconds) override { ++finished; }
  void OnRejected(DropReason reason) override { ++rejected[DropReasonName(reason)]; }
  void OnWasted(DropReason reason, uint64_t steps) override { wasted[DropReasonName(reason)] += steps; }

  std::vector<int> rows_per_step;
  std::vector<std::chrono::nanoseconds> queue_waits;
  int finished = 0;
  std::map<std::string, int> rejected;
  std::map<std::string, uint64_t> wasted;
};

DrawRequest Draw(int steps, uint32_t count = 1, int label = 0) {
  DrawRequest request;
  request.label = label;
  request.count = count;
  request.seed = 42;
  request.plan = std::make_shared<const StepPlan>(steps);
  return request;
}

// A scheduler with four rows and room for four more images, on a clock of its own: a step takes a millisecond.
class SchedulerTest : public testing::Test {
 protected:
  SchedulerTest() { engine_.SetStepTime(&clock_, milliseconds(1)); }

  struct Client {
    std::shared_ptr<Recorder> heard = std::make_shared<Recorder>();
    Admission admission;
  };

  Client Submit(const DrawRequest& request) {
    Client client;
    absl::StatusOr<Admission> admission = scheduler_.Submit(request, client.heard);
    EXPECT_THAT(admission.status(), IsOk());
    if (admission.ok()) client.admission = *std::move(admission);
    return client;
  }

  absl::Status Refusal(const DrawRequest& request) {
    return scheduler_.Submit(request, std::make_shared<Recorder>()).status();
  }

  void Calibrate() {
    ASSERT_THAT(scheduler_.Calibrate(), IsOk());
    engine_.ForgetBatches();
  }

  void RunSteps(int passes) {
    for (int i = 0; i < passes; ++i) EXPECT_TRUE(scheduler_.RunStep()) << "pass " << i << " had nothing to do";
  }

  void RunUntilIdle() {
    while (scheduler_.RunStep()) {
    }
  }

  std::vector<int> Labels(size_t batch) {
    std::vector<int> labels;
    const std::vector<std::vector<StepRow>> batches = engine_.batches();
    for (const StepRow& row : batches.at(batch)) labels.push_back(row.label);
    return labels;
  }

  FakeClock clock_;
  PuppetEngine engine_{8};
  CountingObserver observer_;
  Scheduler scheduler_{
      engine_, {.max_batch_rows = 4, .max_queued_images = 4}, &observer_, [this] { return clock_.now(); }};
};

TEST_F(SchedulerTest, ImageTakesOneStepForEachRowOfItsPlan) {
  Client client = Submit(Draw(3));
  RunSteps(3);
  EXPECT_FALSE(scheduler_.RunStep());
  const std::vector<std::vector<StepRow>> batches = engine_.batches();
  ASSERT_THAT(batches, SizeIs(3));
  for (int step = 0; step < 3; ++step) EXPECT_EQ(batches[step].at(0).step, step);
  ASSERT_THAT(client.heard->images, SizeIs(1));
  EXPECT_EQ(client.heard->images[0].pixels[0], PuppetPixel(0, 42, 0, 3));
  EXPECT_THAT(client.heard->done, testing::Optional(absl::OkStatus()));
}

TEST_F(SchedulerTest, NewRequestJoinsTheRunningChainAtTheNextStep) {
  Client slow = Submit(Draw(1000, 1, 1));
  RunSteps(10);
  Client late = Submit(Draw(2, 1, 2));
  RunSteps(2);
  EXPECT_THAT(Labels(9), ElementsAre(1));
  EXPECT_THAT(Labels(10), UnorderedElementsAre(1, 2));
  EXPECT_TRUE(late.heard->done.has_value());
  EXPECT_FALSE(slow.heard->done.has_value());
  EXPECT_THAT(observer_.queue_waits, ElementsAre(milliseconds(0), milliseconds(0)));
}

TEST_F(SchedulerTest, ImagesOfARequestDifferInIndexAndShareItsSeed) {
  Client client = Submit(Draw(2, 3));
  RunUntilIdle();
  ASSERT_THAT(client.heard->images, SizeIs(3));
  for (const FinishedImage& image : client.heard->images) {
    EXPECT_EQ(image.pixels[0], PuppetPixel(0, 42, image.image_index, 2));
  }
  EXPECT_EQ(observer_.finished, 3);
}

TEST_F(SchedulerTest, BatchNeverExceedsItsRows) {
  Client big = Submit(Draw(5, 7));
  RunUntilIdle();
  EXPECT_THAT(big.heard->images, SizeIs(7));
  EXPECT_THAT(observer_.rows_per_step, ElementsAre(4, 4, 4, 4, 4, 3, 3, 3, 3, 3));
}

TEST_F(SchedulerTest, GuidedImageTakesTwoRows) {
  DrawRequest guided = Draw(1, 3);
  guided.guidance_scale = 2;
  Client client = Submit(guided);
  RunUntilIdle();
  EXPECT_THAT(observer_.rows_per_step, ElementsAre(4, 2));
  EXPECT_EQ(engine_.batches()[0][0].guidance_scale, 2);
}

TEST_F(SchedulerTest, GuidedImageThatWaitsForTwoRowsIsNotOvertaken) {
  Calibrate();
  Client running = Submit(Draw(2, 3, 1));
  RunSteps(1);
  DrawRequest guided = Draw(1, 1, 2);
  guided.guidance_scale = 2;
  Client first = Submit(guided);
  Client second = Submit(Draw(1, 1, 3));
  RunSteps(2);
  EXPECT_THAT(Labels(1), ElementsAre(1, 1, 1));  // one row stays free
  EXPECT_THAT(Labels(2), ElementsAre(2, 3));
}

TEST_F(SchedulerTest, LaterRoundsOfABigRequestLetOthersGoFirst) {
  Calibrate();
  Client many = Submit(Draw(1, 6, 1));
  RunSteps(1);
  Client one = Submit(Draw(1, 1, 2));
  RunSteps(1);
  EXPECT_THAT(Labels(0), ElementsAre(1, 1, 1, 1));
  EXPECT_THAT(Labels(1), ElementsAre(2, 1, 1));
}

TEST_F(SchedulerTest, ImagesThatNeedLittleOvertakeThoseThatNeedMuch) {
  Calibrate();
  Client slow = Submit(Draw(20, 4, 1));
  RunSteps(5);
  Client quick = Submit(Draw(3, 1, 2));
  RunSteps(3);
  ASSERT_TRUE(quick.heard->done.has_value());
  for (size_t step = 5; step < 8; ++step) EXPECT_THAT(Labels(step), ElementsAre(2, 1, 1, 1));
  EXPECT_EQ(scheduler_.stats().denoising_images, 4) << "the one overtaken keeps what has been done";
  RunUntilIdle();
  ASSERT_THAT(slow.heard->images, SizeIs(4));
  EXPECT_EQ(slow.heard->images[2].denoise_duration, milliseconds(20));
  EXPECT_EQ(slow.heard->images[3].denoise_duration, milliseconds(23)) << "it lost three steps, and no work";
  for (const FinishedImage& image : slow.heard->images) {
    EXPECT_EQ(image.pixels[0], PuppetPixel(1, 42, image.image_index, 20));
  }
}

TEST_F(SchedulerTest, NobodyIsOvertakenForEver) {
  Calibrate();
  Client slow = Submit(Draw(10, 1, 1));
  std::vector<Client> quick;
  int steps = 0;
  for (; !slow.heard->done.has_value() && steps < 1000; ++steps) {
    while (quick.size() < 4) quick.push_back(Submit(Draw(1, 1, 2)));
    RunSteps(1);
    std::erase_if(quick, [](const Client& client) { return client.heard->done.has_value(); });
  }
  // It may wait kPatience times its ten steps, and then has its turn.
  EXPECT_LE(steps, 10 * kPatience + 10);
  EXPECT_GT(steps, 20);
}

TEST_F(SchedulerTest, StepIsAsWideAsTheEngineRewards) {
  const auto rows_of = [](auto time_of) {
    FakeClock clock;
    PuppetEngine engine(16);
    engine.SetStepTime(&clock, time_of);
    Scheduler scheduler(engine, {.max_batch_rows = 16}, nullptr, [&clock] { return clock.now(); });
    EXPECT_EQ(scheduler.step_rows(), 16);
    EXPECT_THAT(scheduler.Calibrate(), IsOk());
    return scheduler.step_rows();
  };
  EXPECT_EQ(rows_of([](int) { return milliseconds(1); }), 16) << "rows cost nothing";
  EXPECT_EQ(rows_of([](int rows) { return milliseconds(rows); }), 2) << "rows cost their share: a guided image's two";
  EXPECT_EQ(rows_of([](int rows) { return milliseconds(std::max(rows, 8)); }), 8) << "eight cores";
  EXPECT_EQ(rows_of([](int rows) { return milliseconds(9 + rows); }), 16) << "each further row is cheaper";
  EXPECT_EQ(rows_of([](int) { return milliseconds(0); }), 16) << "nothing costs anything";
}

// Where wide steps are a little better, those of 16 rows made another client 14 times as late as alone.
TEST_F(SchedulerTest, OneClientsQueueMakesAnothersFewStepsAtMostFourTimesAsLate) {
  constexpr int kSteps = 100;
  PuppetEngine engine(UsefulSlots({}));
  engine.SetStepTime(&clock_, [](int rows) {
    return std::chrono::microseconds(rows == 1 ? 370 : rows == 2 ? 540 : rows <= 4 ? 1030 : rows <= 8 ? 1970 : 3500);
  });
  Scheduler scheduler(engine, {}, nullptr, [this] { return clock_.now(); });
  ASSERT_THAT(scheduler.Calibrate(), IsOk());
  const auto draw_few = [&] {
    DrawRequest few = Draw(kSteps);
    few.client = "few";
    const auto heard = std::make_shared<Recorder>();
    const absl::StatusOr<Admission> admission = scheduler.Submit(few, heard);
    EXPECT_THAT(admission, IsOk());
    const SteadyTime start = clock_.now();
    while (!heard->done.has_value() && scheduler.RunStep()) {
    }
    return clock_.now() - start;
  };
  const auto alone = draw_few();
  DrawRequest many = Draw(1000, 200);
  many.client = "many";
  const auto heard = std::make_shared<Recorder>();
  const absl::StatusOr<Admission> queue = scheduler.Submit(many, heard);
  ASSERT_THAT(queue, IsOk());
  for (int i = 0; i < 20; ++i) {
    for (int pass = 0; pass < 37; ++pass) scheduler.RunStep();
    EXPECT_LE(draw_few(), 4 * alone);
  }
  EXPECT_FALSE(heard->done.has_value());
}

TEST_F(SchedulerTest, BatchMixesSamplersAndStepCounts) {
  Client a = Submit(Draw(3, 1, 1));
  DrawRequest fast = Draw(1, 1, 2);
  fast.sampler = SamplerType::kDdim;
  fast.preview_every = 1;
  Client b = Submit(fast);
  RunSteps(1);
  const std::vector<StepRow> batch = engine_.batches()[0];
  ASSERT_THAT(batch, SizeIs(2));
  EXPECT_EQ(batch[0].plan->size() + batch[1].plan->size(), 4u);
  EXPECT_TRUE(b.heard->done.has_value());
}

// ---- Several steps in one call of the engine ----

TEST_F(SchedulerTest, StepsAtOnceEndWhereAFrameIsDueOrAChainEnds) {
  engine_.SetStepsAtOnce(8);
  DrawRequest with_frames = Draw(20, 1, 1);
  with_frames.preview_every = 6;
  Client watched = Submit(with_frames);
  Client other = Submit(Draw(11, 1, 2));
  RunUntilIdle();
  EXPECT_THAT(engine_.counts(),
              ElementsAre(6, 5, 6, 2));  // a frame; the other's end, a step alone; two frames; the end
  EXPECT_EQ(engine_.steps(), 20);
  EXPECT_THAT(observer_.rows_per_step, SizeIs(20));
  ASSERT_THAT(watched.heard->previews, SizeIs(3));
  for (uint32_t i = 0; i < 3; ++i) {
    EXPECT_EQ(watched.heard->previews[i].step, 6 * (i + 1));
    EXPECT_EQ(watched.heard->previews[i].pixels[0], PuppetPixel(1, 42, 0, static_cast<int>(6 * (i + 1))));
  }
  EXPECT_EQ(watched.heard->images.at(0).pixels[0], PuppetPixel(1, 42, 0, 20));
  EXPECT_EQ(other.heard->images.at(0).pixels[0], PuppetPixel(2, 42, 0, 11));
}

TEST_F(SchedulerTest, WhoComesWaitsForTheStepsUnderWayAndNoMore) {
  engine_.SetStepsAtOnce(4);
  Client first = Submit(Draw(100, 1, 1));
  RunSteps(1);
  Client second = Submit(Draw(100, 1, 2));
  RunSteps(1);
  EXPECT_THAT(Labels(3), ElementsAre(1));
  EXPECT_THAT(Labels(4), ElementsAre(1, 2));
}

TEST_F(SchedulerTest, StepsAtOnceThatFailAreTriedAgainWithoutTheRowAtFault) {
  engine_.SetStepsAtOnce(5);
  DrawRequest poisonous = Draw(10, 1, 2);
  poisonous.seed = 666;
  engine_.Poison(666);
  Client good = Submit(Draw(10, 1, 1)), bad = Submit(poisonous);
  RunUntilIdle();
  EXPECT_THAT(*good.heard->done, IsOk());
  EXPECT_EQ(good.heard->images.at(0).pixels[0], PuppetPixel(1, 42, 0, 10));
  EXPECT_THAT(*bad.heard->done, StatusIs(absl::StatusCode::kInternal, "the puppet chokes on this row"));
}

TEST_F(SchedulerTest, StepsAtOnceAreChargedAsSoManyAndTimedAsOneEach) {
  engine_.SetStepsAtOnce(5);
  Client client = Submit(Draw(10));
  RunSteps(1);
  EXPECT_EQ(scheduler_.stats().steps, 5);
  EXPECT_EQ(scheduler_.UntilIdle(), milliseconds(5));
}

TEST_F(SchedulerTest, CancelledRowLeavesAtNextStep) {
  Client gone = Submit(Draw(1000, 1, 1));
  Client stays = Submit(Draw(1000, 1, 2));
  RunSteps(5);
  gone.admission.ticket.Cancel();
  RunSteps(1);
  EXPECT_THAT(Labels(4), ElementsAre(1, 2));
  EXPECT_THAT(Labels(5), ElementsAre(2));
  ASSERT_TRUE(gone.heard->done.has_value());
  EXPECT_THAT(*gone.heard->done, StatusIs(absl::StatusCode::kCancelled, "the client left"));
  EXPECT_FALSE(stays.heard->done.has_value());
  EXPECT_EQ(observer_.wasted["cancelled"], 5u);
}

// As network rows are, with which the alert compares it.
TEST_F(SchedulerTest, WastedStepsWithGuidanceCountTwice) {
  DrawRequest guided = Draw(1000, 1, 1);
  guided.guidance_scale = 2;
  Client gone = Submit(guided);
  RunSteps(5);
  gone.admission.ticket.Cancel();
  RunSteps(1);
  EXPECT_EQ(observer_.wasted["cancelled"], 10u);
}

TEST_F(SchedulerTest, WasteIsBookedByTheReasonThatTheTicketWasCancelledFor) {
  Client late = Submit(Draw(1000, 1, 1));
  Client slow = Submit(Draw(1000, 1, 2));
  Client gone = Submit(Draw(1000, 1, 3));
  RunSteps(2);
  late.admission.ticket.Cancel(DropReason::kDeadline);
  late.admission.ticket.Cancel();  // changes nothing any more
  slow.admission.ticket.Cancel(DropReason::kSlowReader);
  gone.admission.ticket.Cancel();
  RunSteps(1);
  EXPECT_EQ(observer_.wasted, (std::map<std::string, uint64_t>{{"deadline", 2}, {"slow_reader", 2}, {"cancelled", 2}}));
}

TEST_F(SchedulerTest, DestroyedTicketCancelsItsRequest) {
  std::shared_ptr<Recorder> heard;
  {
    Client client = Submit(Draw(1000));
    heard = client.heard;
    RunSteps(1);
  }
  RunUntilIdle();
  ASSERT_TRUE(heard->done.has_value());
  EXPECT_EQ(heard->done->code(), absl::StatusCode::kCancelled);
  EXPECT_THAT(engine_.batches(), SizeIs(1));
}

TEST_F(SchedulerTest, CancelledRequestInTheQueueNeverStarts) {
  Client running = Submit(Draw(3, 4, 1));
  RunSteps(1);
  Client waiting = Submit(Draw(1, 1, 2));
  RunSteps(1);
  waiting.admission.ticket.Cancel();
  RunUntilIdle();
  EXPECT_EQ(waiting.heard->done->code(), absl::StatusCode::kCancelled);
  for (size_t i = 0; i < engine_.batches().size(); ++i) EXPECT_THAT(Labels(i), testing::Each(1));
}

TEST_F(SchedulerTest, SlotOfACancelledImageServesTheNextRequestOnly) {
  Client first = Submit(Draw(10, 4, 1));
  RunSteps(2);
  first.admission.ticket.Cancel();
  first.admission.ticket.Cancel();  // a second time must not free anything again
  Client next = Submit(Draw(10, 4, 2));
  RunSteps(1);
  const std::vector<StepRow> batch = engine_.batches().back();
  std::set<int> slots;
  for (const StepRow& row : batch) slots.insert(row.slot);
  EXPECT_THAT(batch, SizeIs(4));
  EXPECT_THAT(slots, SizeIs(4)) << "a slot was lent twice";
}

TEST_F(SchedulerTest, ExpiredRequestIsDroppedAtTheNextStep) {
  DrawRequest request = Draw(1000);
  request.deadline = clock_.now() + milliseconds(3);
  Client client = Submit(request);
  RunUntilIdle();
  EXPECT_THAT(engine_.batches(), SizeIs(3));
  EXPECT_THAT(*client.heard->done,
              StatusIs(absl::StatusCode::kDeadlineExceeded, "the deadline passed after 0 of 1 image"));
  EXPECT_EQ(observer_.wasted["deadline"], 3u);
}

// Rather than when it passes, when nobody else could have had those steps any more.
TEST_F(SchedulerTest, RequestEndsOnceItsDeadlineCannotBeMetAnyMore) {
  Calibrate();
  DrawRequest request = Draw(1000);
  request.deadline = clock_.now() + milliseconds(600);
  Client client = Submit(request);
  Client other = Submit(Draw(1));
  RunSteps(150);
  EXPECT_FALSE(client.heard->done.has_value());
  clock_.Advance(milliseconds(100));  // a stall: 350 ms are left for 850 steps
  RunUntilIdle();
  EXPECT_THAT(*client.heard->done,
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       "the deadline can no longer be met: 0.35 s left, and after 0 of 1 image the rest takes "
                       "0.85 s at best"));
  EXPECT_THAT(engine_.batches(), SizeIs(150));
  EXPECT_EQ(observer_.wasted["deadline"], 150u);
}

TEST_F(SchedulerTest, WaitingRequestEndsOnceItsDeadlineCannotBeMetAnyMore) {
  Calibrate();
  Client running = Submit(Draw(50, 4));
  DrawRequest request = Draw(100, 4);
  request.deadline = clock_.now() + milliseconds(110);
  Client client = Submit(request);
  RunSteps(50);
  EXPECT_FALSE(client.heard->done.has_value());
  clock_.Advance(milliseconds(10));
  RunUntilIdle();
  EXPECT_THAT(*client.heard->done, StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("can no longer be met")));
  EXPECT_THAT(engine_.batches(), SizeIs(50));
}

// An estimate heals only by steps that run, so an idle server does not refuse by it.
TEST_F(SchedulerTest, SlowSpellDoesNotMakeAnIdleServerRefuseShortDeadlines) {
  Calibrate();
  engine_.SetStepTime(&clock_, milliseconds(50));
  Client slow = Submit(Draw(200));
  RunUntilIdle();
  DrawRequest request = Draw(100);
  request.deadline = clock_.now() + milliseconds(150);
  EXPECT_THAT(Refusal(request), IsOk());
}

TEST_F(SchedulerTest, PassedDeadlineIsRefused) {
  DrawRequest request = Draw(1);
  request.deadline = clock_.now();
  EXPECT_THAT(Refusal(request), StatusIs(absl::StatusCode::kDeadlineExceeded, "the deadline has passed already"));
  EXPECT_EQ(observer_.rejected["deadline"], 1);
}

TEST_F(SchedulerTest, DeadlineThatCannotBeMetIsRefusedAtAdmission) {
  Calibrate();
  DrawRequest request = Draw(1000);  // a second at a millisecond a step
  request.deadline = clock_.now() + milliseconds(400);
  EXPECT_THAT(Refusal(request),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       "the deadline cannot be met: 0.4 s left, and this request takes about 1 s on an idle server; "
                       "allow more time or ask for fewer steps or images"));
  request.deadline = clock_.now() + milliseconds(600);  // the machine may speed up
  EXPECT_THAT(Refusal(request), IsOk());
}

TEST_F(SchedulerTest, DeadlineThatTheQueueMakesImpossibleIsRefusedAtAdmission) {
  Calibrate();
  Client running = Submit(Draw(101, 4));
  RunSteps(1);
  DrawRequest request = Draw(100);
  request.deadline = clock_.now() + milliseconds(80);
  EXPECT_THAT(
      Refusal(request),
      StatusIs(absl::StatusCode::kDeadlineExceeded,
               "the deadline cannot be met: 80 ms left, and this request takes about 0.2 s behind the "
               "requests that came before; allow more time, ask for fewer steps or images, or try again later"));
  EXPECT_EQ(observer_.rejected["deadline"], 1);
  request.deadline = clock_.now() + milliseconds(120);  // the others may leave
  EXPECT_THAT(Refusal(request), IsOk());
}

TEST_F(SchedulerTest, DeadlineIsNotRefusedForImagesThatGoLater) {
  Calibrate();
  Client big = Submit(Draw(101, 7));
  RunSteps(1);
  DrawRequest request = Draw(100);
  // It starts with the big request's second round, after 100 ms. If it had to wait for all of that, 300 ms would pass.
  request.deadline = clock_.now() + milliseconds(120);
  EXPECT_THAT(Refusal(request), IsOk());
}

// A scheduler where a client may have three of eight places, and 100 steps may be due.
class LimitedSchedulerTest : public SchedulerTest {
 protected:
  static DrawRequest DrawFor(const std::string& client, int steps, uint32_t count = 1) {
    DrawRequest request = Draw(steps, count);
    request.client = client;
    return request;
  }

  Scheduler scheduler_{engine_,
                       {.max_batch_rows = 4, .max_queued_images = 4, .max_client_images = 3, .max_queued_steps = 100},
                       &observer_,
                       [this] { return clock_.now(); }};
};

TEST_F(LimitedSchedulerTest, ClientCannotTakeEveryPlace) {
  auto heard = std::make_shared<Recorder>();
  absl::StatusOr<Admission> two = scheduler_.Submit(DrawFor("ann", 10, 2), heard);
  ASSERT_THAT(two.status(), IsOk());
  const absl::Status refusal = scheduler_.Submit(DrawFor("ann", 10, 2), heard).status();
  EXPECT_THAT(refusal, StatusIs(absl::StatusCode::kResourceExhausted,
                                HasSubstr("this client has enough here: its images take 2 of the 3 places that one "
                                          "client may have, and this request needs 2; others still have room")));
  EXPECT_TRUE(GetRetryAfter(refusal).has_value());
  EXPECT_EQ(observer_.rejected["client_full"], 1);
  EXPECT_THAT(scheduler_.Submit(DrawFor("bob", 10, 3), heard).status(), IsOk());
  EXPECT_THAT(scheduler_.Submit(DrawFor("cat", 10, 4), heard).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "4 images are more than the 3 that one client may have here; ask for fewer"));
  two->ticket.ReleaseOne();
  EXPECT_THAT(scheduler_.Submit(DrawFor("ann", 10, 2), heard).status(), IsOk());
}

TEST_F(LimitedSchedulerTest, WorkCountsByItsSteps) {
  auto heard = std::make_shared<Recorder>();
  absl::StatusOr<Admission> much = scheduler_.Submit(DrawFor("ann", 200), heard);
  EXPECT_THAT(much.status(), IsOk()) << "more than is allowed, but nothing else is here";
  EXPECT_THAT(scheduler_.Submit(DrawFor("bob", 1), heard).status(),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("too much is due: 200 of at most 100 denoising steps, and this request needs 1")));
  EXPECT_EQ(observer_.rejected["queue_full"], 1);
  for (int i = 0; i < 150; ++i) scheduler_.RunStep();
  DrawRequest guided = DrawFor("bob", 26);
  guided.guidance_scale = 2;
  EXPECT_EQ(scheduler_.Submit(guided, heard).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(scheduler_.Submit(DrawFor("bob", 26), heard).status(), IsOk());
}

TEST_F(SchedulerTest, FullQueueRefusesAndSaysWhenToComeBack) {
  Calibrate();
  Client running = Submit(Draw(1000, 4));
  Client waiting = Submit(Draw(1000, 4));
  RunSteps(400);
  const absl::Status refusal = Refusal(Draw(1));
  EXPECT_THAT(refusal, StatusIs(absl::StatusCode::kResourceExhausted,
                                "the queue is full: images that wait, are being drawn or have not been read yet take 8 "
                                "of 8 places, and this request needs 1; try again in about 0.6 s"));
  EXPECT_THAT(GetRetryAfter(refusal), testing::Optional(milliseconds(600)));
  EXPECT_EQ(observer_.rejected["queue_full"], 1);
  RunUntilIdle();
  EXPECT_THAT(waiting.heard->images, SizeIs(4)) << "those admitted are not disturbed";
}

TEST_F(SchedulerTest, WaitIsUntilThereArePlacesForAllImagesOfTheRequest) {
  Calibrate();
  Client big = Submit(Draw(1000, 7));  // in two rounds, of four and of three
  RunSteps(400);
  EXPECT_THAT(GetRetryAfter(Refusal(Draw(1, 2))), testing::Optional(milliseconds(600)));
  EXPECT_THAT(GetRetryAfter(Refusal(Draw(1, 5))), testing::Optional(milliseconds(600)));
  EXPECT_THAT(GetRetryAfter(Refusal(Draw(1, 6))), testing::Optional(milliseconds(1600)));
  EXPECT_THAT(GetRetryAfter(Refusal(Draw(1, 8))), testing::Optional(milliseconds(1600)));
}

TEST_F(SchedulerTest, ClientThatComesBackWhenToldIsAdmitted) {
  Calibrate();
  Client big = Submit(Draw(1000, 8));
  const std::optional<std::chrono::nanoseconds> wait = GetRetryAfter(Refusal(Draw(1, 3)));
  ASSERT_THAT(wait, testing::Optional(milliseconds(1000)));
  const SteadyTime told = clock_.now() + *wait;
  size_t read = 0;
  while (clock_.now() < told) {
    EXPECT_EQ(Refusal(Draw(1, 3)).code(), absl::StatusCode::kResourceExhausted);
    RunSteps(1);
    for (; read < big.heard->images.size(); ++read) big.admission.ticket.ReleaseOne();
  }
  EXPECT_THAT(Refusal(Draw(1, 3)), IsOk());
  EXPECT_FALSE(big.heard->done.has_value()) << "it still has its second round to draw";
}

TEST_F(SchedulerTest, PlaceComesBackWhenItsImageHasBeenReadNotSooner) {
  Client big = Submit(Draw(10, 8));
  RunSteps(10);
  ASSERT_THAT(big.heard->images, SizeIs(4));
  EXPECT_EQ(Refusal(Draw(1)).code(), absl::StatusCode::kResourceExhausted);
  big.admission.ticket.ReleaseOne();
  Client next = Submit(Draw(1));
  EXPECT_EQ(Refusal(Draw(1)).code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(SchedulerTest, WaitForImagesThatAreOnlyUnreadIsShort) {
  Calibrate();
  Client client = Submit(Draw(1, 8));
  RunUntilIdle();
  EXPECT_THAT(client.heard->done, testing::Optional(absl::OkStatus()));
  EXPECT_THAT(GetRetryAfter(Refusal(Draw(1))), testing::Optional(milliseconds(100)));
}

// The same behind a queue that is too long to be played forward, between two steps, when nothing is being drawn: the
// server once divided by zero there.
TEST(SchedulerForecastTest, WaitForImagesThatAreOnlyUnreadIsShortBehindALongQueue) {
  PuppetEngine engine(4);
  Scheduler scheduler(engine, {.max_batch_rows = 4, .max_queued_images = 200});
  const auto heard = std::make_shared<Recorder>();
  const absl::StatusOr<Admission> admission = scheduler.Submit(Draw(1, 204), heard);
  ASSERT_THAT(admission, IsOk());
  scheduler.RunStep();
  ASSERT_THAT(heard->images, SizeIs(4));
  const absl::Status refusal = scheduler.Submit(Draw(1), std::make_shared<Recorder>()).status();
  EXPECT_EQ(refusal.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(GetRetryAfter(refusal), testing::Optional(milliseconds(100)));
}

TEST_F(SchedulerTest, TicketGivesEachPlaceBackOnce) {
  {
    Client client = Submit(Draw(1, 6));
    for (int i = 0; i < 4; ++i) client.admission.ticket.ReleaseOne();
  }
  RunUntilIdle();
  {
    Client client = Submit(Draw(1, 6));
    for (int i = 0; i < 10; ++i) client.admission.ticket.ReleaseOne();
  }
  RunUntilIdle();
  Client all = Submit(Draw(1, 8));
  EXPECT_EQ(Refusal(Draw(1)).code(), absl::StatusCode::kResourceExhausted);
}

// While the engine hangs, opening and leaving must not pile up what the loop has yet to drop.
TEST_F(SchedulerTest, WhoLeavesKeepsItsPlacesUntilTheNextStep) {
  { Client gone = Submit(Draw(1, 8)); }
  EXPECT_EQ(Refusal(Draw(1)).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(scheduler_.stats().waiting_images, 0);
  RunSteps(1);
  Client next = Submit(Draw(1, 8));
}

TEST_F(SchedulerTest, CountThatNeverFitsIsAnError) {
  EXPECT_EQ(scheduler_.capacity(), 8);
  EXPECT_THAT(Refusal(Draw(1, 9)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "9 images are more than the 8 that this server can hold at once; ask for fewer"));
  EXPECT_THAT(Refusal(Draw(1, 8)), IsOk());
}

TEST_F(SchedulerTest, StepThatFailsOnceIsTriedAgain) {
  Client client = Submit(Draw(3, 4));
  RunSteps(1);
  engine_.FailNextStep(absl::InternalError("out of memory"));
  RunUntilIdle();
  EXPECT_THAT(*client.heard->done, IsOk());
  EXPECT_EQ(client.heard->images.at(0).pixels[0], PuppetPixel(0, 42, 0, 3));
}

TEST_F(SchedulerTest, EngineFailureEndsThatBatchOnly) {
  engine_.ForgetStepsDone();
  Client hit = Submit(Draw(10, 5));
  RunSteps(2);
  engine_.FailNextStep(absl::InternalError("out of memory"));
  RunSteps(1);
  Client next = Submit(Draw(2));
  RunUntilIdle();
  EXPECT_THAT(*hit.heard->done, StatusIs(absl::StatusCode::kInternal, "out of memory"));
  EXPECT_THAT(hit.heard->images, IsEmpty());
  EXPECT_EQ(observer_.wasted["engine_error"], 8u);
  EXPECT_THAT(next.heard->images, SizeIs(1));
  EXPECT_THAT(*next.heard->done, IsOk());
}

TEST_F(SchedulerTest, UnreadableImageEndsItsRequestOnly) {
  Client good = Submit(Draw(2, 1, 1));
  Client bad = Submit(Draw(2, 1, 2));
  RunSteps(1);
  engine_.MakeUnreadable(engine_.batches()[0][1].slot);
  RunUntilIdle();
  EXPECT_THAT(*good.heard->done, IsOk());
  EXPECT_THAT(*bad.heard->done, StatusIs(absl::StatusCode::kInternal, "the puppet cannot read this slot"));
}

TEST_F(SchedulerTest, PreviewsComeEverySoManySteps) {
  DrawRequest request = Draw(7);
  request.preview_every = 3;
  request.preview_kind = FrameKind::kPredictedClean;
  Client client = Submit(request);
  RunUntilIdle();
  ASSERT_THAT(client.heard->previews, SizeIs(2));
  EXPECT_EQ(client.heard->previews[0].step, 3u);
  EXPECT_EQ(client.heard->previews[1].step, 6u);
  EXPECT_EQ(client.heard->previews[1].total_steps, 7u);
  EXPECT_EQ(client.heard->previews[0].pixels[0], -PuppetPixel(0, 42, 0, 3));
}

TEST_F(SchedulerTest, PreviewThatNobodyWantsIsNotReadFromTheEngine) {
  DrawRequest request = Draw(6);
  request.preview_every = 1;
  Client client = Submit(request);
  client.heard->wants_previews = false;
  RunSteps(4);
  EXPECT_EQ(engine_.reads(), 0);
  client.heard->wants_previews = true;
  RunSteps(2);
  EXPECT_EQ(engine_.reads(), 3);  // two previews and the image
  ASSERT_THAT(client.heard->previews, SizeIs(2));
  EXPECT_EQ(client.heard->previews[0].step, 5u);
}

// An engine on a GPU copies those together, and nothing else.
TEST_F(SchedulerTest, FramesThatWillBeReadAreAnnouncedAllAtOnce) {
  DrawRequest watched = Draw(4);
  watched.preview_every = 2;
  watched.preview_kind = FrameKind::kPredictedClean;
  Client first = Submit(watched);
  watched.preview_kind = FrameKind::kNoisy;
  Client second = Submit(watched);
  Client unwanted = Submit(watched), plain = Submit(Draw(4));
  unwanted.heard->wants_previews = false;
  const auto announced = [this] {
    std::vector<std::pair<int, FrameKind>> frames;
    for (const WantedFrame& frame : engine_.announced()) frames.emplace_back(frame.slot, frame.kind);
    return frames;
  };
  RunSteps(1);
  EXPECT_THAT(announced(), IsEmpty());
  const std::vector<StepRow> rows = engine_.batches().back();
  ASSERT_THAT(rows, SizeIs(4));
  const auto noisy = [&](int row) { return std::pair(rows[static_cast<size_t>(row)].slot, FrameKind::kNoisy); };
  const auto clean = [&](int row) {
    return std::pair(rows[static_cast<size_t>(row)].slot, FrameKind::kPredictedClean);
  };
  RunSteps(1);
  EXPECT_THAT(announced(), UnorderedElementsAre(clean(0), noisy(1)));
  RunSteps(2);
  EXPECT_THAT(announced(), UnorderedElementsAre(clean(0), noisy(0), noisy(1), noisy(2), noisy(3)));
  EXPECT_EQ(engine_.reads(), 2 + 6) << "the second's last frame is its image";
}

TEST_F(SchedulerTest, DurationsAreMeasuredByTheClock) {
  Client running = Submit(Draw(3, 4));
  RunSteps(1);
  Client waiting = Submit(Draw(2));
  RunUntilIdle();
  const FinishedImage& image = waiting.heard->images.at(0);
  EXPECT_EQ(image.queue_duration, milliseconds(2));
  EXPECT_EQ(image.denoise_duration, milliseconds(2));
}

TEST_F(SchedulerTest, AdmissionTellsQueuePositionAndDuration) {
  Calibrate();
  Client running = Submit(Draw(100, 4));
  EXPECT_EQ(running.admission.queue_position, 0u);
  EXPECT_EQ(running.admission.estimated_duration, milliseconds(100));
  RunSteps(50);
  Client second = Submit(Draw(100, 2));
  Client third = Submit(Draw(100, 1));
  EXPECT_EQ(second.admission.queue_position, 0u);
  EXPECT_EQ(third.admission.queue_position, 2u);
  EXPECT_EQ(third.admission.estimated_duration, milliseconds(150));
}

TEST_F(SchedulerTest, ThoseWhoLeftAreNotAhead) {
  Calibrate();
  Client running = Submit(Draw(1000, 4));
  RunSteps(1);
  Client waiting = Submit(Draw(1000, 2));
  running.admission.ticket.Cancel();
  waiting.admission.ticket.Cancel();
  Client next = Submit(Draw(100));
  EXPECT_EQ(next.admission.queue_position, 0u);
  EXPECT_EQ(next.admission.estimated_duration, milliseconds(100));
}

// Whatever is under way: if nothing else comes, the scheduler does to the last step what it forecast.
TEST_F(SchedulerTest, ForecastIsWhatHappens) {
  Calibrate();
  std::mt19937 random(1);
  const auto any = [&random](int label) {
    DrawRequest request = Draw(1 + static_cast<int>(random() % 30), 1 + static_cast<uint32_t>(random() % 3), label);
    if (random() % 4 == 0) request.guidance_scale = 2;
    return request;
  };
  constexpr int kMine = 1;
  for (int round = 0; round < 300; ++round) {
    std::vector<Client> others;
    int free = 5;
    for (DrawRequest request = any(0); static_cast<int>(request.count) <= free; request = any(0)) {
      free -= static_cast<int>(request.count);
      others.push_back(Submit(request));
      for (int steps = static_cast<int>(random() % 20); steps > 0; --steps) scheduler_.RunStep();
    }
    engine_.ForgetBatches();
    const SteadyTime submitted = clock_.now();
    const Client mine = Submit(any(kMine));
    while (!mine.heard->done.has_value()) ASSERT_TRUE(scheduler_.RunStep());
    EXPECT_EQ(clock_.now() - submitted, mine.admission.estimated_duration) << "round " << round;
    uint32_t ahead = 0;
    bool started = false;
    for (const std::vector<StepRow>& batch : engine_.batches()) {
      for (const StepRow& row : batch) {
        started = started || row.label == kMine;
        if (!started && row.step == 0) ++ahead;
      }
    }
    EXPECT_EQ(ahead, mine.admission.queue_position) << "round " << round;
    RunUntilIdle();
  }
}

// Of a long queue only sums are looked at; they tell the duration to a tenth, and the images ahead exactly.
TEST(SchedulerForecastTest, LongQueueIsForecastFromSums) {
  FakeClock clock;
  PuppetEngine engine(2000);
  engine.SetStepTime(&clock, [](int rows) { return milliseconds(rows); });
  Scheduler scheduler(engine, {.max_batch_rows = 4, .max_queued_images = 100000}, nullptr, [&] { return clock.now(); });
  ASSERT_THAT(scheduler.Calibrate(), IsOk());
  std::mt19937 random(1);
  for (int round = 0; round < 20; ++round) {
    std::vector<std::shared_ptr<Recorder>> heard;
    std::vector<Admission> others;
    const auto submit = [&](int label) {
      heard.push_back(std::make_shared<Recorder>());
      DrawRequest request = Draw(50 + static_cast<int>(random() % 200), 1 + random() % 8, label);
      request.guidance_scale = random() % 4 == 0 ? 2 : 1;
      absl::StatusOr<Admission> admission = scheduler.Submit(request, heard.back());
      EXPECT_THAT(admission.status(), IsOk());
      return *std::move(admission);
    };
    for (int i = 0; i < 200; ++i) {
      others.push_back(submit(0));
      if (i % 4 == 0) scheduler.RunStep();
    }
    engine.ForgetBatches();
    const SteadyTime submitted = clock.now();
    const Admission mine = submit(1);
    while (!heard.back()->done.has_value()) ASSERT_TRUE(scheduler.RunStep());
    const std::chrono::duration<double> took = clock.now() - submitted, expected = mine.estimated_duration;
    EXPECT_NEAR(expected / took, 1, 0.1) << "round " << round;
    uint32_t ahead = 0;
    for (const std::vector<StepRow>& batch : engine.batches()) {
      const bool started = std::any_of(batch.begin(), batch.end(), [](const StepRow& row) { return row.label == 1; });
      if (started) break;
      ahead += static_cast<uint32_t>(
          std::count_if(batch.begin(), batch.end(), [](const StepRow& r) { return r.step == 0; }));
    }
    EXPECT_NEAR(ahead, mine.queue_position, 4) << "round " << round;
    while (scheduler.RunStep()) {
    }
  }
}

TEST_F(SchedulerTest, StatsTellTheQueue) {
  Client running = Submit(Draw(10, 4));
  Client waiting = Submit(Draw(10, 3));
  RunSteps(4);
  const SchedulerStats stats = scheduler_.stats();
  EXPECT_EQ(stats.denoising_images, 4);
  EXPECT_EQ(stats.waiting_images, 3);
  EXPECT_EQ(stats.oldest_wait, milliseconds(4));
}

TEST_F(SchedulerTest, DrainingRefusesNewRequestsAndFinishesOldOnes) {
  Client old = Submit(Draw(5));
  RunSteps(1);
  scheduler_.StopAdmitting();
  EXPECT_THAT(Refusal(Draw(1)),
              StatusIs(absl::StatusCode::kUnavailable, "the server is shutting down; try another replica"));
  EXPECT_FALSE(scheduler_.idle());
  RunUntilIdle();
  EXPECT_TRUE(scheduler_.idle());
  EXPECT_THAT(*old.heard->done, IsOk());
  EXPECT_EQ(observer_.rejected["draining"], 1);
}

TEST_F(SchedulerTest, ShutdownDropsWhatIsLeftAndEndsRun) {
  Client running = Submit(Draw(1000, 4));
  Client waiting = Submit(Draw(1000, 2));
  RunSteps(3);
  scheduler_.Shutdown();
  scheduler_.Run();
  EXPECT_THAT(*running.heard->done, StatusIs(absl::StatusCode::kUnavailable, HasSubstr("shutting down")));
  EXPECT_THAT(*waiting.heard->done, StatusIs(absl::StatusCode::kUnavailable, HasSubstr("shutting down")));
  EXPECT_THAT(engine_.batches(), SizeIs(3));
}

TEST_F(SchedulerTest, GivingUpTellsWhatIsLeftWhy) {
  Client running = Submit(Draw(1000, 4));
  Client waiting = Submit(Draw(1000, 2));
  RunSteps(3);
  scheduler_.GiveUp(absl::UnavailableError("the device is lost"));
  scheduler_.Run();
  for (const Client* client : {&running, &waiting}) {
    EXPECT_THAT(*client->heard->done, StatusIs(absl::StatusCode::kUnavailable, "the device is lost"));
  }
  EXPECT_THAT(engine_.batches(), SizeIs(3));
}

DrawRequest DrawSeed(uint64_t seed, int steps = 3) {
  DrawRequest request = Draw(steps);
  request.seed = seed;
  return request;
}

// What others' servers do when one of eight rows fails: all eight calls fail.
TEST_F(SchedulerTest, RowThatMakesStepsFailCostsItsOwnRequestAlone) {
  engine_.Poison(2);
  std::vector<Client> clients;
  for (uint64_t seed = 0; seed < 4; ++seed) clients.push_back(Submit(DrawSeed(seed)));
  RunUntilIdle();
  for (uint64_t seed = 0; seed < 4; ++seed) {
    if (seed == 2) continue;
    ASSERT_THAT(*clients[seed].heard->done, IsOk());
    EXPECT_EQ(clients[seed].heard->images.at(0).pixels[0], PuppetPixel(0, seed, 0, 3)) << "no step too many";
  }
  EXPECT_THAT(*clients[2].heard->done, StatusIs(absl::StatusCode::kInternal, "the puppet chokes on this row"));
  EXPECT_EQ(scheduler_.heartbeat().failed_steps, 0);
}

TEST_F(SchedulerTest, RowsAreLostWhereNobodyKnowsWhatAFailedStepHasDone) {
  engine_.Poison(1);
  engine_.ForgetStepsDone();
  Client good = Submit(DrawSeed(0));
  Client poisoned = Submit(DrawSeed(1));
  RunUntilIdle();
  EXPECT_THAT(good.heard->done->code(), absl::StatusCode::kInternal);
  EXPECT_THAT(poisoned.heard->done->code(), absl::StatusCode::kInternal);
}

TEST_F(SchedulerTest, EngineThatAlwaysFailsIsNotAskedForEachRow) {
  std::vector<Client> clients;
  for (uint64_t seed = 0; seed < 4; ++seed) clients.push_back(Submit(DrawSeed(seed)));
  engine_.FailEveryStep(absl::InternalError("no device"));
  RunSteps(1);
  EXPECT_THAT(engine_.batches(), SizeIs(testing::Le(6)));
  EXPECT_EQ(scheduler_.heartbeat().failed_steps, 1);
  RunUntilIdle();
  for (const Client& client : clients) {
    EXPECT_THAT(*client.heard->done, StatusIs(absl::StatusCode::kInternal, "no device"));
  }
  Client next = Submit(DrawSeed(1));
  RunUntilIdle();
  EXPECT_EQ(scheduler_.heartbeat().failed_steps, 2);
  engine_.FailEveryStep(absl::OkStatus());
  Client last = Submit(DrawSeed(1));
  RunUntilIdle();
  EXPECT_THAT(*last.heard->done, IsOk());
  EXPECT_EQ(scheduler_.heartbeat().failed_steps, 0);
}

// One client that repeated one request had the engine built anew, and then the process ended.
TEST_F(SchedulerTest, RequestThatMakesStepsFailSaysNothingOfTheEngineHoweverOftenItComes) {
  engine_.Poison(13);
  for (int i = 0; i < 20; ++i) {
    Client poisoned = Submit(DrawSeed(13));
    RunUntilIdle();
    EXPECT_THAT(*poisoned.heard->done, StatusIs(absl::StatusCode::kInternal, "the puppet chokes on this row"));
    EXPECT_EQ(scheduler_.heartbeat().failed_steps, 0) << "call " << i;
  }
  EXPECT_EQ(scheduler_.stats().failed_steps, 0);
}

TEST_F(SchedulerTest, LostEngineIsNoticedThoughOneClientAloneRepeatsOneRequest) {
  engine_.FailEveryStep(absl::InternalError("no device"));
  for (int i = 1; i <= 5; ++i) {
    Client client = Submit(DrawSeed(13));
    RunUntilIdle();
    EXPECT_EQ(scheduler_.heartbeat().failed_steps, i);
  }
  EXPECT_EQ(scheduler_.stats().failed_steps, 5);
}

// Three rows that fail were taken for an engine that fails, and the fourth for lost.
TEST_F(SchedulerTest, ManyRowsThatFailCostNoneBesideThem) {
  engine_.Poison(13);
  DrawRequest three = DrawSeed(13);
  three.count = 3;
  Client poisoned = Submit(three);
  Client good = Submit(DrawSeed(1));
  RunUntilIdle();
  EXPECT_THAT(*poisoned.heard->done, StatusIs(absl::StatusCode::kInternal, "the puppet chokes on this row"));
  ASSERT_THAT(*good.heard->done, IsOk());
  EXPECT_EQ(good.heard->images.at(0).pixels[0], PuppetPixel(0, 1, 0, 3));
}

TEST_F(SchedulerTest, NumbersThatAreNotFiniteAreFoundAtTheStepThatMadeThem) {
  engine_.MakeNotFinite(7);
  Client good = Submit(DrawSeed(1));
  Client bad = Submit(DrawSeed(7));
  RunSteps(2);
  EXPECT_THAT(*bad.heard->done, StatusIs(absl::StatusCode::kInternal,
                                         "image 0 is not made of finite numbers after step 1 of 3; try "
                                         "another seed, or a lower guidance_scale if it has one"));
  RunUntilIdle();
  EXPECT_THAT(*good.heard->done, IsOk());
}

// An exception out of the engine ended the process.
TEST_F(SchedulerTest, EngineThatThrowsInAStepFailsLikeAnyOther) {
  engine_.ThrowErrors();
  engine_.Poison(13);
  Client poisoned = Submit(DrawSeed(13)), good = Submit(DrawSeed(1));
  RunUntilIdle();
  EXPECT_THAT(*poisoned.heard->done,
              StatusIs(absl::StatusCode::kInternal, "the engine failed: the puppet chokes on this row"));
  ASSERT_THAT(*good.heard->done, IsOk());
  EXPECT_EQ(good.heard->images.at(0).pixels[0], PuppetPixel(0, 1, 0, 3)) << "no step too many";
  engine_.FailEveryStep(absl::InternalError("no device"));
  for (int i = 1; i <= 5; ++i) {
    Client client = Submit(DrawSeed(1));
    RunUntilIdle();
    EXPECT_THAT(*client.heard->done, StatusIs(absl::StatusCode::kInternal, "the engine failed: no device"));
    EXPECT_EQ(scheduler_.heartbeat().failed_steps, i);
  }
}

TEST_F(SchedulerTest, EngineThatThrowsWhenItIsReadFailsLikeAnyOther) {
  engine_.ThrowErrors();
  engine_.FailEveryRead(absl::InternalError("not finite numbers"));
  Client client = Submit(DrawSeed(1));
  RunUntilIdle();
  EXPECT_THAT(*client.heard->done, StatusIs(absl::StatusCode::kInternal, "the engine failed: not finite numbers"));
  EXPECT_EQ(scheduler_.heartbeat().failed_steps, 1);
  EXPECT_THAT(scheduler_.Calibrate(), StatusIs(absl::StatusCode::kInternal, "the engine failed: not finite numbers"));
}

TEST_F(SchedulerTest, EngineThatThrowsWhileItChoosesIsMeasuredLater) {
  Calibrate();
  engine_.SetChooseAgain([](const std::function<bool()>&) -> bool { throw std::runtime_error("no memory"); });
  EXPECT_FALSE(scheduler_.MeasureAgain());
  engine_.SetChooseAgain(nullptr);
  EXPECT_TRUE(scheduler_.MeasureAgain());
}

TEST_F(SchedulerTest, ImageThatIsNotFiniteSaysNothingOfTheEngine) {
  engine_.MakeNotFinite(13);
  for (int i = 0; i < 20; ++i) {
    Client client = Submit(DrawSeed(13));
    RunUntilIdle();
    EXPECT_THAT(*client.heard->done, StatusIs(absl::StatusCode::kInternal, HasSubstr("is not made of finite numbers")));
    EXPECT_EQ(scheduler_.heartbeat().failed_steps, 0) << "call " << i;
  }
}

TEST_F(SchedulerTest, EngineThatMakesNothingFiniteFails) {
  engine_.MakeNothingFinite();
  for (int i = 1; i <= 5; ++i) {
    Client client = Submit(DrawSeed(static_cast<uint64_t>(i)));
    RunUntilIdle();
    EXPECT_THAT(*client.heard->done, StatusIs(absl::StatusCode::kInternal, HasSubstr("is not made of finite numbers")));
    EXPECT_EQ(scheduler_.heartbeat().failed_steps, i);
  }
  EXPECT_EQ(scheduler_.stats().steps, 0);
  engine_.MakeNothingFinite(false);
  Client client = Submit(DrawSeed(1));
  RunUntilIdle();
  EXPECT_THAT(*client.heard->done, IsOk());
  EXPECT_EQ(scheduler_.heartbeat().failed_steps, 0);
}

// As on a GPU, which tells of numbers that are not finite when they are read. Its steps look well meanwhile.
TEST_F(SchedulerTest, EngineOfWhichNothingCanBeReadFailsThoughItsStepsSucceed) {
  engine_.FailEveryRead(absl::InternalError("not finite numbers"));
  Client first = Submit(DrawSeed(1));
  RunUntilIdle();
  EXPECT_THAT(*first.heard->done, StatusIs(absl::StatusCode::kInternal, "not finite numbers"));
  EXPECT_EQ(scheduler_.heartbeat().failed_steps, 1);
  Client second = Submit(DrawSeed(2, 9));
  RunSteps(4);
  EXPECT_EQ(scheduler_.heartbeat().failed_steps, 5);
  engine_.FailEveryRead(absl::OkStatus());
  RunUntilIdle();
  EXPECT_THAT(*second.heard->done, IsOk());
  EXPECT_EQ(scheduler_.heartbeat().failed_steps, 0);
}

TEST(SchedulerHangTest, AbandonEndsEveryRequestWhileAStepHangs) {
  PuppetEngine engine(8);
  Scheduler scheduler(engine, {.max_batch_rows = 4, .max_queued_images = 4});
  auto running = std::make_shared<Recorder>(), waiting = std::make_shared<Recorder>();
  EXPECT_FALSE(scheduler.Abandon(absl::UnavailableError("gone"))) << "nothing hangs";
  engine.HoldSteps();
  absl::StatusOr<Admission> first = scheduler.Submit(Draw(1000, 4), running);
  absl::StatusOr<Admission> second = scheduler.Submit(Draw(1000, 2), waiting);
  std::thread loop([&] { scheduler.Run(); });
  engine.WaitForHeldStep();
  const Heartbeat before = scheduler.heartbeat();
  EXPECT_TRUE(before.working);
  EXPECT_TRUE(scheduler.Abandon(absl::UnavailableError("gone")));
  EXPECT_THAT(*running->done, StatusIs(absl::StatusCode::kUnavailable, "gone"));
  EXPECT_THAT(*waiting->done, StatusIs(absl::StatusCode::kUnavailable, "gone"));
  EXPECT_EQ(scheduler.Submit(Draw(1), running).status().code(), absl::StatusCode::kUnavailable);
  first = absl::UnknownError("the ticket goes");
  EXPECT_EQ(scheduler.heartbeat().beats, before.beats);
  engine.LetGo();
  loop.join();
  EXPECT_THAT(running->images, IsEmpty());
}

TEST_F(SchedulerTest, WhatWasMeasuredBesideABusyNeighbourIsMeasuredAgain) {
  engine_.SetStepTime(&clock_, [](int rows) { return rows * milliseconds(1); });  // more rows are of no use
  Calibrate();
  EXPECT_EQ(scheduler_.step_rows(), 2);
  EXPECT_FALSE(scheduler_.OughtToMeasureAgain());
  engine_.SetStepTime(&clock_, [](int) { return milliseconds(1); });  // now they are
  Client client = Submit(Draw(200, 2));
  RunUntilIdle();
  EXPECT_TRUE(scheduler_.OughtToMeasureAgain());
  EXPECT_TRUE(scheduler_.MeasureAgain());
  EXPECT_EQ(scheduler_.step_rows(), 4);
  EXPECT_FALSE(scheduler_.OughtToMeasureAgain());
}

TEST_F(SchedulerTest, MeasuringAgainGivesWayToWhoeverComes) {
  Calibrate();
  Client client = Submit(Draw(1));
  engine_.ForgetBatches();
  EXPECT_FALSE(scheduler_.MeasureAgain());
  EXPECT_THAT(engine_.batches(), IsEmpty());
}

TEST_F(SchedulerTest, EngineThatHasChosenAnewIsMeasuredWhateverTheTimes) {
  engine_.SetStepTime(&clock_, [](int rows) { return rows * milliseconds(10); });
  Calibrate();
  engine_.SetChooseAgain([this](const std::function<bool()>& give_up) {
    EXPECT_FALSE(give_up());
    engine_.SetStepTime(&clock_, [](int) { return milliseconds(10); });
    return true;
  });
  EXPECT_TRUE(scheduler_.MeasureAgain());
  EXPECT_EQ(scheduler_.step_rows(), 4);
  EXPECT_FALSE(scheduler_.OughtToMeasureAgain());
}

TEST_F(SchedulerTest, EngineThatChoosesAnewGivesWayAndIsMeasuredLater) {
  Calibrate();
  std::optional<Client> client;
  engine_.SetChooseAgain([&](const std::function<bool()>& give_up) {
    if (!client.has_value()) {
      client = Submit(Draw(1));
      EXPECT_TRUE(give_up());
    }
    return true;
  });
  engine_.ForgetBatches();
  EXPECT_FALSE(scheduler_.MeasureAgain());
  EXPECT_THAT(engine_.batches(), IsEmpty());
  RunUntilIdle();
  EXPECT_TRUE(scheduler_.OughtToMeasureAgain()) << "nobody has timed what it chose";
  EXPECT_TRUE(scheduler_.MeasureAgain());
  EXPECT_FALSE(scheduler_.OughtToMeasureAgain());
}

TEST_F(SchedulerTest, EngineThatHangsWhileItChoosesIsSeen) {
  Calibrate();
  engine_.SetChooseAgain([this](const std::function<bool()>&) {
    EXPECT_TRUE(scheduler_.heartbeat().working);
    EXPECT_TRUE(scheduler_.Abandon(absl::UnavailableError("hangs")));
    return true;
  });
  engine_.ForgetBatches();
  EXPECT_FALSE(scheduler_.MeasureAgain());
  EXPECT_THAT(engine_.batches(), IsEmpty());
}

TEST_F(SchedulerTest, MeasuringAgainGivesWayToAnotherModelAtWork) {
  const auto another = std::make_shared<AnotherAtWork>(true);
  Scheduler scheduler(engine_, {.max_batch_rows = 4, .another_at_work = another}, nullptr,
                      [this] { return clock_.now(); });
  ASSERT_THAT(scheduler.Calibrate(), IsOk()) << "which nothing can wait for";
  engine_.SetChooseAgain([](const std::function<bool()>& give_up) {
    EXPECT_TRUE(give_up());
    return false;
  });
  engine_.ForgetBatches();
  EXPECT_FALSE(scheduler.MeasureAgain());
  EXPECT_THAT(engine_.batches(), IsEmpty());
  *another = false;
  engine_.SetChooseAgain(nullptr);
  EXPECT_TRUE(scheduler.MeasureAgain());
}

TEST_F(SchedulerTest, WhatIsLikeAnotherTakesOverWhatThatOneMeasured) {
  engine_.SetStepTime(&clock_, [](int rows) { return rows * milliseconds(1); });
  Calibrate();
  ASSERT_EQ(scheduler_.step_rows(), 2);
  PuppetEngine engine(8);
  Scheduler scheduler(engine, {.max_batch_rows = 4, .max_queued_images = 4}, nullptr, [this] { return clock_.now(); });
  ASSERT_THAT(scheduler.CalibrateLike(scheduler_), IsOk());
  EXPECT_EQ(scheduler.step_rows(), 2);
  EXPECT_EQ(scheduler.DurationOfFullQueue(100), scheduler_.DurationOfFullQueue(100)) << "by the same times of steps";
  EXPECT_EQ(engine.steps(), 1);
  engine.FailNextStep(absl::InternalError("no device"));
  EXPECT_THAT(scheduler.CalibrateLike(scheduler_), StatusIs(absl::StatusCode::kInternal, "no device"));
}

TEST_F(SchedulerTest, AStepThatHangsWhileMeasuringIsSeen) {
  Calibrate();
  engine_.HoldSteps();
  std::thread loop([this] { scheduler_.MeasureAgain(); });
  engine_.WaitForHeldStep();
  EXPECT_TRUE(scheduler_.heartbeat().working);
  EXPECT_TRUE(scheduler_.Abandon(absl::UnavailableError("hangs")));
  engine_.LetGo();
  loop.join();
}

TEST_F(SchedulerTest, CalibrateReportsAnEngineThatCannotStep) {
  engine_.FailNextStep(absl::InternalError("no device"));
  EXPECT_THAT(scheduler_.Calibrate(), StatusIs(absl::StatusCode::kInternal, "no device"));
}

// Counts like Recorder, from another thread than the test's.
class AtomicRecorder : public DrawListener {
 public:
  void OnPreview(const PreviewFrame&) override {}
  void OnImage(const FinishedImage& image) override {
    ++images;
    if (image.pixels[0] != expected(image.image_index)) ++wrong_images;
  }
  void OnDone(const absl::Status& status) override {
    if (status.ok()) ++succeeded;
    ++done;
  }

  std::function<float(uint32_t)> expected;
  std::atomic<int> images{0}, wrong_images{0}, succeeded{0}, done{0};
};

// Hunts a slot that is freed twice and reaches two clients (each image must be the one asked for), a listener that is
// told twice, or never, how its request ended, and a place that is lost or given back twice.
TEST(SchedulerStressTest, EveryRequestEndsOnceWithItsOwnImagesUnderRacingCancels) {
  constexpr int kThreads = 4;
  constexpr int kRequests = 100;
  PuppetEngine engine(8);
  Scheduler scheduler(engine, {.max_batch_rows = 8, .max_queued_images = 1000});
  std::thread loop([&] { scheduler.Run(); });
  std::vector<std::vector<std::shared_ptr<AtomicRecorder>>> heard(kThreads);
  std::vector<std::thread> clients;
  for (int thread = 0; thread < kThreads; ++thread) {
    clients.emplace_back([&, thread] {
      std::mt19937 random(thread);
      std::vector<Ticket> tickets;
      for (int i = 0; i < kRequests; ++i) {
        const int steps = 1 + static_cast<int>(random() % 20);
        DrawRequest request = Draw(steps, 1 + random() % 2, static_cast<int>(random() % 10));
        request.seed = random();
        request.guidance_scale = random() % 4 == 0 ? 2.0f : 1.0f;
        auto recorder = std::make_shared<AtomicRecorder>();
        recorder->expected = [request, steps](uint32_t index) {
          return PuppetPixel(request.label, request.seed, index, steps);
        };
        absl::StatusOr<Admission> admission = scheduler.Submit(request, recorder);
        ASSERT_THAT(admission.status(), IsOk());
        heard[thread].push_back(std::move(recorder));
        tickets.push_back(std::move(admission->ticket));
        if (random() % 3 == 0) tickets[random() % tickets.size()].Cancel();
        if (random() % 3 == 0) tickets[random() % tickets.size()].ReleaseOne();
      }
      while (!scheduler.idle()) std::this_thread::yield();
    });
  }
  for (std::thread& client : clients) client.join();
  auto last = std::make_shared<AtomicRecorder>();
  last->expected = [](uint32_t index) { return PuppetPixel(0, 42, index, 1); };
  absl::StatusOr<Admission> all = scheduler.Submit(Draw(1, static_cast<uint32_t>(scheduler.capacity())), last);
  EXPECT_THAT(all.status(), IsOk());
  EXPECT_EQ(scheduler.Submit(Draw(1), last).status().code(), absl::StatusCode::kResourceExhausted);
  scheduler.Shutdown();
  loop.join();
  int succeeded = 0;
  for (const auto& recorders : heard) {
    for (const std::shared_ptr<AtomicRecorder>& recorder : recorders) {
      EXPECT_EQ(recorder->done, 1);
      EXPECT_EQ(recorder->wrong_images, 0);
      succeeded += recorder->succeeded;
    }
  }
  EXPECT_GT(succeeded, 0);
}

}  // namespace
}  // namespace denoised
