#include "server/supervisor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace denoised {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// Ticks by hand; a stall is ten of them.
class SupervisorTest : public testing::Test {
 protected:
  void Tick(int times) {
    for (int i = 0; i < times; ++i) supervisor_.Tick();
  }

  std::optional<Heartbeat> heartbeat_ = Heartbeat{.beats = 1, .working = true};
  bool can_end_ = true;
  bool can_rebuild_ = true;
  std::vector<std::string> events_;
  Supervisor supervisor_{{.stall_timeout = std::chrono::seconds(1), .failed_steps = 5},
                         {.heartbeat = [this] { return heartbeat_; },
                          .end_work =
                              [this](EngineTrouble trouble) {
                                events_.push_back(EngineTroubleName(trouble));
                                return can_end_;
                              },
                          .rebuild =
                              [this] {
                                events_.push_back("rebuild");
                                heartbeat_ = Heartbeat{};
                                return can_rebuild_;
                              },
                          .die = [this](const std::string& why) { events_.push_back(why); }}};
};

TEST_F(SupervisorTest, LoopThatGoesOnIsLeftAlone) {
  for (int i = 0; i < 100; ++i) {
    Tick(9);
    ++heartbeat_->beats;
  }
  EXPECT_THAT(events_, IsEmpty());
}

TEST_F(SupervisorTest, LoopWithoutWorkMayStandStill) {
  heartbeat_->working = false;
  Tick(100);
  heartbeat_.reset();
  Tick(100);
  EXPECT_THAT(events_, IsEmpty());
}

TEST_F(SupervisorTest, LoopThatStandsStillWithWorkGetsANewEngineOnce) {
  Tick(11);
  EXPECT_THAT(events_, ElementsAre("stalled", "rebuild"));
  heartbeat_ = Heartbeat{.beats = 3, .working = true};
  Tick(11);
  EXPECT_THAT(events_,
              ElementsAre("stalled", "rebuild", "stalled", "the engine is stalled, and it was built anew already"));
  Tick(100);
  EXPECT_EQ(events_.size(), 4u) << "once it is dead, it is dead";
}

TEST(SupervisorOfReplacedTest, CallsEndAndNothingIsBuiltNorDies) {
  std::vector<std::string> events;
  Heartbeat heartbeat{.beats = 1, .working = true};
  Supervisor supervisor({.stall_timeout = std::chrono::seconds(1), .failed_steps = 5},
                        {.heartbeat = [&] { return heartbeat; },
                         .end_work =
                             [&](EngineTrouble trouble) {
                               events.push_back(EngineTroubleName(trouble));
                               return true;
                             },
                         .rebuild = nullptr,
                         .die = [&](const std::string& why) { events.push_back(why); }});
  for (int model = 0; model < 2; ++model) {
    ++heartbeat.beats;
    for (int i = 0; i < 11; ++i) supervisor.Tick();
  }
  EXPECT_THAT(events, ElementsAre("stalled", "stalled"));
}

TEST_F(SupervisorTest, EngineThatHasRunForLongMayBeBuiltAnewAgain) {
  Tick(11);
  heartbeat_ = Heartbeat{.beats = 20'000, .working = true};
  Tick(12);
  EXPECT_THAT(events_, ElementsAre("stalled", "rebuild", "stalled", "rebuild"));
}

TEST_F(SupervisorTest, StepsThatFailInARowAreTrouble) {
  heartbeat_->failed_steps = 4;
  Tick(1);
  EXPECT_THAT(events_, IsEmpty());
  heartbeat_->failed_steps = 5;
  Tick(1);
  EXPECT_THAT(events_, ElementsAre("failing", "rebuild"));
}

TEST_F(SupervisorTest, ProcessEndsIfTheWorkCannotBeEnded) {
  can_end_ = false;
  Tick(11);
  EXPECT_THAT(events_, ElementsAre("stalled", "the engine is stalled, and its calls cannot be ended"));
}

TEST_F(SupervisorTest, ProcessEndsIfTheEngineCannotBeBuiltAnew) {
  can_rebuild_ = false;
  heartbeat_->failed_steps = 7;
  Tick(1);
  EXPECT_THAT(events_, ElementsAre("failing", "rebuild", "the engine is failing, and it cannot be built anew"));
}

}  // namespace
}  // namespace denoised
