#include "client/calls/load_test.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "common/image/png.h"
#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

LevelResult Result(LoadKind kind, double value, double latency) {
  LevelResult result;
  result.level = {.kind = kind, .value = value};
  result.seconds = 10;
  result.finished = 100;
  result.images_per_second = 10;
  result.denoise_seconds = 0.5;
  for (int i = 1; i <= 100; ++i) result.latencies.push_back(latency * i / 100);
  return result;
}

TEST(LevelResultTest, ImagesInTheBatchByLittlesLaw) {
  EXPECT_DOUBLE_EQ(Result(LoadKind::kClosed, 1, 1).batch_images(), 5);
}

TEST(FormatLevelTest, ALineForTheLevelAndFailuresInWords) {
  LevelResult failed = Result(LoadKind::kOpen, 2.5, 1);
  failed.failed = 3;
  failed.first_failure = "the server is gone\nand more";
  EXPECT_EQ(FormatLevel(Result(LoadKind::kClosed, 8, 1)),
            "8 in flight        10.00      100   0.500   0.950   0.990   1.000   0.00    5.0\n");
  EXPECT_THAT(FormatLevel(failed), testing::StartsWith("2.5 a second       10.00"));
  EXPECT_THAT(FormatLevel(failed), testing::EndsWith("\n  3 failed, at first: the server is gone\n"));
  EXPECT_EQ(LevelHeader().size(), FormatLevel(Result(LoadKind::kClosed, 8, 1)).size());
}

// Reported: the table was wider than a terminal.
TEST(FormatLevelTest, FitsEightyColumns) {
  LevelResult large = Result(LoadKind::kClosed, 10000, 999);
  large.images_per_second = 9999;
  large.finished = 1'000'000;
  EXPECT_EQ(FormatLevel(large).size(), LevelHeader().size());
  EXPECT_LE(LevelHeader().size(), 80u + 1);
}

TEST(FormatLevelTest, LevelThatFinishesNothingSaysWhy) {
  LevelResult nothing;
  nothing.level = {.kind = LoadKind::kClosed, .value = 8};
  nothing.first_failure = "no request was answered";
  EXPECT_EQ(FormatLevel(nothing),
            "8 in flight         0.00        0  nothing was finished\n  no request was answered\n");
}

// Reported: each refusal was called a full queue, though it may be this client's share that is used up.
TEST(FormatLevelTest, RefusalsAreInTheServersWords) {
  LevelResult refused;
  refused.level = {.kind = LoadKind::kClosed, .value = 8};
  refused.refused = 7;
  refused.first_refusal = "this client has 224 images here\nand more";
  EXPECT_EQ(FormatLevel(refused),
            "8 in flight         0.00        0  nothing was finished\n"
            "  7 refused, at first: this client has 224 images here\n");
}

TEST(ResultsToJsonTest, SaysTheLoopAndItsFigures) {
  const nlohmann::json json =
      nlohmann::json::parse(ResultsToJson({Result(LoadKind::kClosed, 8, 1), Result(LoadKind::kOpen, 2.5, 1)}));
  EXPECT_EQ(json["levels"][0]["loop"], "closed");
  EXPECT_EQ(json["levels"][0]["in_flight"], 8);
  EXPECT_EQ(json["levels"][1]["requests_per_second"], 2.5);
  EXPECT_EQ(json["levels"][1]["latency_seconds"]["p95"], 0.95);
  EXPECT_EQ(json["levels"][1]["finished"], 100);
}

TEST(ResultsToJsonTest, LevelThatFinishesNothingHasNoLatency) {
  LevelResult nothing;
  nothing.level = {.kind = LoadKind::kClosed, .value = 8};
  const nlohmann::json json = nlohmann::json::parse(ResultsToJson({nothing}));
  EXPECT_TRUE(json["levels"][0]["latency_seconds"]["p99"].is_null());
  EXPECT_THAT(PlotResults({nothing, Result(LoadKind::kClosed, 1, 1)}), IsOk());
}

TEST(PlotResultsTest, DrawsTheOpenLevelsWhereThereAreAny) {
  const std::vector<LevelResult> closed = {Result(LoadKind::kClosed, 1, 1), Result(LoadKind::kClosed, 8, 2)};
  std::vector<LevelResult> both = closed;
  both.push_back(Result(LoadKind::kOpen, 1, 3));
  both.push_back(Result(LoadKind::kOpen, 2, 4));
  const absl::StatusOr<std::string> of_closed = PlotResults(closed), of_both = PlotResults(both);
  ASSERT_THAT(of_closed, IsOk());
  ASSERT_THAT(of_both, IsOk());
  EXPECT_TRUE(DecodePng(*of_both).ok());
  EXPECT_NE(*of_closed, *of_both);
}

// It waited for the next request, for minutes where they are few.
TEST(RunLevelTest, CancelledLevelEndsAtOnce) {
  Connection nowhere;
  nowhere.server = "127.0.0.1:1";
  absl::StatusOr<std::unique_ptr<DigitClient>> client = DigitClient::Connect(nowhere);
  ASSERT_THAT(client, IsOk());
  std::jthread cancels([&client] { (*client)->Cancel(); });
  LoadTestOptions options;
  options.seconds = 1e6;
  EXPECT_THAT(RunLevel(**client, {}, {.kind = LoadKind::kOpen, .value = 1e-6}, options),
              StatusIs(absl::StatusCode::kCancelled, kCancelledText));
}

}  // namespace
}  // namespace denoised
