// denoised-capacity: how many requests so many replicas can take, and how long those wait. See --help.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/command_line/command_line.h"
#include "common/command_line/standard_output.h"
#include "common/model/precision.h"
#include "common/plot/figure_files.h"
#include "common/support/status_macros.h"
#include "server/capacity/capacity_report.h"
#include "server/capacity/load_simulation.h"
#include "server/capacity/step_time_statistics.h"
#include "server/capacity/step_times.h"

namespace denoised {
namespace {

struct Flags {
  StepTimeOptions measurement;
  std::string step_times;
  std::vector<double> shares = {0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95};
  std::vector<double> rates;
  std::vector<int> replicas = {1, 100};
  SimulatedServer server;
  SimulatedLoad load = {.seconds = 600, .warmup_seconds = 60};
  std::string out;
};

// A flag that takes several values, with commas between them.
template <typename Value>
CLI::Option* AddList(CLI::App& app, const std::string& name, std::vector<Value>& values, const std::string& help,
                     const CLI::Range& range) {
  return app.add_option(name, values, help)
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(range)
      ->default_str(absl::StrJoin(values, " "));
}

void AddOptions(CLI::App& app, Flags& flags) {
  app.option_defaults()->always_capture_default();
  app.add_option("--checkpoint", flags.measurement.checkpoint,
                 "Checkpoint whose step times to measure here; none: models/mnist.pt of this installation");
  app.add_option("--device", flags.measurement.device, "Where to measure: auto, cpu, cuda or cuda:N");
  app.add_option("--precision", flags.measurement.precision, "As the server's flag")
      ->check(CLI::IsMember(PrecisionNames()));
  app.add_option("--threads", flags.measurement.num_threads, "Worker threads on the CPU; 0: one per core")
      ->check(CLI::Range(0, kMaxThreads));
  CLI::Option* max_batch_rows = app.add_option("--max_batch_rows", flags.server.max_batch_rows, "As the server's flag")
                                    ->check(CLI::Range(2, 4096));
  app.add_option("--step_times", flags.step_times, "Measure nothing: a JSON file of this program, with the times in it")
      ->excludes("--checkpoint")
      ->excludes("--device")
      ->excludes("--precision")
      ->excludes("--threads")
      ->excludes(max_batch_rows);
  app.add_option("--max_queued_images", flags.server.max_queued_images, "As the server's flag")
      ->check(CLI::Range(0, 1'000'000));
  app.add_option("--seconds_beside_steps", flags.server.seconds_beside_steps, "For PNG, gRPC and network, each image")
      ->check(CLI::Range(0.0, 60.0));
  AddList(app, "--steps", flags.load.steps,
          "Denoising steps of each image; several: of each one of these, equally often", CLI::Range(1, 1000));
  app.add_flag("--guided", flags.load.guided, "With guidance: two network rows an image");
  AddList(app, "--rates", flags.rates, "Requests a second on all replicas together; none: by --shares",
          CLI::Range(1e-6, 1e6));
  AddList(app, "--shares", flags.shares, "Shares of what the replicas can do at most", CLI::Range(0.001, 2.0))
      ->excludes("--rates");
  AddList(app, "--replicas", flags.replicas, "Numbers of replicas, which get requests in turn", CLI::Range(1, 100'000));
  app.add_option("--seconds", flags.load.seconds, "Simulated seconds that count")->check(CLI::Range(1.0, 1e7));
  app.add_option("--warmup_seconds", flags.load.warmup_seconds, "Simulated seconds before those")
      ->check(CLI::Range(0.0, 1e7));
  app.add_option("--seed", flags.load.seed, "Of the moments at which requests come");
  app.add_option("--out", flags.out, "JSON file for the figures; a plot goes beside it, as .png");
}

absl::StatusOr<std::vector<CapacityRow>> Simulate(const Flags& flags) {
  std::vector<CapacityRow> rows;
  for (const int replicas : flags.replicas) {
    SimulatedLoad load = flags.load;
    load.replicas = replicas;
    const double most = replicas * MostRequestsPerSecond(flags.server, load);
    std::vector<double> rates = flags.rates;
    if (rates.empty()) {
      for (const double share : flags.shares) rates.push_back(share * most);
    }
    std::sort(rates.begin(), rates.end());  // for the plot
    for (const double rate : rates) {
      load.requests_per_second = rate;
      CapacityRow row = {.replicas = replicas, .requests_per_second = rate, .share = rate / most};
      load.batching = Batching::kSteps;
      DENOISED_ASSIGN_OR_RETURN(row.steps, SimulateLoad(flags.server, load));
      load.batching = Batching::kRequests;
      DENOISED_ASSIGN_OR_RETURN(row.requests, SimulateLoad(flags.server, load));
      rows.push_back(std::move(row));
    }
  }
  return rows;
}

absl::Status Run(Flags flags) {
  DENOISED_ASSIGN_OR_RETURN(const FigureFiles files, FigureFiles::Create(flags.out, "--out"));
  if (flags.step_times.empty()) {
    flags.measurement.max_rows = flags.server.max_batch_rows;
    DENOISED_ASSIGN_OR_RETURN(const StepTimes times, MeasureStepTimes(flags.measurement));
    flags.server.step_seconds = times.seconds;
    if (const std::optional<std::string> warning = WarnOfScatter(times.scatter)) {
      absl::FPrintF(stderr, "denoised-capacity: warning: %s\n", *warning);
    }
  } else {
    DENOISED_ASSIGN_OR_RETURN(flags.server.step_seconds, ReadStepTimes(flags.step_times));
    flags.server.max_batch_rows = static_cast<int>(flags.server.step_seconds.size());
  }
  CapacityReport report = {.server = flags.server, .load = flags.load, .replicas = flags.replicas, .rows = {}};
  DENOISED_ASSIGN_OR_RETURN(report.rows, Simulate(flags));
  std::fputs(FormatReport(report).c_str(), stdout);
  if (!files.wanted()) return absl::OkStatus();
  DENOISED_RETURN_IF_ERROR(files.Write(ReportToJson(report), PlotReport(report)));
  absl::PrintF("\n%s", files.ToString());
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  Flags flags;
  CLI::App app(
      "Measures the step times of this machine and simulates servers under load with them: how many requests so many "
      "replicas can take, and how long those wait.",
      "denoised-capacity");
  app.footer(
      "Examples:\n"
      "  denoised-capacity --out capacity.json                    a hundred like this\n"
      "  denoised-capacity --rates 0.5,1,1.5 --replicas 1,2,4     requests a second\n"
      "  denoised-capacity --step_times capacity.json --steps 20  times measured before\n"
      "Exit status: 0 done, 1 an error, told on stderr, 2 a wrong flag.");
  AddOptions(app, flags);
  if (const std::optional<int> code = ParseCommandLine(app, argc, argv)) return *code;
  const absl::Status status = Run(flags);
  if (status.ok()) return EXIT_SUCCESS;
  return ReportError("denoised-capacity", status);
}

}  // namespace
}  // namespace denoised

int main(int argc, char** argv) { return denoised::FinishOutput("denoised-capacity", denoised::Main(argc, argv)); }
