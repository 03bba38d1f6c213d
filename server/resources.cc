#include "server/resources.h"

#include <cmath>
#include <fstream>

#include "absl/strings/str_format.h"

namespace denoised {
namespace {

constexpr double kMiB = 1 << 20;

// A model that is loaded beside another takes about as much at its peak as the process with one model does: measured
// at 1.8 to 2.1 times.
constexpr double kReloadFactor = 2;

}  // namespace

std::string DescribeThreads(int threads, const CoreCount& count) {
  const std::string cores = DescribeCores(count);
  if (threads == 0) {
    return absl::StrFormat("the network's threads on a CPU: %d, as this process has %s", count.cores, cores);
  }
  return absl::StrFormat("the network's threads on a CPU: %d, by --threads; this process has %s", threads, cores);
}

std::optional<std::string> WarnOfThreads(int threads, const CoreCount& count) {
  if (threads <= count.cores) return std::nullopt;
  return absl::StrFormat(
      "--threads=%d is more than this process has cores (%s): threads will wait for each other, and steps take much "
      "longer; leave the flag out, or allow this process more cores",
      threads, DescribeCores(count));
}

uint64_t PrivateMemory() {
  std::ifstream status("/proc/self/status");
  std::string key;
  while (status >> key) {
    uint64_t kilobytes = 0;
    if (key == "RssAnon:" && status >> kilobytes) return kilobytes << 10;
  }
  return 0;
}

std::optional<std::string> WarnOfMemory(uint64_t in_use, const std::optional<CgroupLimit>& limit) {
  const double needed = kReloadFactor * static_cast<double>(in_use);
  if (!limit.has_value() || needed <= limit->value) return std::nullopt;
  return absl::StrFormat(
      "a reload of the checkpoint (SIGHUP) would not fit into memory: it needs about %.0f MiB, and %s allows %.0f; the "
      "kernel would kill this process; raise the limit, or restart the server in place of a reload",
      std::ceil(needed / kMiB), limit->file, limit->value / kMiB);
}

}  // namespace denoised
