#include "trainer/evaluation/evaluation_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

#include "trainer/data/class_names.h"

namespace denoised {
namespace {

using testing::HasSubstr;
using testing::Not;

// As good in every class.
void SetClasses(const std::vector<std::string>& class_names, EvaluationReport& report) {
  const size_t classes = class_names.size();
  report.class_names = class_names;
  report.reading.accuracy = {
      .overall = 0.9912, .by_class = std::vector(classes, 0.99), .worst_class = 0, .right = 9912, .of = 10'000};
  report.reading_real.accuracy.by_class.assign(classes, 0.995);
  report.reading.labels = report.reading.read_as = ClassCounts(classes, 1000);
  report.neighbours.distance_median_by_class.assign(classes, 5.5);
  report.neighbours_real.distance_median_by_class.assign(classes, 5.25);
}

EvaluationReport SomeReport() {
  EvaluationReport report;
  report.checkpoint = "run/best.pt";
  report.sampler = "ddim";
  report.steps = 50;
  report.seed = 1;
  report.count = report.reference_images = report.held_out_images = 10'000;
  report.training_images = 50'000;
  report.reference = "held_out";
  report.draws = 30;
  report.prdc_draws = 5;
  report.draw_count = 5000;
  report.network_calls = 500'000;
  report.drawing_seconds = 600;
  report.scoring_seconds = 42;
  report.lenet5 = {.path = "judges/lenet5.pt", .sha256 = "ab", .pinned = true, .accuracy = 0.99};
  report.convnet = {.path = "judges/convnet.pt", .sha256 = "cd", .pinned = true, .accuracy = 0.995};
  report.distance = {.generated = 1.5, .real = {.mean = 0.6, .lowest = 0.5, .highest = 0.7}};
  report.distance_limit = {.generated = 1.2, .real = {.mean = 0.2, .lowest = 0.1, .highest = 0.3}};
  report.precision = {.generated = 0.94, .real = {.mean = 0.95, .lowest = 0.948, .highest = 0.952}};
  report.recall = {.generated = 0.93, .real = {.mean = 0.95, .lowest = 0.948, .highest = 0.952}};
  report.density = {.generated = 1.01, .real = {.mean = 1, .lowest = 0.99, .highest = 1.02}};
  report.coverage = {.generated = 0.92, .real = {.mean = 0.93, .lowest = 0.92, .highest = 0.94}};
  report.neighbours.distance_median = 5.5;
  report.neighbours.ratio_median = 0.96;
  SetClasses(NumbersAsNames(10), report);
  report.reading.accuracy.by_class[8] = 0.975;
  report.reading.accuracy.worst_class = 8;
  return report;
}

TEST(SpreadOfTest, MeanExtremesAndDeviation) {
  const Spread spread = SpreadOf({3, 1, 5});
  EXPECT_EQ(spread.mean, 3);
  EXPECT_EQ(spread.lowest, 1);
  EXPECT_EQ(spread.highest, 5);
  EXPECT_EQ(spread.deviation, 2) << "of the sample: the sum of squares is divided by two";
  EXPECT_TRUE(std::isnan(SpreadOf({7}).deviation));
}

TEST(FormatTableTest, FiguresStandBesideRealOnes) {
  const std::string table = FormatTable(SomeReport());
  EXPECT_THAT(table, testing::StartsWith("run/best.pt: 10000 images, ddim in 50 steps, no guidance, seed 1\n"
                                         "500000 network calls, drawn in 10 min, scored in 42 s\n"));
  EXPECT_THAT(table, testing::ContainsRegex("Frechet distance +1.50 +0.60 +\\(0.50 to 0.70\\) +2.50 "
                                            "times the floor\n"));
  EXPECT_THAT(table, testing::ContainsRegex("of infinitely many +1.20 +0.20 +\\(0.10 to 0.30\\) +\\+1.00\n"));
  EXPECT_THAT(table, testing::ContainsRegex("95 % interval, % +98.92-99.29 "));
  EXPECT_THAT(table, testing::ContainsRegex("Coverage +0.920 +0.930 +\\(0.920 to 0.940\\) +-0.010\n"));
  EXPECT_THAT(table, HasSubstr("Reference: 10000 held-out training images, which these judges have not learnt from"));
  EXPECT_THAT(table, Not(HasSubstr("of all images"))) << "there is no floor for them";
  EXPECT_THAT(table, testing::ContainsRegex("Precision +0.940 +0.950 +\\(0.948 to 0.952\\) +-0.010\n"));
  EXPECT_THAT(table, testing::ContainsRegex("of the worst class +8: 97.50 %"));
  EXPECT_THAT(table, Not(HasSubstr("NOTE"))) << "nothing to beware of";
}

TEST(FormatTableTest, FitsATerminal) {
  EvaluationReport report = SomeReport();
  report.lenet5.pinned = false;  // every note
  report.count = 9000;
  report.reference = "test";
  report.distance_of_all = report.distance;
  report.count_of_all = 9622;
  std::istringstream lines(FormatTable(report));
  for (std::string line; std::getline(lines, line);) {
    EXPECT_LE(line.size(), 100u) << line;
    EXPECT_FALSE(line.ends_with(' ')) << line;
  }
}

TEST(FormatTableTest, AllTestImagesHaveARowOfTheirOwn) {
  EvaluationReport report = SomeReport();
  report.reference = "test";
  report.distance_of_all = Compared{.generated = 1.3, .real = SpreadOf({0.5})};
  report.count_of_all = 9622;
  const std::string table = FormatTable(report);
  EXPECT_THAT(table, testing::ContainsRegex("of all images +1.30 +0.50 +2.60 times the floor\n"))
      << "a range of one value is left out";
  EXPECT_THAT(table, HasSubstr("Reference: all 10000 test images"));
  EXPECT_THAT(table, HasSubstr("Distance of all: of 9622, drawn and real."));
}

TEST(FormatTableTest, FewImagesAreABias) {
  EvaluationReport report = SomeReport();
  report.count = report.draw_count = 1000;
  EXPECT_THAT(FormatTable(report), HasSubstr("NOTE: the distances of as few as 1000 images are too high"));
}

// However many are drawn: no more of them can be compared.
TEST(FormatTableTest, FewHeldOutImagesAreABiasToo) {
  EvaluationReport report = SomeReport();
  report.held_out_images = report.reference_images = 50;
  report.draw_count = 24;
  const std::string table = FormatTable(report);
  EXPECT_THAT(table, HasSubstr("NOTE: the distances of as few as 24 images are too high"));
  EXPECT_THAT(table, HasSubstr("A larger set has larger draws.\n"
                               "Precision, recall, density and coverage of so few say nothing.\n"));
  EXPECT_THAT(table, testing::Not(HasSubstr("For a claim")));
}

TEST(FormatTableTest, ReferenceThatWasLearntFromIsSaid) {
  EvaluationReport report = SomeReport();
  EXPECT_THAT(FormatTable(report), testing::Not(HasSubstr("has learnt from reference images")));
  report.reference_was_learnt = true;
  EXPECT_THAT(
      FormatTable(report),
      HasSubstr("NOTE: the checkpoint has learnt from reference images, so that what it has only copied passes\n"
                "for good: train with --validation_images 10000, or compare by --reference test.\n"));
}

TEST(FormatTableTest, OtherJudgesAreSaid) {
  EvaluationReport report = SomeReport();
  report.convnet.pinned = false;
  EXPECT_THAT(FormatTable(report), HasSubstr("NOTE: these are not the judges that come with denoise-eval"));
}

TEST(FormatTableTest, ClassWithoutImages) {
  EvaluationReport report = SomeReport();
  report.reading.accuracy.by_class[9] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(FormatTable(report), HasSubstr("\n    9    1000     1000            -     99.5      5.50     5.25\n"));
}

TEST(FormatTableTest, EveryClassHasARowAndItsName) {
  EvaluationReport report = SomeReport();
  for (const int classes : {2, 26, 256}) {
    std::vector<std::string> names;
    for (int i = 0; i < classes; ++i) names.push_back("letter " + std::string(1 + i % 9, 'a'));
    SetClasses(names, report);
    std::istringstream lines(FormatTable(report));
    int rows = 0;
    for (std::string line; std::getline(lines, line);) {
      rows += line.ends_with("  " + names[rows % classes]) ? 1 : 0;
      EXPECT_LE(line.size(), 100u) << line;
    }
    EXPECT_EQ(rows, classes);
  }
}

TEST(FormatTableTest, ClassesThatAreInNoDrawAreTold) {
  EvaluationReport report = SomeReport();
  EXPECT_THAT(FormatTable(report), Not(HasSubstr("leave out")));
  report.classes_left_out = 3;
  EXPECT_THAT(FormatTable(report), HasSubstr("NOTE: distances and shares leave out 3 of 10 classes, which have too few "
                                             "images for a draw:\n"));
}

TEST(ClassTextTest, NumberAndNameIfThereIsOne) {
  EXPECT_EQ(ClassText(NumbersAsNames(3), 2), "2");
  EXPECT_EQ(ClassText({"ant", "bee"}, 1), "1 \"bee\"");
}

// It ended the program after hours of drawing.
TEST(ToJsonTest, PathThatIsNoUtf8IsEscaped) {
  EvaluationReport report = SomeReport();
  report.checkpoint = "l\xe4uf/best.pt";
  report.lenet5.path = "\xff";
  const nlohmann::json json = nlohmann::json::parse(ToJson(report));
  EXPECT_EQ(json["checkpoint"]["path"], "l\\xe4uf/best.pt");
  EXPECT_EQ(json["judges"]["lenet5"]["path"], "\\xff");
}

TEST(ToJsonTest, HoldsWhatTheTableSaysAndMore) {
  EvaluationReport report = SomeReport();
  report.reading.accuracy.by_class[9] = std::numeric_limits<double>::quiet_NaN();
  const nlohmann::json json = nlohmann::json::parse(ToJson(report));
  EXPECT_EQ(json["format_version"], 3);
  EXPECT_EQ(json["class_names"].size(), 10u);
  EXPECT_EQ(json["sampling"]["network_calls"], 500'000);
  EXPECT_EQ(json["judges"]["convnet"]["pinned"], true);
  EXPECT_EQ(json["frechet_distance"]["of_a_draw"]["generated"], 1.5);
  EXPECT_DOUBLE_EQ(json["frechet_distance"]["of_a_draw"]["times_floor"], 2.5);
  EXPECT_DOUBLE_EQ(json["frechet_distance"]["limit"]["above_floor"], 1.0);
  EXPECT_FALSE(json["frechet_distance"].contains("of_all"));
  EXPECT_NEAR(json["class_accuracy"]["generated"]["interval_95"][0].get<double>(), 0.98917, 1e-5);
  EXPECT_TRUE(json["class_accuracy"]["real"]["interval_95"][0].is_null()) << "of no images";
  EXPECT_EQ(json["precision"]["real"]["lowest"], 0.948);
  EXPECT_EQ(json["class_accuracy"]["generated"]["worst"], 0.975);
  EXPECT_TRUE(json["class_accuracy"]["generated"]["by_class"][9].is_null());
  EXPECT_EQ(json["nearest_training_image"]["generated"]["ratio"]["median"], 0.96);
  EXPECT_EQ(json["seconds"]["drawing"], 600);
}

}  // namespace
}  // namespace denoised
