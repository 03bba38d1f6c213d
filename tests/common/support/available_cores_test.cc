#include "common/support/available_cores.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <thread>

namespace denoised {
namespace {

CgroupLimits Quota(double cpus) { return {.cpus = CgroupLimit{cpus, "/sys/fs/cgroup/cpu.max"}}; }

TEST(AvailableCoresTest, WithoutAQuotaTheAffinityCounts) {
  EXPECT_EQ(CountCores(8, {}).cores, 8);
  EXPECT_EQ(DescribeCores(CountCores(8, {})), "8 cores");
}

TEST(AvailableCoresTest, PartOfACoreCountsAsOne) {
  EXPECT_EQ(CountCores(8, Quota(1.5)).cores, 2);
  EXPECT_EQ(CountCores(8, Quota(0.1)).cores, 1);
  EXPECT_EQ(CountCores(8, Quota(3)).cores, 3);
}

TEST(AvailableCoresTest, QuotaAboveTheAffinityChangesNothing) {
  EXPECT_EQ(CountCores(2, Quota(4)).cores, 2);
  EXPECT_EQ(CountCores(2, Quota(1.5)).cores, 2);
  EXPECT_EQ(DescribeCores(CountCores(2, Quota(4))), "2 cores");
}

TEST(AvailableCoresTest, QuotaThatDecidesIsNamed) {
  EXPECT_EQ(DescribeCores(CountCores(8, Quota(1.5))),
            "2 cores, by the CPU quota of 1.5 in /sys/fs/cgroup/cpu.max (8 by affinity)");
  EXPECT_EQ(DescribeCores(CountCores(4, Quota(0.5))),
            "1 core, by the CPU quota of 0.5 in /sys/fs/cgroup/cpu.max (4 by affinity)");
}

// Reported of other servers: bound to one core by `taskset`, they started a thread for each of the machine's.
TEST(AvailableCoresTest, ThreadBoundToOneCoreHasOne) {
  int by_affinity = 0, available = 0;
  std::thread bound([&] {
    cpu_set_t mine;
    ASSERT_EQ(sched_getaffinity(0, sizeof mine, &mine), 0);
    int first = 0;
    while (!CPU_ISSET(first, &mine)) ++first;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
    by_affinity = CoresByAffinity();
    available = AvailableCores();
  });
  bound.join();
  EXPECT_EQ(by_affinity, 1);
  EXPECT_EQ(available, 1);
}

}  // namespace
}  // namespace denoised
