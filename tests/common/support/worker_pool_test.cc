#include "common/support/worker_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace denoised {
namespace {

TEST(WorkerPoolTest, EachWorkerRunsOnce) {
  WorkerPool pool(3);
  EXPECT_EQ(pool.size(), 3);
  std::vector<int> calls(3);
  for (int round = 0; round < 100; ++round) pool.Run(3, [&](int worker) { ++calls[worker]; });
  EXPECT_THAT(calls, testing::Each(100));
}

TEST(WorkerPoolTest, FewerWorkersLeaveTheOthersAlone) {
  WorkerPool pool(3);
  std::vector<int> calls(3);
  pool.Run(2, [&](int worker) { ++calls[worker]; });
  pool.Run(1, [&](int worker) { ++calls[worker]; });
  EXPECT_THAT(calls, testing::ElementsAre(2, 1, 0));
}

TEST(WorkerPoolTest, WorkersRunAtTheSameTime) {
  WorkerPool pool(2);
  std::atomic<int> arrived = 0;
  pool.Run(2, [&](int) {
    ++arrived;
    while (arrived < 2) std::this_thread::yield();
  });
  EXPECT_EQ(arrived, 2);
}

TEST(WorkerPoolTest, TheFirstWorkerIsTheCaller) {
  WorkerPool pool(2);
  std::thread::id first;
  pool.Run(2, [&](int worker) {
    if (worker == 0) first = std::this_thread::get_id();
  });
  EXPECT_EQ(first, std::this_thread::get_id());
}

}  // namespace
}  // namespace denoised
