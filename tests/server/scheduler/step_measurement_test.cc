#include "server/scheduler/step_measurement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "tests/testing/puppet_engine.h"
#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;

// A machine whose steps take as long as a function of their rows and their number says.
class StepMeasurementTest : public testing::Test {
 protected:
  using StepTime = std::function<nanoseconds(int rows, int step)>;

  absl::Status Measure(const StepTime& step_time, int max_rows = 8) {
    measurement_ = StepMeasurement(max_rows);
    return measurement_.Run(
        [&](absl::Span<const StepRow> rows) {
          clock_.Advance(step_time(static_cast<int>(rows.size()), steps_++));
          rows_.insert(rows.size());
          return absl::OkStatus();
        },
        [this] { return clock_.now(); }, [] { return false; });
  }

  FakeClock clock_;
  StepMeasurement measurement_{8};
  int steps_ = 0;
  std::set<size_t> rows_;
};

TEST_F(StepMeasurementTest, FewestRowsThatGetThroughNearlyAsManyAsAny) {
  ASSERT_THAT(Measure([](int rows, int) { return rows <= 4 ? milliseconds(1) : rows * microseconds(250); }), IsOk());
  EXPECT_EQ(measurement_.WideEnough(), 4);
  EXPECT_TRUE(measurement_.steady());
  EXPECT_THAT(rows_, testing::ElementsAre(1, 2, 4, 8));
}

// Twice the rows are better by a tenth each time, and who draws beside others would be five to ten times as late.
TEST_F(StepMeasurementTest, StepsThatTakeManyTimesAsLongAsOneOfARowAreTooWide) {
  const auto two_cores = [](int rows, int) {
    return microseconds(rows == 1 ? 370 : rows == 2 ? 540 : rows == 4 ? 1030 : rows == 8 ? 1850 : 3330);
  };
  ASSERT_THAT(Measure(two_cores, 16), IsOk());
  EXPECT_EQ(measurement_.WideEnough(), 4) << "the best of those that are not too wide";
  ASSERT_THAT(Measure([](int rows, int) { return rows * milliseconds(1); }), IsOk());
  EXPECT_EQ(measurement_.WideEnough(), 2) << "the rows of a guided image, whatever they take";
  ASSERT_THAT(Measure([](int rows, int) { return microseconds(rows == 1 ? 100 : 399); }, 2), IsOk());
  EXPECT_EQ(measurement_.WideEnough(), 2) << "even so";
}

// By the times of a GPU: 264 rows take less than twice as long as one.
TEST_F(StepMeasurementTest, WhereRowsCostHardlyAnythingStepsAreAsWideAsTheyPay) {
  ASSERT_THAT(Measure([](int rows, int) { return microseconds(118 + (rows <= 132 ? 0 : 79)); }, 264), IsOk());
  EXPECT_EQ(measurement_.WideEnough(), 256) << "264 are hardly better";
}

TEST_F(StepMeasurementTest, LongStepsAreNotTried) {
  ASSERT_THAT(Measure([](int rows, int) { return rows * milliseconds(40); }), IsOk());
  EXPECT_THAT(rows_, testing::ElementsAre(1, 2));
}

TEST_F(StepMeasurementTest, ABusyMachineIsMeasuredLongerAndSaid) {
  ASSERT_THAT(Measure([](int rows, int) { return rows * milliseconds(1); }), IsOk());
  const int quiet = steps_;
  steps_ = 0;
  // Each round is a tenth shorter than the one before: no time is had twice.
  const auto ever_shorter = [](int rows, int step) {
    return rows * nanoseconds(static_cast<int64_t>(1e6 * std::pow(1.1, -step / 12)));
  };
  ASSERT_THAT(Measure(ever_shorter), IsOk());
  EXPECT_GT(steps_, 2 * quiet);
  EXPECT_FALSE(measurement_.steady());
  EXPECT_GT(measurement_.spread(), 0.05);
}

// A start beside a busy neighbour took half a minute, all of it for timing.
TEST_F(StepMeasurementTest, AVeryBusyMachineIsNotMeasuredForLong) {
  const SteadyTime start = clock_.now();
  ASSERT_THAT(Measure([](int, int step) { return milliseconds(30 + step % 97); }), IsOk());
  EXPECT_LT(clock_.now() - start, std::chrono::seconds(10));
  EXPECT_FALSE(measurement_.steady()) << "so it is measured again in a pause";
}

TEST_F(StepMeasurementTest, ADisturbanceNowAndThenChangesNothing) {
  ASSERT_THAT(Measure([](int rows, int step) { return rows * milliseconds(step % 41 == 0 ? 3 : 1); }), IsOk());
  EXPECT_GT(measurement_.delay(), 0.1);
  EXPECT_TRUE(measurement_.steady());
  StepTimeModel model(8);
  measurement_.Teach(model);
  EXPECT_EQ(model.Estimate(2), milliseconds(2));
}

// Beside a neighbour shortest times may come out alike by luck, and in another start as others.
TEST_F(StepMeasurementTest, DisturbancesOfManyStepsAreSaidThoughTheShortestTimesAgree) {
  ASSERT_THAT(Measure([](int rows, int step) { return rows * milliseconds(step % 5 == 0 ? 5 : 1); }), IsOk());
  EXPECT_LT(measurement_.spread(), 0.01);
  EXPECT_GT(measurement_.delay(), 0.5);
  EXPECT_FALSE(measurement_.steady()) << "so it is measured again in a pause";
}

TEST_F(StepMeasurementTest, OtherTimesContradictIt) {
  ASSERT_THAT(Measure([](int rows, int) { return rows * milliseconds(1); }), IsOk());
  StepTimeModel model(8);
  measurement_.Teach(model);
  for (int i = 0; i < 100; ++i) model.Record(4, milliseconds(5));
  EXPECT_FALSE(measurement_.IsContradictedBy(model)) << "a quarter more";
  for (int i = 0; i < 100; ++i) model.Record(4, milliseconds(8));
  EXPECT_TRUE(measurement_.IsContradictedBy(model));
}

TEST_F(StepMeasurementTest, GivesUpBetweenTwoSteps) {
  int steps = 0;
  EXPECT_THAT(measurement_.Run(
                  [&steps](absl::Span<const StepRow>) {
                    ++steps;
                    return absl::OkStatus();
                  },
                  [this] { return clock_.now(); }, [&steps] { return steps == 2; }),
              StatusIs(absl::StatusCode::kCancelled, "measuring was given up"));
  EXPECT_EQ(steps, 2);
}

}  // namespace
}  // namespace denoised
