// On made-up file trees: as the kernel shows them to a process on a host and in containers of several kinds.
#include "common/support/cgroup_limits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

constexpr char kVersion2Mount[] = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
constexpr char kGroupFolder[] = "sys/fs/cgroup/kubepods.slice/pod7/denoised";

class CgroupLimitsTest : public testing::Test {
 protected:
  void Write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(tree_.File(path)).parent_path());
    tree_.Write(path, text);
  }
  // A process in a group of its own, of version 2.
  void WriteVersion2() {
    Write("proc/self/cgroup", "0::/kubepods.slice/pod7/denoised\n");
    Write("proc/self/mountinfo", kVersion2Mount);
  }
  CgroupLimits Limits() const { return ReadCgroupLimits(tree_.path()); }

  TempFolder tree_;
};

TEST_F(CgroupLimitsTest, WithoutAnyFileNothingIsLimited) {
  EXPECT_FALSE(Limits().cpus.has_value());
  EXPECT_FALSE(Limits().memory_bytes.has_value());
}

TEST_F(CgroupLimitsTest, Version2QuotaOfTheOwnGroup) {
  WriteVersion2();
  Write(std::string(kGroupFolder) + "/cpu.max", "150000 100000\n");
  ASSERT_TRUE(Limits().cpus.has_value());
  EXPECT_DOUBLE_EQ(Limits().cpus->value, 1.5);
  EXPECT_EQ(Limits().cpus->file, "/sys/fs/cgroup/kubepods.slice/pod7/denoised/cpu.max");
}

// Reported of other servers: a quota of the pod, above the container's own group, was not seen, and the threads were
// throttled without a word.
TEST_F(CgroupLimitsTest, LeastLimitOfAnyLevelWins) {
  WriteVersion2();
  Write(std::string(kGroupFolder) + "/cpu.max", "400000 100000\n");
  Write("sys/fs/cgroup/kubepods.slice/pod7/cpu.max", "100000 50000\n");
  Write("sys/fs/cgroup/kubepods.slice/cpu.max", "max 100000\n");
  Write("sys/fs/cgroup/kubepods.slice/memory.max", "268435456\n");
  Write(std::string(kGroupFolder) + "/memory.max", "max\n");
  EXPECT_DOUBLE_EQ(Limits().cpus->value, 2.0);
  EXPECT_EQ(Limits().cpus->file, "/sys/fs/cgroup/kubepods.slice/pod7/cpu.max");
  EXPECT_DOUBLE_EQ(Limits().memory_bytes->value, 268435456.0);
  EXPECT_EQ(Limits().memory_bytes->file, "/sys/fs/cgroup/kubepods.slice/memory.max");
}

// Docker's way with version 2: the container's group is the root of all that it sees.
TEST_F(CgroupLimitsTest, PrivateNamespaceShowsItsGroupAsTheRoot) {
  Write("proc/self/cgroup", "0::/\n");
  Write("proc/self/mountinfo", "980 975 0:26 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw,nsdelegate\n");
  Write("sys/fs/cgroup/cpu.max", "50000 100000\n");
  EXPECT_DOUBLE_EQ(Limits().cpus->value, 0.5);
}

TEST_F(CgroupLimitsTest, GroupOutsideOfTheNamespaceLeavesTheMountItself) {
  Write("proc/self/cgroup", "0::/../../other.service\n");
  Write("proc/self/mountinfo", kVersion2Mount);
  Write("sys/fs/cgroup/cpu.max", "300000 100000\n");
  EXPECT_DOUBLE_EQ(Limits().cpus->value, 3.0);
}

// `docker run --cpus 1` by version 1 without a namespace: the group's path is the host's, while the mount shows only
// its end.
TEST_F(CgroupLimitsTest, Version1QuotaInAContainer) {
  Write("proc/self/cgroup", "5:memory:/docker/1f2e\n4:cpu,cpuacct:/docker/1f2e\n1:name=systemd:/docker/1f2e\n");
  Write("proc/self/mountinfo",
        "640 630 0:30 /docker/1f2e /sys/fs/cgroup/cpu,cpuacct ro,nosuid master:9 - cgroup cgroup rw,cpu,cpuacct\n"
        "641 630 0:31 /docker/1f2e /sys/fs/cgroup/memory ro,nosuid master:10 - cgroup cgroup rw,memory\n");
  Write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "100000\n");
  Write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  Write("sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n");
  EXPECT_DOUBLE_EQ(Limits().cpus->value, 1.0);
  EXPECT_EQ(Limits().cpus->file, "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us");
  EXPECT_DOUBLE_EQ(Limits().memory_bytes->value, 536870912.0);
}

TEST_F(CgroupLimitsTest, Version1QuotaOfAGroupAbove) {
  Write("proc/self/cgroup", "4:cpu,cpuacct:/batch/digits\n");
  Write("proc/self/mountinfo", "33 31 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n");
  Write("sys/fs/cgroup/cpu/batch/digits/cpu.cfs_quota_us", "-1\n");
  Write("sys/fs/cgroup/cpu/batch/digits/cpu.cfs_period_us", "100000\n");
  Write("sys/fs/cgroup/cpu/batch/cpu.cfs_quota_us", "250000\n");
  Write("sys/fs/cgroup/cpu/batch/cpu.cfs_period_us", "100000\n");
  EXPECT_DOUBLE_EQ(Limits().cpus->value, 2.5);
}

TEST_F(CgroupLimitsTest, BothVersionsAtOnce) {
  Write("proc/self/cgroup", "4:cpu:/a\n0::/b\n");
  Write("proc/self/mountinfo",
        "33 31 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
        "42 31 0:40 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
  Write("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "200000\n");
  Write("sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n");
  Write("sys/fs/cgroup/unified/b/memory.max", "1048576\n");
  EXPECT_DOUBLE_EQ(Limits().cpus->value, 2.0);
  EXPECT_DOUBLE_EQ(Limits().memory_bytes->value, 1048576.0);
}

TEST_F(CgroupLimitsTest, GroupWhoseNameBeginsLikeTheMountsIsNotInIt) {
  Write("proc/self/cgroup", "0::/pod77\n");
  Write("proc/self/mountinfo", "30 23 0:26 /pod7 /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
  Write("sys/fs/cgroup/7/cpu.max", "100000 100000\n");
  EXPECT_FALSE(Limits().cpus.has_value());
}

TEST_F(CgroupLimitsTest, SpacesInFolderNamesAreRead) {
  Write("proc/self/cgroup", "0::/\n");
  Write("proc/self/mountinfo", "30 23 0:26 / /sys/my\\040cgroups rw - cgroup2 cgroup2 rw\n");
  Write("sys/my cgroups/cpu.max", "100000 100000\n");
  EXPECT_DOUBLE_EQ(Limits().cpus->value, 1.0);
}

TEST_F(CgroupLimitsTest, Version1WritesNoMemoryLimitAsAHugeOne) {
  Write("proc/self/cgroup", "5:memory:/\n");
  Write("proc/self/mountinfo", "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
  Write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_FALSE(Limits().memory_bytes.has_value());
}

TEST_F(CgroupLimitsTest, NonsenseLimitsNothing) {
  WriteVersion2();
  for (const char* nonsense : {"", "max", "100000", "fast 100000", "100000 0", "-5 100000", "100000 100000 1"}) {
    Write(std::string(kGroupFolder) + "/cpu.max", nonsense);
    EXPECT_FALSE(Limits().cpus.has_value()) << nonsense;
  }
  Write("proc/self/mountinfo", "30 23 - cgroup2\nnonsense\n\n");
  Write("proc/self/cgroup", "0\n::\n");
  EXPECT_FALSE(Limits().cpus.has_value());
}

}  // namespace
}  // namespace denoised
