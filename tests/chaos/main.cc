// Requests through bad connections to a real server: scripts/chaos.sh.
//
//   chaos [REQUESTS [SEED]]
//
// Starts `denoised`, sends a tenth as many requests over bad connections to warm everything up, then REQUESTS (10,000),
// and compares: what each call ended with, each image with its bytes on a good connection, and what the server has
// taken of the system with what it had taken before. The exit status is 1 if anything is wrong; the printed seed
// repeats a run's requests and the faults of its connections.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/support/clock.h"
#include "tests/chaos/chaos_load.h"
#include "tests/chaos/chaos_proxy.h"
#include "tests/end_to_end/served.h"
#include "tests/testing/process_figures.h"
#include "tests/testing/server_metrics.h"

namespace denoised {
namespace {

// What the allocator may keep of memory that was freed.
constexpr int64_t kMemoryMarginKib = 16 << 10;

int PortOf(const std::string& address) { return std::atoi(address.substr(address.rfind(':') + 1).c_str()); }

void Print(const std::string& text) {
  std::fputs(text.c_str(), stdout);
  std::fflush(stdout);
}

class Chaos {
 public:
  explicit Chaos(const ChaosOptions& options)
      : options_(options),
        served_({"--client_header=x-client-id", "--probe_interval=0", "--max_queued_images=64"}),
        metrics_(PortOf(served_.server().AwaitLine("metrics on http://"))),
        load_(served_.address()) {}

  // Whether all was right.
  bool Run() {
    ChaosOptions warm_up = options_;
    warm_up.requests = std::max<int64_t>(options_.requests / 10, 100);
    ++warm_up.seed;
    Send("warm-up", warm_up);
    const ProcessFigures before = Figures();
    Send("chaos", options_);
    Compare(before, Figures());
    Note(load_.DrawAgain(served_.address()));
    served_.server().Signal(SIGTERM);
    if (const int status = served_.server().Wait(); status != 0) Note({absl::StrCat("the server ended with ", status)});
    Print(right_ ? "Everything was as it should be.\n" : "Something was WRONG.\n");
    return right_;
  }

 private:
  void Send(const char* name, const ChaosOptions& options) {
    const auto start = std::chrono::steady_clock::now();
    ChaosProxy proxy(PortOf(served_.address()), options.seed);
    const ChaosReport report = load_.Run(absl::StrCat("127.0.0.1:", proxy.port()), options);
    Print(absl::StrFormat("%s, seed %d: %d requests in %.1f s\n%s  %s\n", name, options.seed, options.requests,
                          SecondsSince(start), report.ToString(), proxy.stats().ToString()));
    right_ = right_ && report.faults.empty();
    Note(LeftBehind(metrics_));
  }

  void Note(const std::vector<std::string>& faults) {
    for (const std::string& fault : faults) Print(absl::StrCat("  WRONG: ", fault, "\n"));
    right_ = right_ && faults.empty();
  }

  ProcessFigures Figures() {
    const ProcessFigures figures = FiguresOf(served_.server().pid());
    Print(absl::StrFormat("  the server: %d KiB resident, %d descriptors, %d threads\n", figures.resident_kib,
                          figures.descriptors, figures.threads));
    return figures;
  }

  void Compare(const ProcessFigures& before, const ProcessFigures& after) {
    if (after.descriptors > before.descriptors) Note({"descriptors were lost"});
    if (after.resident_kib > before.resident_kib + kMemoryMarginKib) {
      Note({absl::StrFormat("memory grew by more than %d KiB", kMemoryMarginKib)});
    }
  }

  const ChaosOptions options_;
  Served served_;
  const ServerMetrics metrics_;
  const ChaosLoad load_;
  bool right_ = true;
};

int Run(int argc, char** argv) {
  ChaosOptions options{.requests = 10'000, .seed = std::random_device()(), .clients = 64, .channels = 24};
  const bool understood = argc <= 3 && (argc < 2 || absl::SimpleAtoi(argv[1], &options.requests)) &&
                          (argc < 3 || absl::SimpleAtoi(argv[2], &options.seed)) && options.requests > 0;
  if (!understood) {
    std::fputs("usage: chaos [REQUESTS [SEED]]    whole numbers, of requests at least 1\n", stderr);
    return 2;
  }
  try {
    return Chaos(options).Run() ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "chaos: %s\n", error.what());
    return 1;
  }
}

}  // namespace
}  // namespace denoised

int main(int argc, char** argv) { return denoised::Run(argc, argv); }
