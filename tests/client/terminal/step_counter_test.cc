#include "client/terminal/step_counter.h"

#include <gtest/gtest.h>

namespace denoised {
namespace {

TEST(StepCounterTest, CountsTheStepsOfAllImagesOfAllCalls) {
  StepCounter counter(/*calls=*/2, /*images=*/2, /*steps=*/50);
  EXPECT_EQ(counter.fraction(), 0);
  counter.Set(0, 1, 30);
  counter.Set(1, 0, 20);
  EXPECT_EQ(counter.step(0, 1), 30u);
  EXPECT_EQ(counter.fraction(), 0.25);
  for (int call = 0; call < 2; ++call) {
    for (uint32_t image = 0; image < 2; ++image) counter.Finish(call, image);
  }
  EXPECT_EQ(counter.fraction(), 1);
}

TEST(StepCounterTest, ServerSaysHowManyStepsThereAre) {
  StepCounter counter(1, 1, 1000);
  counter.SetSteps(20);
  counter.Set(0, 0, 5);
  EXPECT_EQ(counter.steps(), 20u);
  EXPECT_EQ(counter.fraction(), 0.25);
}

TEST(StepCounterTest, NumbersOutOfRangeDoNoHarm) {
  StepCounter counter(1, 1, 10);
  counter.Set(0, 7, 5);
  EXPECT_EQ(counter.step(0, 7), 0u);
  EXPECT_EQ(counter.fraction(), 0);
  counter.Set(0, 0, 11);
  EXPECT_EQ(counter.fraction(), 1);
}

TEST(StepCounterTest, NoStepsAreNoDivisionByZero) { EXPECT_EQ(StepCounter(1, 1, 0).fraction(), 0); }

TEST(StepCounterTest, TimeLeftIsKnownAfterTheFirstStep) {
  StepCounter counter(1, 1, 100);
  EXPECT_LT(counter.SecondsLeft(5), 0);
  counter.Set(0, 0, 25);
  EXPECT_DOUBLE_EQ(counter.SecondsLeft(5), 15);
  counter.Finish(0, 0);
  EXPECT_EQ(counter.SecondsLeft(20), 0);
}

}  // namespace
}  // namespace denoised
