#include "common/support/steady_event.h"

#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <optional>
#include <thread>

#include "common/support/periodic_task.h"

namespace {

std::atomic<time_t> ahead = 0;  // seconds by which the time of day is wrong

}  // namespace

// Comes before the system's in this whole program, so that the time of day can be set back.
extern "C" int clock_gettime(clockid_t clock, timespec* time) noexcept {
  const auto result = static_cast<int>(syscall(SYS_clock_gettime, clock, time));
  if (result == 0 && clock == CLOCK_REALTIME) time->tv_sec += ahead;
  return result;
}

namespace denoised {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

// Begins a wait with a clock that is an hour ahead, and sets it right meanwhile.
class WrongClock {
 public:
  WrongClock() { ahead = 3600; }
  ~WrongClock() { ahead = 0; }
};

TEST(SteadyEventTest, IsSetUntilItIsCleared) {
  SteadyEvent event;
  EXPECT_FALSE(event.is_set());
  EXPECT_FALSE(event.WaitFor(milliseconds(1)));
  event.Set();
  EXPECT_TRUE(event.is_set());
  EXPECT_TRUE(event.WaitFor(milliseconds(0)));
  event.Wait();
  event.Clear();
  EXPECT_FALSE(event.is_set());
}

TEST(SteadyEventTest, WakesWhoeverWaits) {
  SteadyEvent event;
  std::thread setter([&event] {
    std::this_thread::sleep_for(milliseconds(20));
    event.Set();
  });
  EXPECT_TRUE(event.WaitFor(std::chrono::nanoseconds::max()));
  setter.join();
}

// The test's timeout ends it otherwise.
TEST(SteadyEventTest, ClockThatIsSetBackLengthensNoWait) {
  const SteadyEvent event;
  std::atomic<bool> over = false;
  std::thread waiter;
  {
    const WrongClock wrong;
    waiter = std::thread([&] {
      EXPECT_FALSE(event.WaitFor(milliseconds(200)));
      over = true;
    });
    std::this_thread::sleep_for(milliseconds(50));
    EXPECT_FALSE(over);
  }
  waiter.join();
}

// As the service manager's watchdog needs it.
TEST(SteadyEventTest, ClockThatIsSetBackHoldsUpNoPeriodicTask) {
  SteadyEvent worked;
  std::optional<PeriodicTask> task;
  {
    const WrongClock wrong;
    task.emplace(milliseconds(200), [&worked] { worked.Set(); });
    std::this_thread::sleep_for(milliseconds(50));
  }
  EXPECT_TRUE(worked.WaitFor(hours(1)));
}

}  // namespace
}  // namespace denoised
