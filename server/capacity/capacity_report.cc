#include "server/capacity/capacity_report.h"

#include <cstdint>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/plot/plot.h"
#include "common/support/counted.h"
#include "common/support/file.h"
#include "common/support/quantile.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kMaxReportBytes = 1 << 20;

// "1 step", or "20, 50 or 1000 steps".
std::string StepsInWords(const SimulatedLoad& load) {
  std::string words;
  for (size_t i = 0; i + 1 < load.steps.size(); ++i) {
    absl::StrAppend(&words, load.steps[i], i + 2 < load.steps.size() ? ", " : " or ");
  }
  return words + Counted(load.steps.back(), "step");
}

std::string FormatRows(const std::vector<CapacityRow>& rows) {
  std::string table = absl::StrFormat("%8s %11s %6s %8s %8s %8s %9s %8s   %s\n", "replicas", "requests/s", "load",
                                      "p50 s", "p95 s", "p99 s", "refused", "rows", "p95 s with request-level batches");
  for (const CapacityRow& row : rows) {
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

// The latencies that a line of the plot shows: a quantile of those with either kind of batching.
struct Curve {
  std::string name;
  int replicas;
  SimulationResult CapacityRow::*result;
  double quantile;
  bool dashed = false;
};

PlotLine LineOf(const std::vector<CapacityRow>& rows, const Curve& curve) {
  PlotLine line = {.name = curve.name, .points = !curve.dashed, .dashed = curve.dashed};
  for (const CapacityRow& row : rows) {
    if (row.replicas != curve.replicas) continue;
    line.x.push_back(100 * row.share);
    line.y.push_back(QuantileOfSorted((row.*curve.result).latencies, curve.quantile));
  }
  return line;
}

}  // namespace

std::string FormatReport(const CapacityReport& report) {
  const std::vector<double>& step_seconds = report.server.step_seconds;
  return absl::StrFormat(
      "A step of 1 row takes %.2f ms, of %s %.2f ms; one replica draws %.3g digits of %s a second.\n\n%s",
      1e3 * step_seconds.front(), Counted(report.server.max_batch_rows, "row"), 1e3 * step_seconds.back(),
      MostRequestsPerSecond(report.server, report.load), StepsInWords(report.load), FormatRows(report.rows));
}

std::string ReportToJson(const CapacityReport& report) {
  Json list = Json::array();
  for (const CapacityRow& row : report.rows) {
    list.push_back({{"replicas", row.replicas},
                    {"requests_per_second", row.requests_per_second},
                    {"share_of_capacity", row.share},
                    {"step_level", ToJson(row.steps)},
                    {"request_level", ToJson(row.requests)}});
  }
  return Json{{"format_version", 1},
              {"step_seconds", report.server.step_seconds},
              {"max_batch_rows", report.server.max_batch_rows},
              {"max_queued_images", report.server.max_queued_images},
              {"seconds_beside_steps", report.server.seconds_beside_steps},
              {"seconds", report.load.seconds},
              {"warmup_seconds", report.load.warmup_seconds},
              {"seed", report.load.seed},
              {"steps", report.load.steps},
              {"guided", report.load.guided},
              {"loads", list}}
             .dump(2) +
         "\n";
}

absl::StatusOr<std::string> PlotReport(const CapacityReport& report) {
  std::vector<PlotLine> lines;
  for (const int replicas : report.replicas) {
    const std::string whose = Counted(replicas, "replica");
    lines.push_back(LineOf(report.rows, {"95 %, " + whose, replicas, &CapacityRow::steps, 0.95}));
    lines.push_back(LineOf(report.rows, {"50 %, " + whose, replicas, &CapacityRow::steps, 0.5}));
  }
  lines.push_back(LineOf(report.rows, {.name = "95 %, request-level",
                                       .replicas = report.replicas[0],
                                       .result = &CapacityRow::requests,
                                       .quantile = 0.95,
                                       .dashed = true}));
  return DrawPlot(lines, {.title = absl::StrCat("Simulated latency of digits of ", StepsInWords(report.load)),
                          .x_label = "load, % of what the replicas can do",
                          .y_label = "seconds"});
}

absl::StatusOr<std::vector<double>> ReadStepTimes(const std::string& path) {
  DENOISED_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxReportBytes));
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

}  // namespace denoised
