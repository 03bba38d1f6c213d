// File: capacity_report.h
//
// What denoised-capacity found, for people and for programs.
//
//   CapacityReport report = {.server = server, .load = load, .replicas = {1}, .rows = rows};
//   std::fputs(FormatReport(report).c_str(), stdout);
//   absl::StatusOr<std::string> png = PlotReport(report);
//
// Pure functions, but for ReadStepTimes, which reads a file.
#ifndef DENOISED_SERVER_CAPACITY_CAPACITY_REPORT_H_
#define DENOISED_SERVER_CAPACITY_CAPACITY_REPORT_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/capacity/load_simulation.h"

namespace denoised {

// One load on one number of replicas, with either kind of batching.
struct CapacityRow {
  int replicas = 1;
  double requests_per_second = 0;
  double share = 0;  // of what the replicas can do at most
  SimulationResult steps = {}, requests = {};
};

struct CapacityReport {
  SimulatedServer server;
  SimulatedLoad load;         // what all rows have in common: its rate, replicas and batching do not count
  std::vector<int> replicas;  // the numbers of them in the rows, in the plot's order
  std::vector<CapacityRow> rows;
};

// A sentence about one replica, and a table with a line for each row.
std::string FormatReport(const CapacityReport& report);

// A JSON document with all figures, the step times and whatever else decided them.
std::string ReportToJson(const CapacityReport& report);

// A PNG of latency against load, with a median and a 95th percentile for each number of replicas. Needs rows for each.
absl::StatusOr<std::string> PlotReport(const CapacityReport& report);

// The step times in a file that holds a report's JSON, to simulate with them again: two or more, of which those that
// are no numbers are 0. Errors are those of ReadFile, and INVALID_ARGUMENT where there are none.
absl::StatusOr<std::vector<double>> ReadStepTimes(const std::string& path);

}  // namespace denoised

#endif  // DENOISED_SERVER_CAPACITY_CAPACITY_REPORT_H_
