#include "server/resources.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace denoised {
namespace {

using testing::Eq;
using testing::Optional;

constexpr uint64_t kMiB = 1 << 20;

CoreCount HalfOfFour() { return {.cores = 2, .by_affinity = 4, .quota = CgroupLimit{1.5, "/sys/fs/cgroup/cpu.max"}}; }

TEST(ResourcesTest, ThreadsAreSaidWithTheirReason) {
  EXPECT_EQ(DescribeThreads(0, {.cores = 4, .by_affinity = 4}),
            "the network's threads on a CPU: 4, as this process has 4 cores");
  EXPECT_EQ(DescribeThreads(0, HalfOfFour()),
            "the network's threads on a CPU: 2, as this process has 2 cores, by the CPU quota of 1.5 in "
            "/sys/fs/cgroup/cpu.max (4 by affinity)");
  EXPECT_EQ(DescribeThreads(1, {.cores = 4, .by_affinity = 4}),
            "the network's threads on a CPU: 1, by --threads; this process has 4 cores");
}

TEST(ResourcesTest, MoreThreadsThanCoresAreWarnedOf) {
  EXPECT_EQ(WarnOfThreads(0, HalfOfFour()), std::nullopt);
  EXPECT_EQ(WarnOfThreads(2, HalfOfFour()), std::nullopt);
  EXPECT_THAT(WarnOfThreads(3, HalfOfFour()),
              Optional(Eq("--threads=3 is more than this process has cores (2 cores, by the CPU quota of 1.5 in "
                          "/sys/fs/cgroup/cpu.max (4 by affinity)): threads will wait for each other, and steps take "
                          "much longer; leave the flag out, or allow this process more cores")));
}

// A server in 256 MiB serves, and is killed at the first reload.
TEST(ResourcesTest, MemoryLimitThatAReloadWouldExceedIsWarnedOf) {
  const CgroupLimit limit{256.0 * kMiB, "/sys/fs/cgroup/memory.max"};
  EXPECT_EQ(WarnOfMemory(178 * kMiB, std::nullopt), std::nullopt);
  EXPECT_EQ(WarnOfMemory(120 * kMiB, limit), std::nullopt);
  EXPECT_THAT(WarnOfMemory(178 * kMiB, limit),
              Optional(Eq("a reload of the checkpoint (SIGHUP) would not fit into memory: it needs about 356 MiB, and "
                          "/sys/fs/cgroup/memory.max allows 256; the kernel would kill this process; raise the limit, "
                          "or restart the server in place of a reload")));
}

TEST(ResourcesTest, PrivateMemoryGrowsWithWhatIsHeld) {
  const uint64_t before = PrivateMemory();
  const std::vector<char> held(64 * kMiB, 'x');
  EXPECT_GT(PrivateMemory(), before + 60 * kMiB) << held.size();
}

}  // namespace
}  // namespace denoised
