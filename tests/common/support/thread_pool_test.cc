#include "common/support/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <vector>

namespace denoised {
namespace {

TEST(ThreadPoolTest, RunsEverythingBeforeItEnds) {
  std::atomic<int> sum{0};
  {
    ThreadPool pool(3);
    for (int i = 1; i <= 1000; ++i) pool.Add([&sum, i] { sum += i; });
  }
  EXPECT_EQ(sum, 500500);
}

TEST(ThreadPoolTest, OneThreadKeepsTheOrder) {
  std::vector<int> order;
  {
    ThreadPool pool(1);
    for (int i = 0; i < 100; ++i) pool.Add([&order, i] { order.push_back(i); });
  }
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order.at(i), i);
}

TEST(ThreadPoolTest, TasksMayAddTasks) {
  std::atomic<bool> ran{false};
  {
    ThreadPool pool(1);
    pool.Add([&] { pool.Add([&] { ran = true; }); });
  }
  EXPECT_TRUE(ran);
}

}  // namespace
}  // namespace denoised
