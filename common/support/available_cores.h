// File: available_cores.h
//
// How many threads of computing are worth having, and why.
//
//   const int threads = AvailableCores();
//   LOG(DescribeCores(CountCores(CoresByAffinity(), ReadCgroupLimits())));   // "2 cores, by a CPU quota of 1.5 in ..."
//
// Thread-safe.
#ifndef DENOISED_COMMON_SUPPORT_AVAILABLE_CORES_H_
#define DENOISED_COMMON_SUPPORT_AVAILABLE_CORES_H_

#include <optional>
#include <string>

#include "common/support/cgroup_limits.h"

namespace denoised {

// Cores that this process may run on: its CPU affinity, lowered by a container's CPU quota. At least 1.
int AvailableCores();

struct CoreCount {
  int cores = 1;
  int by_affinity = 1;
  std::optional<CgroupLimit> quota = {};  // if it is what decides
};

// A part of a core counts as one: of two threads that share 1.5 cores, one waits a quarter of the time, while one
// thread alone would leave a third of the time unused.
CoreCount CountCores(int by_affinity, const CgroupLimits& limits);

// Cores that the scheduler of the operating system lets this process use: `taskset`, a cpuset.
int CoresByAffinity();

// "4 cores", "2 cores, by the CPU quota of 1.5 in /sys/fs/cgroup/cpu.max (8 by affinity)".
std::string DescribeCores(const CoreCount& count);

}  // namespace denoised

#endif  // DENOISED_COMMON_SUPPORT_AVAILABLE_CORES_H_
