#include "client/bench.h"

#include <cstdio>
#include <utility>
#include <vector>

#include "client/calls/load_test.h"
#include "client/request.h"
#include "common/image/figure_files.h"
#include "common/support/file.h"
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

// A digit like another where none is named.
v1::GenerateDigitRequest RequestOf(const ClientOptions& options) {
  v1::GenerateDigitRequest request = MakeRequest(options);
  if (!options.digit.has_value()) request.set_digit(0);
  return request;
}

LoadTestOptions LoadTestOf(const ClientOptions& options) {
  LoadTestOptions load_test = options.load_test;
  load_test.timeout_seconds = options.call.timeout_seconds;
  load_test.seed = options.seed.value_or(load_test.seed);
  return load_test;
}

}  // namespace

absl::Status Bench(DigitClient& client, const ClientOptions& options) {
  DENOISED_ASSIGN_OR_RETURN(const FigureFiles files,
                            FigureFiles::Create(options.out, "--out of bench", "; the plot goes beside it"));
  if (files.wanted()) DENOISED_RETURN_IF_ERROR(EnsureWritableFolder(files.folder()));
  std::vector<LevelResult> results;
  for (const LoadLevel& level : LevelsOf(options)) {
    DENOISED_ASSIGN_OR_RETURN(LevelResult result, RunLevel(client, RequestOf(options), level, LoadTestOf(options)));
    if (results.empty()) std::fputs(LevelHeader().c_str(), stdout);
    std::fputs(FormatLevel(result).c_str(), stdout);
    std::fflush(stdout);
    results.push_back(std::move(result));
    if (files.wanted()) DENOISED_RETURN_IF_ERROR(files.Write(ResultsToJson(results), PlotResults(results)));
  }
  if (files.wanted()) std::fputs(files.ToString().c_str(), stdout);
  return absl::OkStatus();
}

}  // namespace denoised
