#include "trainer/evaluation/seeds.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

#include "trainer/data/class_names.h"

namespace denoised {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;

EvaluationReport Seed(uint64_t seed, double distance, int right_of_a_thousand) {
  EvaluationReport report;
  report.checkpoint = "run/best.pt";
  report.sampler = "ddim";
  report.steps = 50;
  report.seed = seed;
  report.count = 10'000;
  report.draws = 30;
  report.reference = "held_out";
  report.distance = {.generated = distance, .real = {.mean = 2}};
  report.distance_limit = {.generated = distance - 1, .real = {.mean = 1}};
  report.class_names = NumbersAsNames(10);
  report.reading.labels.assign(10, 100);
  report.reading.accuracy.by_class.assign(10, 1);
  report.reading.accuracy.by_class[7] = (right_of_a_thousand - 900) / 100.;
  report.reading.accuracy.worst_class = 7;
  report.reading.accuracy.right = right_of_a_thousand;
  report.reading.accuracy.of = 1000;
  report.reading.accuracy.overall = right_of_a_thousand / 1000.;
  return report;
}

std::vector<EvaluationReport> Three() { return {Seed(4, 3, 990), Seed(5, 5, 980), Seed(6, 4, 985)}; }

TEST(SeedsTest, TableHasMeansAndDeviations) {
  const std::string table = FormatSeeds(Three());
  EXPECT_THAT(table,
              testing::StartsWith("run/best.pt: 3 times 10000 images, ddim in 50 steps, no guidance, seeds 4 to 6\n"));
  EXPECT_THAT(table, ContainsRegex("Frechet distance +4.00 \\+- 1.00 +2.00\n"));
  EXPECT_THAT(table, ContainsRegex("times the floor +2.00 \\+- 0.50 +1.00\n"));
  EXPECT_THAT(table, ContainsRegex("above the floor +2.00 \\+- 1.00 +0.00\n"));
  EXPECT_THAT(table, ContainsRegex("of the worst class, % +85.00 \\+- 5.00 "));
  EXPECT_THAT(table, HasSubstr("Of all 3000 drawn images 2955 are read as meant: 98.50 %, 95 % interval 98.00 to "));
  EXPECT_THAT(table, HasSubstr("The worst class of all is 7, with 85.00 %.\n"));
  std::istringstream lines(table);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100u) << line;
}

TEST(SeedsTest, WorstClassIsCalledByItsName) {
  std::vector<EvaluationReport> seeds = Three();
  for (EvaluationReport& report : seeds) report.class_names = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"};
  EXPECT_THAT(FormatSeeds(seeds), HasSubstr("The worst class of all is 7 \"h\", with 85.00 %.\n"));
}

TEST(SeedsTest, StochasticityIsSaid) {
  std::vector<EvaluationReport> seeds = Three();
  for (EvaluationReport& report : seeds) report.eta = 0.5;
  EXPECT_THAT(FormatSeeds(seeds), HasSubstr(", ddim in 50 steps (eta 0.5), no guidance,"));
}

TEST(SeedsTest, DistanceOfAllStandsWhereThereIsOne) {
  std::vector<EvaluationReport> seeds = Three();
  EXPECT_THAT(FormatSeeds(seeds), testing::Not(HasSubstr("of all images")));
  for (EvaluationReport& report : seeds) report.distance_of_all = report.distance;
  EXPECT_THAT(FormatSeeds(seeds), ContainsRegex("of all images +4.00 \\+- 1.00 +2.00\n    times the floor +2.00 "));
}

TEST(SeedsTest, OneSeedHasNoDeviation) {
  EXPECT_THAT(FormatSeeds({Seed(4, 3, 990)}), ContainsRegex("Frechet distance +3.00 +2.00\n"));
  EXPECT_THAT(FormatSeeds({Seed(4, 3, 990)}), HasSubstr(", seed 4\n"));
}

TEST(SeedsTest, PooledAccuracyCountsImages) {
  const Accuracy pooled = PooledAccuracy(Three());
  EXPECT_EQ(pooled.right, 2955);
  EXPECT_EQ(pooled.of, 3000);
  EXPECT_EQ(pooled.worst_class, 7);
  EXPECT_DOUBLE_EQ(pooled.by_class[7], 0.85);
  EXPECT_DOUBLE_EQ(pooled.by_class[0], 1);
}

TEST(SeedsTest, JsonHoldsEveryValue) {
  const nlohmann::json json = nlohmann::json::parse(SeedsToJson(Three()));
  EXPECT_EQ(json["seeds"], nlohmann::json({4, 5, 6}));
  EXPECT_EQ(json["figures"]["distance"]["values"], nlohmann::json({3., 5., 4.}));
  EXPECT_EQ(json["figures"]["distance"]["mean"], 4);
  EXPECT_EQ(json["figures"]["distance"]["standard_deviation"], 1);
  EXPECT_EQ(json["figures"]["times_floor"]["mean"], 2);
  EXPECT_EQ(json["pooled_class_accuracy"]["right"], 2955);
  for (const char* setting : {"eta", "precision", "judges"}) EXPECT_TRUE(json.contains(setting)) << setting;
  EXPECT_EQ(json["pooled_class_accuracy"]["by_class"].size(), json["class_names"].size());
}

}  // namespace
}  // namespace denoised
