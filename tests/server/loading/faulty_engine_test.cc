#include "server/loading/faulty_engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/testing/puppet_engine.h"
#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

// A puppet that is worth asking for four steps at once, with a fault.
class FaultyEngineTest : public testing::Test {
 protected:
  void Make(const std::string& fault) {
    auto puppet = std::make_unique<PuppetEngine>(4);
    puppet->SetStepsAtOnce(4);
    puppet_ = puppet.get();
    absl::StatusOr<std::unique_ptr<Engine>> engine = InjectFault(fault, FaultTime::kServing, std::move(puppet));
    ASSERT_THAT(engine, IsOk());
    engine_ = *std::move(engine);
  }

  StepRow Row(int slot, int step, uint64_t seed = 1) const {
    return {.slot = slot, .plan = &plan_, .step = step, .seed = seed};
  }

  const StepPlan plan_ = StepPlan(20);
  PuppetEngine* puppet_ = nullptr;
  std::unique_ptr<Engine> engine_;
};

TEST_F(FaultyEngineTest, StepsAtOnceAreTheEnginesOwn) {
  Make("poison@13");
  EXPECT_EQ(engine_->StepsAtOnce(1), 4);
  EXPECT_THAT(engine_->Steps({Row(0, 0)}, 3), IsOk());
  EXPECT_THAT(puppet_->counts(), testing::ElementsAre(3));
  EXPECT_EQ(engine_->StepsDone(0), 3);
}

TEST_F(FaultyEngineTest, StepsAtOnceThatReachTheFaultAllFail) {
  Make("fail@6");
  EXPECT_THAT(engine_->Steps({Row(0, 0)}, 4), IsOk());
  EXPECT_THAT(engine_->Steps({Row(0, 4)}, 4),
              StatusIs(absl::StatusCode::kInternal, "a fault that --inject_fault asked for"));
  EXPECT_EQ(engine_->StepsDone(0), 4) << "none of them";
  EXPECT_EQ(puppet_->steps(), 4);
}

TEST_F(FaultyEngineTest, PoisonousRowFailsStepsAtOnce) {
  Make("poison@13");
  EXPECT_THAT(engine_->Steps({Row(0, 0), Row(1, 0, 13)}, 4),
              StatusIs(absl::StatusCode::kInternal, "a fault that --inject_fault asked for"));
  EXPECT_THAT(engine_->Steps({Row(0, 0)}, 4), IsOk());
}

TEST_F(FaultyEngineTest, ThrowsFromThatStepOn) {
  Make("throw@2");
  EXPECT_THAT(engine_->Step({Row(0, 0)}), IsOk());
  EXPECT_THROW(engine_->Step({Row(0, 1)}).IgnoreError(), std::runtime_error);
  EXPECT_EQ(engine_->StepsDone(0), 1);
  EXPECT_THROW(engine_->Steps({Row(0, 1)}, 2).IgnoreError(), std::runtime_error);
  EXPECT_EQ(puppet_->steps(), 1);
}

TEST_F(FaultyEngineTest, FaultThatThereIsNotIsToldWithThoseThatThereAre) {
  for (const char* fault : {"explode@1", "fail", "fail@", "fail@-1", "fail@1@2"}) {
    EXPECT_THAT(InjectFault(fault, FaultTime::kServing, std::make_unique<PuppetEngine>(1)),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         absl::StrCat("--inject_fault must be fail@STEP, throw@STEP, hang@STEP, poison@SEED, nan@SEED, "
                                      "oom@ROWS or wrong@ENGINES, got ",
                                      fault)));
  }
}

}  // namespace
}  // namespace denoised
