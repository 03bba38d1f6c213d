#include "server/service/read_allowance.h"

#include <gtest/gtest.h>

namespace denoised {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr ReadLimits kLimits{.grace = seconds(30), .bytes_per_second = 1000};

// Reads events of so many bytes, each so long after it was written, until the allowance cuts it off; counts them.
int EventsRead(std::chrono::nanoseconds delay, size_t bytes, int most) {
  ReadAllowance allowance(kLimits);
  ReadAllowance::Time now(hours(1));
  for (int read = 0; read < most; ++read) {
    const ReadAllowance::Time until = allowance.BeginWrite(now, bytes);
    now += delay;
    if (now > until) return read;
    allowance.EndWrite(now);
    now += seconds(1);  // until there is another event
  }
  return most;
}

TEST(ReadAllowanceTest, WriteMayTakeTheGraceAndWhatItsBytesDo) {
  ReadAllowance allowance(kLimits);
  const ReadAllowance::Time now(hours(1));
  EXPECT_EQ(allowance.BeginWrite(now, 5000) - now, seconds(30) + seconds(5) + milliseconds(250));
}

// One event each 29 seconds kept a limit of 30 seconds for each, and held its places for 48 minutes.
TEST(ReadAllowanceTest, ReaderOfOneEventEach29SecondsIsCutOffAtTheSecond) {
  EXPECT_EQ(EventsRead(seconds(29), 500, 100), 1);
}

TEST(ReadAllowanceTest, ReaderAtTheLeastRateIsNeverCutOff) { EXPECT_EQ(EventsRead(seconds(5), 5000, 10'000), 10'000); }

TEST(ReadAllowanceTest, ReaderAtHalfTheLeastRateIsCutOffBeforeLong) {
  const int read = EventsRead(seconds(10), 5000, 10'000);
  EXPECT_GT(read, 1);
  EXPECT_LT(read, 10);
}

TEST(ReadAllowanceTest, FarReaderOfSmallEventsIsNotSlow) {
  EXPECT_EQ(EventsRead(milliseconds(250), 1, 10'000), 10'000);
}

// Else a minute of quick reading would buy an hour of silence.
TEST(ReadAllowanceTest, NobodySavesUpMoreThanTheGrace) {
  ReadAllowance allowance(kLimits);
  const ReadAllowance::Time now(hours(1));
  for (int i = 0; i < 1000; ++i) {
    allowance.BeginWrite(now, 100'000);
    allowance.EndWrite(now);
  }
  EXPECT_EQ(allowance.BeginWrite(now, 0) - now, seconds(30) + milliseconds(250));
}

TEST(ReadAllowanceTest, PauseIsForgivenOnceTheReaderHasCaughtUp) {
  ReadAllowance allowance(kLimits);
  ReadAllowance::Time now(hours(1));
  allowance.BeginWrite(now, 0);
  now += seconds(29);
  allowance.EndWrite(now);
  for (int i = 0; i < 6; ++i) {
    allowance.BeginWrite(now, 5000);
    allowance.EndWrite(now);
  }
  EXPECT_EQ(allowance.BeginWrite(now, 0) - now, seconds(30) + milliseconds(250));
}

}  // namespace
}  // namespace denoised
