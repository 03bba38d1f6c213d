#include "common/support/signal_queue.h"

#include <gtest/gtest.h>
#include <signal.h>

namespace denoised {
namespace {

using std::chrono::milliseconds;

TEST(SignalQueueTest, QueuesSignalsInOrder) {
  SignalQueue signals({SIGTERM, SIGHUP});
  EXPECT_EQ(signals.WaitFor(milliseconds(0)), std::nullopt);
  raise(SIGHUP);
  raise(SIGTERM);
  EXPECT_EQ(signals.WaitFor(milliseconds(0)), SIGHUP);
  EXPECT_EQ(signals.Wait(), SIGTERM);
  EXPECT_EQ(signals.WaitFor(milliseconds(0)), std::nullopt);
}

TEST(SignalQueueDeathTest, OneStopMoreThanWereToBeQueuedEndsTheProcess) {
  EXPECT_EXIT(
      {
        SignalQueue signals({SIGINT, SIGTERM, SIGHUP});
        signals.EndAtOnceAfter(1);
        raise(SIGHUP);
        raise(SIGINT);
        raise(SIGHUP);
        if (signals.Wait() != SIGHUP || signals.Wait() != SIGINT) exit(1);
        raise(SIGTERM);
      },
      testing::ExitedWithCode(128 + SIGTERM), "ended at once by a signal; what was under way is lost");
}

TEST(SignalQueueDeathTest, DefaultsComeBack) {
  EXPECT_EXIT(
      {
        { const SignalQueue signals({SIGTERM}); }
        raise(SIGTERM);
      },
      testing::KilledBySignal(SIGTERM), "");
}

}  // namespace
}  // namespace denoised
