// File: resources.h
//
// What this process may use of the machine, in words for the log: cores for the network's threads, memory for a reload.
//
//   spdlog::info("{}", DescribeThreads(options.model.threads, CountCores(CoresByAffinity(), limits)));
//
// Pure but for PrivateMemory, and thread-safe.
#ifndef DENOISED_SERVER_RESOURCES_H_
#define DENOISED_SERVER_RESOURCES_H_

#include <cstdint>
#include <optional>
#include <string>

#include "common/support/available_cores.h"
#include "common/support/cgroup_limits.h"

namespace denoised {

// How many threads the network gets, and why. `threads`: the flag's; 0: one for each core.
std::string DescribeThreads(int threads, const CoreCount& count);

// What is wrong with that, if something is: more threads than cores only wait for each other.
std::optional<std::string> WarnOfThreads(int threads, const CoreCount& count);

// Bytes that this process alone holds in memory, and that the kernel cannot drop: files that are mapped do not count.
// 0 where /proc does not tell.
uint64_t PrivateMemory();

// What to do about a memory limit under which a second model beside the first one does not fit. `in_use`: bytes, with
// one model loaded.
std::optional<std::string> WarnOfMemory(uint64_t in_use, const std::optional<CgroupLimit>& limit);

}  // namespace denoised

#endif  // DENOISED_SERVER_RESOURCES_H_
