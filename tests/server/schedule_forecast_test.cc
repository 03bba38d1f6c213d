// That a forecast is what then happens, the scheduler's own test shows: scheduler_test.cc.
#include "server/schedule_forecast.h"

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

  StepTimeModel step_times_{4};
  ScheduleForecast forecast_{4, step_times_};
};

TEST_F(ScheduleForecastTest, ImagesBeyondTheRowsTakeAnotherRound) {
  const int mine = forecast_.AddWaiting({.rows = 1, .steps = 10}, 6);
  const ScheduleForecast::Outlook outlook = forecast_.Follow(mine);
  EXPECT_EQ(outlook.images_ahead, 0);
  EXPECT_EQ(outlook.duration, milliseconds(10 * 4 + 10 * 2));
}

TEST_F(ScheduleForecastTest, ImagesInTheMakingKeepTheirRowsToTheirEnd) {
  for (const int steps_left : {5, 20, 20, 20}) {
    forecast_.AddActive({.rows = 1, .steps = steps_left}, ScheduleForecast::kNoneWaiting);
  }
  const int mine = forecast_.AddWaiting({.rows = 1, .steps = 10}, 1);
  EXPECT_EQ(forecast_.Follow(mine).duration, milliseconds(5 * 4 + 10 * 4));
}

TEST_F(ScheduleForecastTest, RequestWithFewestImagesInTheMakingGoesFirst) {
  const int many = forecast_.AddWaiting({.rows = 1, .steps = 10}, 50);
  for (int i = 0; i < 2; ++i) forecast_.AddActive({.rows = 1, .steps = 4}, many);
  const int one = forecast_.AddWaiting({.rows = 1, .steps = 10}, 1);
  forecast_.AddActive({.rows = 2, .steps = 10}, ScheduleForecast::kNoneWaiting);
  const int mine = forecast_.AddWaiting({.rows = 1, .steps = 10}, 1);
  // After four steps two rows are free: one each for `many`, which has none in the making then, and for `one`; after
  // six more the guided image ends, and `mine` goes before the rest of `many`.
  const ScheduleForecast::Outlook outlook = forecast_.Follow(mine);
  EXPECT_EQ(outlook.images_ahead, 2);
  EXPECT_EQ(outlook.duration, milliseconds((4 + 6 + 10) * 4));
  EXPECT_EQ(one, 1);
}

TEST_F(ScheduleForecastTest, NobodyOvertakesAGuidedImageThatWaitsForBothRows) {
  forecast_.AddActive({.rows = 1, .steps = 2}, ScheduleForecast::kNoneWaiting);
  forecast_.AddActive({.rows = 2, .steps = 6}, ScheduleForecast::kNoneWaiting);
  forecast_.AddWaiting({.rows = 2, .steps = 10}, 1);
  const int mine = forecast_.AddWaiting({.rows = 1, .steps = 1}, 1);
  // Three rows at first, two after two steps: the guided image takes the other two.
  const ScheduleForecast::Outlook outlook = forecast_.Follow(mine);
  EXPECT_EQ(outlook.images_ahead, 1);
  EXPECT_EQ(outlook.duration, milliseconds(2 * 3 + 4 * 4 + 1 * 3));
}

TEST_F(ScheduleForecastTest, CountsFinishedImagesOfEverybody) {
  const auto until = [this](int64_t images) {
    ScheduleForecast forecast(4, step_times_);
    forecast.AddActive({.rows = 1, .steps = 3}, ScheduleForecast::kNoneWaiting);
    forecast.AddWaiting({.rows = 1, .steps = 10}, 5);
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
  forecast_.AddWaiting({.rows = 1, .steps = 10}, 1);
  for (int i = 0; i < 9 * ScheduleForecast::kMaxPlayed; ++i) forecast_.AddWaiting({.rows = 1, .steps = 10}, 1);
  const int mine = forecast_.AddWaiting({.rows = 1, .steps = 10}, 1);
  const double exact = (9.0 * ScheduleForecast::kMaxPlayed + 2) / 4 * 0.04;
  EXPECT_NEAR(std::chrono::duration<double>(forecast_.Follow(mine).duration).count() / exact, 1, 0.01);
}

TEST_F(ScheduleForecastTest, KnowsNoDurationWithoutStepTimes) {
  const StepTimeModel none(4);
  ScheduleForecast forecast(4, none);
  forecast.AddWaiting({.rows = 1, .steps = 10}, 5);
  const ScheduleForecast::Outlook outlook = forecast.Follow(forecast.AddWaiting({.rows = 1, .steps = 10}, 1));
  EXPECT_EQ(outlook.duration, nanoseconds(0));
  EXPECT_EQ(outlook.images_ahead, 1);
}

}  // namespace
}  // namespace denoised
