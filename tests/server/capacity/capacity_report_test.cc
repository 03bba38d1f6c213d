#include "server/capacity/capacity_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "common/image/png.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

SimulationResult Result(double latency) {
  return {.finished = 2, .refused = 3, .latencies = {latency, 2 * latency}, .images_per_second = 4, .rows_per_step = 5};
}

CapacityReport Report() {
  CapacityReport report = {.server = {.step_seconds = {0.001, 0.002}, .max_batch_rows = 2},
                           .load = {.steps = {20, 50, 1000}},
                           .replicas = {1, 3},
                           .rows = {}};
  for (const int replicas : report.replicas) {
    for (const double share : {0.5, 0.8}) {
      report.rows.push_back({.replicas = replicas,
                             .requests_per_second = 10 * replicas * share,
                             .share = share,
                             .steps = Result(share),
                             .requests = Result(2 * share)});
    }
  }
  return report;
}

TEST(FormatReportTest, SentenceAboutAReplicaAndALineForEachLoad) {
  const std::string text = FormatReport(Report());
  EXPECT_THAT(text, StartsWith("A step of 1 row takes 1.00 ms, of 2 rows 2.00 ms; one replica draws 2.8 digits of "
                               "20, 50 or 1000 steps a second.\n\nreplicas  requests/s   load"));
  EXPECT_THAT(text, HasSubstr("\n       3      24.000    80%    0.800    1.600    1.600         3      5.0   3.200\n"));
}

TEST(ReportToJsonTest, HoldsBothKindsOfBatching) {
  const nlohmann::json json = nlohmann::json::parse(ReportToJson(Report()));
  ASSERT_EQ(json["loads"].size(), 4u);
  EXPECT_EQ(json["loads"][3]["replicas"], 3);
  EXPECT_EQ(json["loads"][3]["step_level"]["latency_seconds"]["p50"], 0.8);
  EXPECT_EQ(json["loads"][3]["request_level"]["latency_seconds"]["p95"], 3.2);
  EXPECT_EQ(json["steps"], nlohmann::json({20, 50, 1000}));
}

TEST(PlotReportTest, HasCurvesForEachNumberOfReplicas) {
  CapacityReport one = Report();
  one.replicas = {1};
  const absl::StatusOr<std::string> both = PlotReport(Report()), first = PlotReport(one);
  ASSERT_THAT(both, IsOk());
  ASSERT_THAT(first, IsOk());
  EXPECT_TRUE(DecodePng(*both).ok());
  EXPECT_NE(*both, *first);
}

TEST(ReadStepTimesTest, AreThoseOfTheReport) {
  const TempFolder folder;
  const absl::StatusOr<std::vector<double>> times = ReadStepTimes(folder.Write("a.json", ReportToJson(Report())));
  ASSERT_THAT(times, IsOk());
  EXPECT_THAT(*times, ElementsAre(0.001, 0.002));
}

TEST(ReadStepTimesTest, WhatIsNoReportIsRefused) {
  const TempFolder folder;
  for (const char* text : {"", "[]", "{}", R"({"step_seconds": 1})", R"({"step_seconds": [1]})"}) {
    const std::string path = folder.Write("a.json", text);
    EXPECT_THAT(ReadStepTimes(path), StatusIs(absl::StatusCode::kInvalidArgument,
                                              path + " has no step times: \"step_seconds\" must be a list of numbers, "
                                                     "as in a file that --out wrote"));
  }
  EXPECT_THAT(ReadStepTimes(folder.File("nowhere.json")), StatusIs(absl::StatusCode::kNotFound, testing::_));
  const absl::StatusOr<std::vector<double>> words =
      ReadStepTimes(folder.Write("b.json", R"({"step_seconds": [0.1, "x"]})"));
  ASSERT_THAT(words, IsOk());
  EXPECT_THAT(*words, ElementsAre(0.1, 0));
}

}  // namespace
}  // namespace denoised
