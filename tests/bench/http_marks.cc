// How long the metrics port lets a well-behaved client wait while strangers attack it.
//
//   http_marks [SECONDS [PORT]]
//
// For each attack of tests/testing/http_attacks.h, SECONDS long (3), a client asks for /metrics and /healthz one after
// the other on connections of its own. PORT: of a running `denoised`; without it, of a server in this process, whose
// memory is told too. The attacker shares the machine's cores with the server.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "common/support/quantile.h"
#include "server/metrics/metrics.h"
#include "server/metrics/metrics_endpoint.h"
#include "tests/testing/http_attacks.h"
#include "tests/testing/process_figures.h"

namespace denoised {
namespace {

using Clock = std::chrono::steady_clock;

double ResidentMebibytes() { return static_cast<double>(FiguresOf(getpid()).resident_kib) / 1024; }

struct Answers {
  std::vector<double> milliseconds;
  int failed = 0;

  void Ask(int port, const char* path) {
    const Clock::time_point begin = Clock::now();
    const bool ok = HttpGet(port, path).status == 200;
    milliseconds.push_back(std::chrono::duration<double, std::milli>(Clock::now() - begin).count());
    failed += ok ? 0 : 1;
  }

  void Print() {
    std::sort(milliseconds.begin(), milliseconds.end());
    std::printf("  %8.2f %8.2f %8.2f %6d", QuantileOfSorted(milliseconds, 0.5), QuantileOfSorted(milliseconds, 0.99),
                milliseconds.back(), failed);
  }
};

void Measure(const char* name, int port, double seconds) {
  Answers metrics, health;
  double memory = 0;
  const Clock::time_point end = Clock::now() + std::chrono::nanoseconds(static_cast<int64_t>(seconds * 1e9));
  while (Clock::now() < end) {
    metrics.Ask(port, "/metrics");
    health.Ask(port, "/healthz");
    memory = std::max(memory, ResidentMebibytes());
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  std::printf("%-30s", name);
  metrics.Print();
  health.Print();
  std::printf("  %8.1f\n", memory);
  std::fflush(stdout);
}

int Run(double seconds, int port) {
  http_attacks::RaiseDescriptorLimit();
  Metrics metrics;
  std::unique_ptr<MetricsEndpoint> endpoint;
  if (port == 0) {
    auto started = MetricsEndpoint::Start(
        "127.0.0.1", 0, [&] { return metrics.Scrape(); }, [] { return true; });
    if (!started.ok()) {
      std::fprintf(stderr, "%s\n", started.status().ToString().c_str());
      return 1;
    }
    endpoint = *std::move(started);
    port = endpoint->port();
  }
  std::printf("%-30s  %-33s  %-33s\n%-30s", "", "/metrics, ms", "/healthz, ms", "attack");
  for (int i = 0; i < 2; ++i) std::printf("  %8s %8s %8s %6s", "median", "p99", "longest", "failed");
  std::printf("  %8s\n", "MiB here");
  Measure("none", port, seconds);
  for (const HttpAttack& attack : HttpAttacks()) {
    const RunningAttack running(attack, port);
    Measure(attack.name.c_str(), port, seconds);
  }
  return 0;
}

}  // namespace
}  // namespace denoised

int main(int argc, char** argv) {
  return denoised::Run(argc > 1 ? std::atof(argv[1]) : 3, argc > 2 ? std::atoi(argv[2]) : 0);
}
