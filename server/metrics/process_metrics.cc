#include "server/metrics/process_metrics.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <system_error>

namespace denoised {
namespace {

prometheus::MetricFamily Family(const char* name, const char* help, prometheus::MetricType type, double value) {
  prometheus::ClientMetric metric;
  if (type == prometheus::MetricType::Counter) {
    metric.counter.value = value;
  } else {
    metric.gauge.value = value;
  }
  return {name, help, type, {metric}};
}

// /proc/self/stat, opened once: a process without a free descriptor is the one whose figures matter.
class StatFile {
 public:
  std::string Read() const {
    char text[2048];  // more than all of its numbers take
    const ssize_t size = descriptor_ < 0 ? 0 : pread(descriptor_, text, sizeof text, 0);
    return {text, static_cast<size_t>(std::max<ssize_t>(size, 0))};
  }

 private:
  const int descriptor_ = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
};

// Fields of /proc/self/stat after the program's name, which may hold spaces; [0] is field 3, the state: proc(5).
std::vector<std::string> StatFields() {
  static const StatFile file;
  const std::string text = file.Read();
  const size_t end_of_name = text.rfind(')');
  if (end_of_name == std::string::npos) return {};
  std::istringstream rest(text.substr(end_of_name + 1));
  return {std::istream_iterator<std::string>(rest), {}};
}

double ReadBootTime() {
  std::ifstream file("/proc/stat");
  std::string key;
  double value = 0;
  while (file >> key) {
    if (key == "btime" && file >> value) return value;
  }
  return 0;
}

double BootTime() {
  static const double time = ReadBootTime();
  return time;
}

// Counting takes a descriptor itself: where none is left, as many are open as may be.
rlim_t OpenDescriptors(rlim_t limit) {
  std::error_code error;
  rlim_t count = 0;
  for (std::filesystem::directory_iterator it("/proc/self/fd", error), end; !error && it != end; it.increment(error)) {
    ++count;
  }
  return error == std::errc::too_many_files_open ? limit : count;
}

}  // namespace

std::vector<prometheus::MetricFamily> CollectProcessMetrics() {
  using prometheus::MetricType;
  std::vector<prometheus::MetricFamily> families;
  const double ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  const std::vector<std::string> stat = StatFields();
  if (stat.size() > 21) {
    const auto field = [&stat](int number) { return std::stod(stat[static_cast<size_t>(number) - 3]); };
    families.push_back(Family("process_cpu_seconds_total", "User and system CPU time spent, in seconds",
                              MetricType::Counter, (field(14) + field(15)) / ticks));
    families.push_back(Family("process_start_time_seconds", "Start time since the Unix epoch, in seconds",
                              MetricType::Gauge, BootTime() + field(22) / ticks));
    families.push_back(
        Family("process_virtual_memory_bytes", "Virtual memory size, in bytes", MetricType::Gauge, field(23)));
    families.push_back(Family("process_resident_memory_bytes", "Resident memory size, in bytes", MetricType::Gauge,
                              field(24) * static_cast<double>(sysconf(_SC_PAGESIZE))));
  }
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    families.push_back(Family("process_open_fds", "Open file descriptors", MetricType::Gauge,
                              static_cast<double>(OpenDescriptors(limit.rlim_cur))));
    families.push_back(Family("process_max_fds", "Largest number of open file descriptors", MetricType::Gauge,
                              static_cast<double>(limit.rlim_cur)));
  }
  return families;
}

}  // namespace denoised
