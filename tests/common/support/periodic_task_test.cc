#include "common/support/periodic_task.h"

#include <gtest/gtest.h>

#include <atomic>

#include "absl/synchronization/blocking_counter.h"

namespace denoised {
namespace {

TEST(PeriodicTaskTest, WorksAgainAndAgain) {
  std::atomic<int> left = 3;
  absl::BlockingCounter done(3);
  const PeriodicTask task(std::chrono::microseconds(10), [&] {
    if (left-- > 0) done.DecrementCount();
  });
  done.Wait();  // the test's timeout ends it otherwise
}

TEST(PeriodicTaskTest, EndsWithoutWaitingForThePeriod) {
  const PeriodicTask task(std::chrono::hours(24), [] { FAIL() << "called before its time"; });
}

}  // namespace
}  // namespace denoised
