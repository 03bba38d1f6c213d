#include "common/support/available_cores.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/support/counted.h"

namespace denoised {
namespace {

std::string Cores(int count) { return Counted(count, "core"); }

}  // namespace

int CoresByAffinity() {
  cpu_set_t set;
  const int cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set)
                                                                : static_cast<int>(std::thread::hardware_concurrency());
  return std::max(cores, 1);
}

CoreCount CountCores(int by_affinity, const CgroupLimits& limits) {
  CoreCount count{.cores = by_affinity, .by_affinity = by_affinity};
  if (!limits.cpus.has_value() || std::ceil(limits.cpus->value) >= by_affinity) return count;
  count.cores = std::max(static_cast<int>(std::ceil(limits.cpus->value)), 1);
  count.quota = limits.cpus;
  return count;
}

int AvailableCores() { return CountCores(CoresByAffinity(), ReadCgroupLimits()).cores; }

std::string DescribeCores(const CoreCount& count) {
  if (!count.quota.has_value()) return Cores(count.cores);
  return absl::StrFormat("%s, by the CPU quota of %.3g in %s (%d by affinity)", Cores(count.cores), count.quota->value,
                         count.quota->file, count.by_affinity);
}

}  // namespace denoised
