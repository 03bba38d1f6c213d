// That a forecast is what then happens, the scheduler's own test shows: scheduler_test.cc.
#include "server/scheduler/schedule_forecast.h"

#include <gtest/gtest.h>

namespace denoised {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

// Four rows; a step takes a millisecond for each of its rows.
class ScheduleForecastTest : public testing::Test {
 protected:
  ScheduleForecastTest() {
    for (const int rows : {1, 4}) step_times_.Record(rows, milliseconds(rows));
  }

  // The next request to come, of which a step takes a millisecond alone.
  Turns Request(Turns turns) {
    turns.step_seconds = 0.001;
    turns.request = requests_++;
    return turns;
  }

  int64_t requests_ = 0;
  StepTimeModel step_times_{4};
  ScheduleForecast forecast_{4, step_times_};
};

TEST_F(ScheduleForecastTest, ImagesBeyondTheRowsTakeAnotherRound) {
  const int mine = forecast_.AddWaiting(Request({.steps = 10}), 0, 6);
  const ScheduleForecast::Outlook outlook = forecast_.Follow(mine);
  EXPECT_EQ(outlook.images_ahead, 0);
  EXPECT_EQ(outlook.duration, milliseconds(10 * 4 + 10 * 2));
}

TEST_F(ScheduleForecastTest, ImagesThatNeedLittleGoFirst) {
  for (const int steps_left : {5, 20, 20, 20}) forecast_.AddBegun(Request({.steps = 20}), steps_left);
  // It overtakes the last of the three that need 20 steps more.
  const int mine = forecast_.AddWaiting(Request({.steps = 10}), 0, 1);
  EXPECT_EQ(forecast_.Follow(mine).duration, milliseconds(10 * 4));
}

TEST_F(ScheduleForecastTest, ThoseOvertakenGoOnWhenThereIsRoom) {
  forecast_.AddBegun(Request({.steps = 20, .rows = 2}), 20);
  for (int i = 0; i < 3; ++i) forecast_.AddWaiting(Request({.steps = 4}), 0, 1);
  EXPECT_EQ(forecast_.UntilFinished(3), milliseconds(4 * 3));
  ScheduleForecast forecast(4, step_times_);
  forecast.AddBegun(Request({.steps = 20, .rows = 2}), 20);
  for (int i = 0; i < 3; ++i) forecast.AddWaiting(Request({.steps = 4}), 0, 1);
  EXPECT_EQ(forecast.UntilFinished(4), milliseconds(4 * 3 + 20 * 2));
}

TEST_F(ScheduleForecastTest, WhoWaitsGoesBeforeNewcomersInTheEnd) {
  for (const int steps : {100, 100, 100, 100}) forecast_.AddBegun(Request({.steps = steps}), 10);
  forecast_.AddWaiting(Request({.submitted = -1, .steps = 100}), 0, 1);  // for a second already
  const int mine = forecast_.AddWaiting(Request({.submitted = 0, .steps = 50}), 0, 1);
  EXPECT_EQ(forecast_.Follow(mine).images_ahead, 1);
}

TEST_F(ScheduleForecastTest, LaterRoundsOfABigRequestLetOthersGoFirst) {
  const Turns big = Request({.steps = 10});
  for (int i = 0; i < 4; ++i) forecast_.AddBegun(big, 4);
  forecast_.AddWaiting(big, 4, 46);
  const int mine = forecast_.AddWaiting(Request({.submitted = 0.006, .steps = 10}), 0, 1);
  const ScheduleForecast::Outlook outlook = forecast_.Follow(mine);
  EXPECT_EQ(outlook.images_ahead, 0);
  EXPECT_EQ(outlook.duration, milliseconds((4 + 10) * 4));
}

TEST_F(ScheduleForecastTest, NobodyOvertakesAGuidedImageWhoseTurnItIs) {
  forecast_.AddBegun(Request({.steps = 2}), 2);
  forecast_.AddBegun(Request({.steps = 6, .rows = 2}), 6);
  forecast_.AddWaiting(Request({.steps = 10, .rows = 2}), 0, 1);
  const int mine = forecast_.AddWaiting(Request({.steps = 12}), 0, 1);
  // Three rows at first, two after two steps: the guided image takes the other two, the last one those of the second.
  const ScheduleForecast::Outlook outlook = forecast_.Follow(mine);
  EXPECT_EQ(outlook.images_ahead, 1);
  EXPECT_EQ(outlook.duration, milliseconds(2 * 3 + 4 * 4 + 6 * 3 + 6 * 1));
}

TEST_F(ScheduleForecastTest, CountsFinishedImagesOfEverybody) {
  const auto until = [this](int64_t images) {
    ScheduleForecast forecast(4, step_times_);
    forecast.AddBegun(Request({.steps = 3}), 3);
    forecast.AddWaiting(Request({.steps = 10}), 0, 5);
    EXPECT_EQ(forecast.images(), 6);
    return forecast.UntilFinished(images);
  };
  EXPECT_EQ(until(0), milliseconds(0));
  EXPECT_EQ(until(1), milliseconds(3 * 4));
  EXPECT_EQ(until(2), milliseconds(10 * 4));
  EXPECT_EQ(until(4), milliseconds(10 * 4));
  EXPECT_EQ(until(5), milliseconds(10 * 4 + 3 * 2));  // the one that began at the third step
  EXPECT_EQ(until(6), milliseconds(10 * 4 + 3 * 2 + 7 * 1));
}

TEST_F(ScheduleForecastTest, LongQueuesAreTakenAtThePaceSoFar) {
  for (int i = 0; i <= 9 * ScheduleForecast::kMaxPlayed; ++i) forecast_.AddWaiting(Request({.steps = 10}), 0, 1);
  const int mine = forecast_.AddWaiting(Request({.steps = 10}), 0, 1);
  const double exact = (9.0 * ScheduleForecast::kMaxPlayed + 2) / 4 * 0.04;
  EXPECT_NEAR(std::chrono::duration<double>(forecast_.Follow(mine).duration).count() / exact, 1, 0.01);
}

TEST_F(ScheduleForecastTest, KnowsNoDurationWithoutStepTimes) {
  const StepTimeModel none(4);
  ScheduleForecast forecast(4, none);
  forecast.AddWaiting(Request({.steps = 10}), 0, 5);
  const ScheduleForecast::Outlook outlook = forecast.Follow(forecast.AddWaiting(Request({.steps = 10}), 0, 1));
  EXPECT_EQ(outlook.duration, nanoseconds(0));
  EXPECT_EQ(outlook.images_ahead, 4);  // the fifth has its turn in the second round
}

}  // namespace
}  // namespace denoised
