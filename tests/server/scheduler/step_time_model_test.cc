#include "server/scheduler/step_time_model.h"

#include <gtest/gtest.h>

namespace denoised {
namespace {

using std::chrono::microseconds;
using std::chrono::nanoseconds;

TEST(StepTimeModelTest, KnowsNothingAtFirst) { EXPECT_EQ(StepTimeModel(8).Estimate(4), nanoseconds(0)); }

TEST(StepTimeModelTest, FirstMeasurementIsTheEstimate) {
  StepTimeModel model(8);
  model.Record(4, microseconds(100));
  EXPECT_EQ(model.Estimate(4), microseconds(100));
}

TEST(StepTimeModelTest, LaterOnesMoveItByATwentieth) {
  StepTimeModel model(8);
  model.Record(4, microseconds(100));
  model.Record(4, microseconds(200));
  EXPECT_EQ(model.Estimate(4), microseconds(105));
}

TEST(StepTimeModelTest, StallIsNotTakenForASlowMachine) {
  StepTimeModel model(8);
  model.Record(4, microseconds(100));
  model.Record(4, std::chrono::seconds(8));
  EXPECT_EQ(model.Estimate(4), microseconds(115));
  for (int i = 0; i < 100; ++i) model.Record(4, microseconds(1000));
  EXPECT_GT(model.Estimate(4), microseconds(950)) << "what lasts is";
}

// Three rows have not run yet: what their neighbours take is known.
TEST(StepTimeModelTest, StallAtAFirstMeasurementIsNotTakenForASlowMachineEither) {
  StepTimeModel model(8);
  model.Record(2, microseconds(100));
  model.Record(4, microseconds(200));
  model.Record(3, std::chrono::seconds(8));
  EXPECT_EQ(model.Estimate(3), microseconds(600)) << "four times what lies between";
  EXPECT_EQ(model.Least(3), microseconds(600));
  for (int i = 0; i < 100; ++i) model.Record(3, microseconds(150));
  EXPECT_LT(model.Estimate(3), microseconds(160));
}

// As a team of threads makes one row in a fraction of what two take.
TEST(StepTimeModelTest, WhatWasMeasuredWithCareIsBelievedWhateverTheNeighbours) {
  StepTimeModel model(8);
  model.Set(1, microseconds(100));
  model.Set(2, microseconds(2000));
  EXPECT_EQ(model.Estimate(2), microseconds(2000));
  EXPECT_EQ(model.Least(2), microseconds(2000));
}

TEST(StepTimeModelTest, KeepsTheShortest) {
  StepTimeModel model(8);
  EXPECT_EQ(model.Least(2), nanoseconds(0));
  model.Record(4, microseconds(100));
  model.Record(4, microseconds(80));
  model.Record(4, microseconds(300));
  EXPECT_EQ(model.Least(4), microseconds(80));
  EXPECT_EQ(model.Least(2), microseconds(40));
}

TEST(StepTimeModelTest, InterpolatesBetweenSizes) {
  StepTimeModel model(8);
  model.Record(2, microseconds(100));
  model.Record(6, microseconds(300));
  EXPECT_EQ(model.Estimate(3), microseconds(150));
}

TEST(StepTimeModelTest, ScalesBeyondTheNearestSize) {
  StepTimeModel model(8);
  model.Record(4, microseconds(100));
  EXPECT_EQ(model.Estimate(8), microseconds(200));
  EXPECT_EQ(model.Estimate(2), microseconds(50));
}

TEST(StepTimeModelTest, ClampsToItsSizes) {
  StepTimeModel model(8);
  model.Record(8, microseconds(100));
  model.Record(1, microseconds(30));
  EXPECT_EQ(model.Estimate(1000), microseconds(100));
  EXPECT_EQ(model.Estimate(0), microseconds(30));
}

}  // namespace
}  // namespace denoised
