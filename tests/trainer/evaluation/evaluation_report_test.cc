#include "trainer/evaluation/evaluation_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

namespace denoised {
namespace {

using testing::HasSubstr;
using testing::Not;

EvaluationReport SomeReport() {
  EvaluationReport report;
  report.checkpoint = "run/best.pt";
  report.sampler = "ddim";
  report.steps = 50;
  report.seed = 1;
  report.count = report.floor_count = report.test_floor_count = report.test_images = 10'000;
  report.training_images = 60'000;
  report.floor_draws = 3;
  report.network_calls = 500'000;
  report.drawing_seconds = 600;
  report.scoring_seconds = 42;
  report.lenet5 = {.path = "judges/lenet5.pt", .sha256 = "ab", .pinned = true, .test_accuracy = 0.99};
  report.convnet = {.path = "judges/convnet.pt", .sha256 = "cd", .pinned = true, .test_accuracy = 0.995};
  report.distance_to_test = {.generated = 1.5, .real = {.mean = 0.6, .lowest = 0.5, .highest = 0.7}};
  report.distance_to_training = {.generated = 1.2, .real = {.mean = 0.5, .lowest = 0.5, .highest = 0.5}};
  report.precision = {.generated = 0.94, .real = {.mean = 0.95, .lowest = 0.948, .highest = 0.952}};
  report.recall = {.generated = 0.93, .real = {.mean = 0.95, .lowest = 0.948, .highest = 0.952}};
  report.reading.accuracy = {.overall = 0.9912, .by_digit = {}, .worst_digit = 8};
  report.reading.accuracy.by_digit.fill(0.99);
  report.reading.accuracy.by_digit[8] = 0.975;
  report.neighbours = {.distance_median = 5.5, .ratio_median = 0.96, .copies = 0};
  return report;
}

TEST(SpreadOfTest, MeanLowestAndHighest) {
  const Spread spread = SpreadOf({3, 1, 5});
  EXPECT_EQ(spread.mean, 3);
  EXPECT_EQ(spread.lowest, 1);
  EXPECT_EQ(spread.highest, 5);
}

TEST(FormatTableTest, FiguresStandBesideRealOnes) {
  const std::string table = FormatTable(SomeReport());
  EXPECT_THAT(table, testing::StartsWith("run/best.pt: 10000 images, ddim in 50 steps, no guidance, seed 1\n"
                                         "500000 network calls, drawn in 10 min, scored in 42 s\n"));
  EXPECT_THAT(table, testing::ContainsRegex("Frechet distance to test images +1.50 +0.60 +\\(0.50 to 0.70\\) +2.50 "
                                            "times the floor\n"));
  EXPECT_THAT(table, testing::ContainsRegex("Precision +0.940 +0.950 +\\(0.948 to 0.952\\) +-0.010\n"));
  EXPECT_THAT(table, testing::ContainsRegex("of the worst digit +8: 97.50 %"));
  EXPECT_THAT(table, Not(HasSubstr("NOTE"))) << "nothing to beware of";
}

TEST(FormatTableTest, FitsATerminal) {
  EvaluationReport report = SomeReport();
  report.lenet5.pinned = false;  // every note
  report.count = 9000;
  report.floor_count = 8000;
  std::istringstream lines(FormatTable(report));
  for (std::string line; std::getline(lines, line);) {
    EXPECT_LE(line.size(), 100u) << line;
    EXPECT_FALSE(line.ends_with(' ')) << line;
  }
}

TEST(FormatTableTest, RangeThatIsNoneIsLeftOut) {
  EXPECT_THAT(FormatTable(SomeReport()),
              testing::ContainsRegex("Frechet distance to training images +1.20 +0.50 +2.40 times the floor\n"));
}

TEST(FormatTableTest, FewImagesAreABias) {
  EvaluationReport report = SomeReport();
  report.count = report.floor_count = report.test_floor_count = 1000;
  EXPECT_THAT(FormatTable(report), HasSubstr("NOTE: the Frechet distances of as few as 1000 images are too high"));
}

TEST(FormatTableTest, MoreImagesThanThereAreRealOnes) {
  EvaluationReport report = SomeReport();
  report.count = 100'000;
  report.floor_count = 58'000;
  EXPECT_THAT(FormatTable(report), HasSubstr("NOTE: there are not enough real images for a floor of 100000"));
}

TEST(FormatTableTest, OtherJudgesAreSaid) {
  EvaluationReport report = SomeReport();
  report.convnet.pinned = false;
  EXPECT_THAT(FormatTable(report), HasSubstr("NOTE: these are not the judges that come with denoise-eval"));
}

TEST(FormatTableTest, DigitWithoutImages) {
  EvaluationReport report = SomeReport();
  report.reading.accuracy.by_digit[9] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(FormatTable(report), testing::ContainsRegex("Accuracy, % .*97.5      -\n"));
}

TEST(ToJsonTest, HoldsWhatTheTableSaysAndMore) {
  EvaluationReport report = SomeReport();
  report.reading.accuracy.by_digit[9] = std::numeric_limits<double>::quiet_NaN();
  const nlohmann::json json = nlohmann::json::parse(ToJson(report));
  EXPECT_EQ(json["format_version"], 1);
  EXPECT_EQ(json["sampling"]["network_calls"], 500'000);
  EXPECT_EQ(json["judges"]["convnet"]["pinned"], true);
  EXPECT_EQ(json["frechet_distance"]["to_test"]["generated"], 1.5);
  EXPECT_DOUBLE_EQ(json["frechet_distance"]["to_test"]["times_floor"], 2.5);
  EXPECT_DOUBLE_EQ(json["frechet_distance"]["to_test"]["above_floor"], 0.9);
  EXPECT_EQ(json["precision"]["real"]["lowest"], 0.948);
  EXPECT_EQ(json["class_accuracy"]["generated"]["worst"], 0.975);
  EXPECT_TRUE(json["class_accuracy"]["generated"]["by_digit"][9].is_null());
  EXPECT_EQ(json["nearest_training_image"]["generated"]["ratio"]["median"], 0.96);
  EXPECT_EQ(json["seconds"]["drawing"], 600);
}

}  // namespace
}  // namespace denoised
