#include "common/support/available_cores.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>
#include <thread>

#include "absl/strings/numbers.h"

namespace denoised {

int AvailableCores() {
  cpu_set_t set;
  int cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set)
                                                          : static_cast<int>(std::thread::hardware_concurrency());
  std::string quota;
  double period = 0;
  if (double limit = 0; std::ifstream("/sys/fs/cgroup/cpu.max") >> quota >> period && absl::SimpleAtod(quota, &limit)) {
    cores = std::min(cores, static_cast<int>(std::ceil(limit / period)));
  }
  return std::max(cores, 1);
}

}  // namespace denoised
