#include "common/support/worker_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <system_error>
#include <thread>
#include <vector>

#include "common/support/thread_pool.h"
#include "tests/testing/sanitizers.h"

namespace denoised {
namespace {

// Of addresses, beyond what is in use.
void LimitMemory(rlim_t bytes) {
  rlim_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  const rlim_t all = pages * static_cast<rlim_t>(sysconf(_SC_PAGESIZE)) + bytes;
  const rlimit limit{.rlim_cur = all, .rlim_max = all};
  setrlimit(RLIMIT_AS, &limit);
}

// A process that may have no more threads must be told so, and live.
TEST(WorkerPoolTest, FewerThreadsThanAskedForAreAnError) {
  DENOISED_SKIP_WITHOUT_SPARE_MEMORY();
  const auto try_it = [](auto make) {
    LimitMemory(64 << 20);  // eight stacks
    try {
      make();
    } catch (const std::system_error& e) {
      std::fprintf(stderr, "%s\n", e.what());
      std::exit(0);
    }
    std::exit(1);
  };
  EXPECT_EXIT(try_it([] { WorkerPool pool(64); }), testing::ExitedWithCode(0),
              "only [0-9]+ of 64 threads can be had: lower --threads, or raise the limit of processes");
  EXPECT_EXIT(try_it([] { ThreadPool pool({.threads = 64}); }), testing::ExitedWithCode(0), "");
}

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
