#include "common/support/thread_pool.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <atomic>
#include <string>
#include <vector>

#include "absl/synchronization/notification.h"

namespace denoised {
namespace {

TEST(ThreadPoolTest, RunsEverythingBeforeItEnds) {
  std::atomic<int> sum{0};
  {
    ThreadPool pool({.threads = 3});
    for (int i = 1; i <= 1000; ++i) pool.Add([&sum, i] { sum += i; });
  }
  EXPECT_EQ(sum, 500500);
}

TEST(ThreadPoolTest, OneThreadKeepsTheOrder) {
  std::vector<int> order;
  {
    ThreadPool pool({.threads = 1});
    for (int i = 0; i < 100; ++i) pool.Add([&order, i] { order.push_back(i); });
  }
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order.at(i), i);
}

TEST(ThreadPoolTest, TasksMayAddTasks) {
  std::atomic<bool> ran{false};
  {
    ThreadPool pool({.threads = 1});
    pool.Add([&] { pool.Add([&] { ran = true; }); });
  }
  EXPECT_TRUE(ran);
}

TEST(ThreadPoolTest, UrgentTasksGoFirst) {
  std::string order;
  absl::Notification begun, filled;
  {
    ThreadPool pool({.threads = 1});
    pool.Add([&] {
      begun.Notify();
      filled.WaitForNotification();
    });
    begun.WaitForNotification();
    pool.Add([&] { order += 'a'; });
    pool.Add([&] { order += 'B'; }, ThreadPool::Priority::kHigh);
    pool.Add([&] { order += 'c'; });
    pool.Add([&] { order += 'D'; }, ThreadPool::Priority::kHigh);
    filled.Notify();
  }
  EXPECT_EQ(order, "BDac");
}

TEST(ThreadPoolTest, NicenessIsThatOfItsThreadsAlone) {
  const int own = getpriority(PRIO_PROCESS, 0);
  if (own > 15) GTEST_SKIP() << "this process yields to all others already";
  int in_pool = 0;
  {
    ThreadPool pool({.threads = 1, .niceness = 3});
    pool.Add([&] { in_pool = getpriority(PRIO_PROCESS, 0); });
  }
  EXPECT_EQ(in_pool, own + 3);
  EXPECT_EQ(getpriority(PRIO_PROCESS, 0), own);
}

}  // namespace
}  // namespace denoised
