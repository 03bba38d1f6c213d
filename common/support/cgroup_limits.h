// File: cgroup_limits.h
//
// What the control groups around this process allow it: a container's CPU quota and memory limit.
//
//   const CgroupLimits limits = ReadCgroupLimits();
//   if (limits.cpus.has_value() && limits.cpus->value < 2) ...
//
// Both versions of cgroups, at any level: a limit of any group from this process's own up to the root holds for it, so
// the least wins. Groups outside a container's own cgroup namespace cannot be seen, and limits there are not found.
//
// Thread-safe.
#ifndef DENOISED_COMMON_SUPPORT_CGROUP_LIMITS_H_
#define DENOISED_COMMON_SUPPORT_CGROUP_LIMITS_H_

#include <optional>
#include <string>

namespace denoised {

struct CgroupLimit {
  double value = 0;
  std::string file;  // that says so
};

struct CgroupLimits {
  std::optional<CgroupLimit> cpus = {};          // of CPU time, in cores; 1.5: one and a half
  std::optional<CgroupLimit> memory_bytes = {};  // beyond which the kernel kills
};

// Files are looked up below `root`; empty: where the system has them. What cannot be read limits nothing.
CgroupLimits ReadCgroupLimits(const std::string& root = "");

}  // namespace denoised

#endif  // DENOISED_COMMON_SUPPORT_CGROUP_LIMITS_H_
