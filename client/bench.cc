#include "client/bench.h"

#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/await_server.h"
#include "client/calls/load_test.h"
#include "client/request.h"
#include "common/command_line/progress_bar.h"
#include "common/command_line/standard_output.h"
#include "common/plot/figure_files.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

std::vector<LoadLevel> LevelsOf(const ClientOptions& options) {
  std::vector<LoadLevel> levels;
  for (const int in_flight : options.concurrency) {
    levels.push_back({.kind = LoadKind::kClosed, .value = static_cast<double>(in_flight)});
  }
  for (const double rate : options.rates) levels.push_back({.kind = LoadKind::kOpen, .value = rate});
  if (!levels.empty()) return levels;
  for (const double in_flight : {1, 2, 4, 8, 16, 32}) levels.push_back({.kind = LoadKind::kClosed, .value = in_flight});
  return levels;
}

// A class like another where none is named.
v1::GenerateDigitRequest RequestOf(const ClientOptions& options) {
  v1::GenerateDigitRequest request = MakeRequest(options);
  if (!options.digit.has_value() && options.class_name.empty()) request.set_digit(0);
  return request;
}

LoadTestOptions LoadTestOf(const ClientOptions& options) {
  LoadTestOptions load_test = options.load_test;
  load_test.timeout_seconds = options.call.timeout_seconds;
  load_test.seed = options.seed.value_or(load_test.seed);
  load_test.on_progress = [](const std::string& line) { ShowProgress(line); };
  return load_test;
}

absl::Status Print(const LevelResult& result, bool first, bool json) {
  if (json) return PrintNow(LevelToJsonLine(result));
  return PrintNow(absl::StrCat(first ? LevelHeader() : "", FormatLevel(result)));
}

bool AnyFinished(const std::vector<LevelResult>& results) {
  return std::any_of(results.begin(), results.end(), [](const LevelResult& result) { return result.finished > 0; });
}

absl::Status Keep(const FigureFiles& files, const std::vector<LevelResult>& results) {
  const std::string figures = ResultsToJson(results);
  return AnyFinished(results) ? files.Write(figures, PlotResults(results)) : files.WriteFigures(figures);
}

// Of a level that finished nothing.
std::string WhyUnfinished(const LevelResult& result) {
  return result.first_failure.empty() ? result.first_refusal : result.first_failure;
}

// One level that finishes nothing is a result. None that does is an error.
absl::Status CheckAnyFinished(const std::vector<LevelResult>& results) {
  if (AnyFinished(results)) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("not one request was finished at ",
                                             results.size() == 1 ? LoadText(results[0].level) : "any level", ": ",
                                             WhyUnfinished(results[0])));
}

}  // namespace

absl::Status Bench(DigitClient& client, const ClientOptions& options) {
  DENOISED_ASSIGN_OR_RETURN(const FigureFiles files,
                            FigureFiles::Create(options.out, "--out of bench", "; the plot goes beside it"));
  DENOISED_RETURN_IF_ERROR(AwaitServer(client, options));
  std::vector<LevelResult> results;
  for (const LoadLevel& level : LevelsOf(options)) {
    absl::StatusOr<LevelResult> measured = RunLevel(client, RequestOf(options), level, LoadTestOf(options));
    ClearProgress();
    DENOISED_ASSIGN_OR_RETURN(LevelResult result, std::move(measured));
    const absl::Status printed = Print(result, results.empty(), options.json);
    results.push_back(std::move(result));
    if (files.wanted()) DENOISED_RETURN_IF_ERROR(Keep(files, results));
    DENOISED_RETURN_IF_ERROR(printed);
  }
  if (files.wanted() && !options.json) std::fputs(files.ToString().c_str(), stdout);
  return CheckAnyFinished(results);
}

}  // namespace denoised
