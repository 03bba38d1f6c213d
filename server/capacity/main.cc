// denoised-capacity: how many requests so many replicas can take, and how long those wait. See --help.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/checkpoint/checkpoint.h"
#include "common/engine/make_engine.h"
#include "common/image/plot.h"
#include "common/model/precision.h"
#include "common/support/command_line.h"
#include "common/support/file.h"
#include "common/support/quantile.h"
#include "common/support/status_macros.h"
#include "server/capacity/load_simulation.h"

namespace denoised {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;

constexpr char kJson[] = ".json";
constexpr uint64_t kMaxTableBytes = 1 << 20;

struct Flags {
  std::string checkpoint;
  std::string device = "auto";
  std::string precision = "auto";
  int threads = 0;
  std::string step_times;
  std::vector<double> shares = {0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95};
  std::vector<double> rates;
  std::vector<int> replicas = {1, 100};
  SimulatedServer server;
  SimulatedLoad load = {.seconds = 600, .warmup_seconds = 60};
  std::string out;
};

// One load on one number of replicas, with either kind of batching.
struct Row {
  int replicas = 1;
  double requests_per_second = 0;
  double share = 0;  // of what the replicas can do at most
  SimulationResult steps = {}, requests = {};
};

void AddOptions(CLI::App& app, Flags& flags) {
  app.option_defaults()->always_capture_default();
  app.add_option("--checkpoint", flags.checkpoint,
                 "Checkpoint whose step times to measure here; none: models/mnist.pt of this installation");
  app.add_option("--device", flags.device, "Where to measure: auto, cpu, cuda or cuda:N");
  app.add_option("--precision", flags.precision, "As the server's flag")->check(CLI::IsMember(PrecisionNames()));
  app.add_option("--threads", flags.threads, "Worker threads on the CPU; 0: one per core");
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
  app.add_option("--steps", flags.load.steps,
                 "Denoising steps of each image; several: of each one of these, equally often")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(1, 1000));
  app.add_flag("--guided", flags.load.guided, "With guidance: two network rows an image");
  app.add_option("--rates", flags.rates, "Requests a second on all replicas together; none: by --shares")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(1e-6, 1e6));
  app.add_option("--shares", flags.shares, "Shares of what the replicas can do at most")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(0.001, 2.0));
  app.add_option("--replicas", flags.replicas, "Numbers of replicas, which get requests in turn")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(1, 100'000));
  app.add_option("--seconds", flags.load.seconds, "Simulated seconds that count")->check(CLI::Range(1.0, 1e7));
  app.add_option("--warmup_seconds", flags.load.warmup_seconds, "Simulated seconds before those")
      ->check(CLI::Range(0.0, 1e7));
  app.add_option("--seed", flags.load.seed, "Of the moments at which requests come");
  app.add_option("--out", flags.out, "JSON file for the figures; a plot goes beside it, as .png");
}

// Seconds of a step of 1, 2, ... rows, as in a chain, where a step of so many rows follows others of as many: the
// median of several, taken in turns so that a slow moment hits all alike. A team of threads needs some steps before
// each has a core to itself.
absl::StatusOr<std::vector<double>> MeasureStepTimes(const Flags& flags) {
  constexpr int kRepeats = 11, kStepsInARow = 16;  // of which the last is timed
  std::string path = flags.checkpoint;
  if (path.empty()) {
    DENOISED_ASSIGN_OR_RETURN(path, FindShipped("mnist.pt"));
  }
  DENOISED_ASSIGN_OR_RETURN(const Checkpoint checkpoint, LoadCheckpoint(path));
  const int max_rows = flags.server.max_batch_rows;
  DENOISED_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine,
                            MakeEngine(checkpoint, {.device = flags.device,
                                                    .num_slots = max_rows,
                                                    .max_rows = max_rows,
                                                    .num_threads = flags.threads,
                                                    .precision = ParsePrecision(flags.precision)}));
  DENOISED_ASSIGN_OR_RETURN(const NoiseSchedule schedule, NoiseSchedule::Create(checkpoint.metadata.noise_schedule));
  DENOISED_ASSIGN_OR_RETURN(const StepPlan plan, MakeStepPlan(schedule, {}));
  std::vector<std::vector<double>> seconds(max_rows);
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    for (int rows = 1; rows <= max_rows; ++rows) {
      std::vector<StepRow> batch;
      for (int slot = 0; slot < rows; ++slot) batch.push_back({.slot = slot, .plan = &plan, .step = repeat});
      for (int i = 1; i < kStepsInARow; ++i) DENOISED_RETURN_IF_ERROR(engine->Step(batch));
      const Clock::time_point start = Clock::now();
      DENOISED_RETURN_IF_ERROR(engine->Step(batch));
      seconds[rows - 1].push_back(std::chrono::duration<double>(Clock::now() - start).count());
    }
  }
  std::vector<double> medians;
  for (std::vector<double>& times : seconds) {
    std::nth_element(times.begin(), times.begin() + kRepeats / 2, times.end());
    medians.push_back(times[kRepeats / 2]);
  }
  return medians;
}

absl::StatusOr<std::vector<double>> ReadStepTimes(const std::string& path) {
  DENOISED_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxTableBytes));
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  std::vector<double> times;
  if (json.is_object() && json.contains("step_seconds") && json["step_seconds"].is_array()) {
    for (const Json& value : json["step_seconds"]) {
      times.push_back(value.is_number() ? value.get<double>() : 0);  // the simulation refuses 0
    }
  }
  if (times.size() >= 2) return times;
  return absl::InvalidArgumentError(absl::StrCat(path,
                                                 " has no step times: \"step_seconds\" must be a list of numbers, "
                                                 "as in a file that --out wrote"));
}

absl::StatusOr<std::vector<Row>> Simulate(const Flags& flags) {
  std::vector<Row> rows;
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
      Row row = {.replicas = replicas, .requests_per_second = rate, .share = rate / most};
      load.batching = Batching::kSteps;
      DENOISED_ASSIGN_OR_RETURN(row.steps, SimulateLoad(flags.server, load));
      load.batching = Batching::kRequests;
      DENOISED_ASSIGN_OR_RETURN(row.requests, SimulateLoad(flags.server, load));
      rows.push_back(std::move(row));
    }
  }
  return rows;
}

// "1000", or "20, 50 or 1000".
std::string StepsInWords(const SimulatedLoad& load) {
  std::string words = absl::StrCat(load.steps.front());
  for (size_t i = 1; i < load.steps.size(); ++i) {
    absl::StrAppend(&words, i + 1 < load.steps.size() ? ", " : " or ", load.steps[i]);
  }
  return words;
}

std::string FormatRows(const std::vector<Row>& rows) {
  std::string table = absl::StrFormat("%8s %11s %6s %8s %8s %8s %9s %8s   %s\n", "replicas", "requests/s", "load",
                                      "p50 s", "p95 s", "p99 s", "refused", "rows", "p95 s with request-level batches");
  for (const Row& row : rows) {
    absl::StrAppendFormat(&table, "%8d %11.3f %5.0f%% %8.3f %8.3f %8.3f %9d %8.1f   %.3f\n", row.replicas,
                          row.requests_per_second, 100 * row.share, QuantileOfSorted(row.steps.latencies, 0.5),
                          QuantileOfSorted(row.steps.latencies, 0.95), QuantileOfSorted(row.steps.latencies, 0.99),
                          row.steps.refused, row.steps.rows_per_step, QuantileOfSorted(row.requests.latencies, 0.95));
  }
  return table;
}

Json ToJson(const SimulationResult& result) {
  return {{"finished", result.finished},
          {"refused", result.refused},
          {"images_per_second", result.images_per_second},
          {"rows_per_step", result.rows_per_step},
          {"latency_seconds",
           {{"p50", QuantileOfSorted(result.latencies, 0.5)},
            {"p90", QuantileOfSorted(result.latencies, 0.9)},
            {"p95", QuantileOfSorted(result.latencies, 0.95)},
            {"p99", QuantileOfSorted(result.latencies, 0.99)}}}};
}

std::string ToJson(const Flags& flags, const std::vector<Row>& rows) {
  Json list = Json::array();
  for (const Row& row : rows) {
    list.push_back({{"replicas", row.replicas},
                    {"requests_per_second", row.requests_per_second},
                    {"share_of_capacity", row.share},
                    {"step_level", ToJson(row.steps)},
                    {"request_level", ToJson(row.requests)}});
  }
  return Json{{"format_version", 1},
              {"step_seconds", flags.server.step_seconds},
              {"max_batch_rows", flags.server.max_batch_rows},
              {"max_queued_images", flags.server.max_queued_images},
              {"seconds_beside_steps", flags.server.seconds_beside_steps},
              {"seconds", flags.load.seconds},
              {"warmup_seconds", flags.load.warmup_seconds},
              {"seed", flags.load.seed},
              {"steps", flags.load.steps},
              {"guided", flags.load.guided},
              {"loads", list}}
             .dump(2) +
         "\n";
}

absl::StatusOr<std::string> Plot(const Flags& flags, const std::vector<Row>& rows) {
  std::vector<PlotLine> lines;
  const auto add = [&](const std::string& name, int replicas, const auto& latency, bool dashed) {
    PlotLine line = {.name = name, .points = !dashed, .dashed = dashed};
    for (const Row& row : rows) {
      if (row.replicas != replicas) continue;
      line.x.push_back(100 * row.share);
      line.y.push_back(latency(row));
    }
    lines.push_back(std::move(line));
  };
  for (const int replicas : flags.replicas) {
    add(
        absl::StrFormat("95 %%, %d replica%s", replicas, replicas == 1 ? "" : "s"), replicas,
        [](const Row& row) { return QuantileOfSorted(row.steps.latencies, 0.95); }, false);
    add(
        absl::StrFormat("50 %%, %d replica%s", replicas, replicas == 1 ? "" : "s"), replicas,
        [](const Row& row) { return QuantileOfSorted(row.steps.latencies, 0.5); }, false);
  }
  add(
      "95 %, request-level", flags.replicas[0],
      [](const Row& row) { return QuantileOfSorted(row.requests.latencies, 0.95); }, true);
  return DrawPlot(lines, {.title = absl::StrFormat("Simulated latency of %s-step digits", StepsInWords(flags.load)),
                          .x_label = "load, % of what the replicas can do",
                          .y_label = "seconds"});
}

absl::Status Run(Flags flags) {
  if (!flags.out.empty() && !absl::EndsWith(flags.out, kJson)) {
    return absl::InvalidArgumentError(absl::StrCat("--out must end in .json, got ", flags.out));
  }
  if (flags.step_times.empty()) {
    DENOISED_ASSIGN_OR_RETURN(flags.server.step_seconds, MeasureStepTimes(flags));
  } else {
    DENOISED_ASSIGN_OR_RETURN(flags.server.step_seconds, ReadStepTimes(flags.step_times));
    flags.server.max_batch_rows = static_cast<int>(flags.server.step_seconds.size());
  }
  DENOISED_ASSIGN_OR_RETURN(const std::vector<Row> rows, Simulate(flags));
  absl::PrintF(
      "A step of 1 row takes %.2f ms, of %d rows %.2f ms; one replica draws %.3g digits of %s steps a second.\n\n%s",
      1e3 * flags.server.step_seconds.front(), flags.server.max_batch_rows, 1e3 * flags.server.step_seconds.back(),
      MostRequestsPerSecond(flags.server, flags.load), StepsInWords(flags.load), FormatRows(rows));
  if (flags.out.empty()) return absl::OkStatus();
  const std::string plot = flags.out.substr(0, flags.out.size() - (sizeof kJson - 1)) + ".png";
  DENOISED_RETURN_IF_ERROR(WriteFileAtomically(flags.out, ToJson(flags, rows)));
  DENOISED_ASSIGN_OR_RETURN(const std::string png, Plot(flags, rows));
  DENOISED_RETURN_IF_ERROR(WriteFileAtomically(plot, png));
  absl::PrintF("\nFigures:  %s\nPlot:     %s\n", flags.out, plot);
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
      "  denoised-capacity --out capacity.json                            one replica and a hundred like this machine\n"
      "  denoised-capacity --rates 0.5,1,1.5 --replicas 1,2,4             loads in requests a second\n"
      "  denoised-capacity --step_times capacity.json --steps 20          other requests, with times measured before");
  AddOptions(app, flags);
  if (const std::optional<int> code = ParseCommandLine(app, argc, argv)) return *code;
  const absl::Status status = Run(flags);
  if (status.ok()) return EXIT_SUCCESS;
  absl::FPrintF(stderr, "denoised-capacity: error: %s\n", status.message());
  return EXIT_FAILURE;
}

}  // namespace
}  // namespace denoised

int main(int argc, char** argv) { return denoised::Main(argc, argv); }
