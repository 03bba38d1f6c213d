#include "trainer/evaluation/sweep.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "common/image/png.h"
#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

using testing::HasSubstr;

EvaluationReport Report(const std::string& sampler, int steps, double guidance_scale, double distance) {
  EvaluationReport report;
  report.sampler = sampler;
  report.steps = steps;
  report.guidance_scale = guidance_scale;
  report.count = 2000;
  report.distance_to_test = {.generated = distance, .real = {.mean = 2, .lowest = 1.9, .highest = 2.1}};
  report.precision.generated = 0.94;
  report.recall.generated = 0.95;
  report.reading.accuracy = {.overall = 0.99, .by_digit = {}, .worst_digit = 3};
  report.reading.accuracy.by_digit[3] = 0.97;
  report.reading_test.accuracy.overall = 0.995;
  return report;
}

TEST(SweepTest, NamesAreFolders) {
  EXPECT_EQ(SweepName("ddim", 50, 1), "ddim-50");
  EXPECT_EQ(SweepName("ddim", 50, 1.5), "ddim-50-g1.5");
  EXPECT_EQ(SweepName("ddpm", 0, 1), "ddpm");
}

TEST(SweepTest, TableHasARowForEach) {
  const std::string table = FormatSweep({Report("ddim", 10, 1, 4), Report("ddpm", 1000, 1.25, 3)});
  EXPECT_THAT(table,
              HasSubstr("| ddim             |    10 |        1 |     4.00 |  2.00 |  2.00 |     0.940 |  0.950 |  "
                        "99.00 % | 3:  97.00 % |\n"));
  EXPECT_THAT(table, HasSubstr("| ddpm             |  1000 |     1.25 |     3.00 |  2.00 |  1.50 |"));
  std::istringstream lines(table);
  size_t width = 0;
  for (std::string line; std::getline(lines, line);) {
    if (width == 0) width = line.size();
    EXPECT_EQ(line.size(), width) << "columns stand below one another: " << line;
  }
}

TEST(SweepTest, PlotsAgainstStepsOrGuidance) {
  const std::vector<EvaluationReport> by_steps = {Report("ddim", 10, 1, 4), Report("ddim", 50, 1, 3),
                                                  Report("ddpm", 10, 1, 9)};
  const std::vector<EvaluationReport> by_guidance = {Report("ddim", 50, 2, 4), Report("ddim", 50, 1, 3)};
  for (const auto& reports : {by_steps, by_guidance}) {
    for (const auto& plot : {PlotDistances(reports), PlotMisread(reports)}) {
      ASSERT_THAT(plot, IsOk());
      EXPECT_TRUE(DecodePng(*plot).ok());
    }
  }
  EXPECT_NE(*PlotDistances(by_steps), *PlotDistances(by_guidance));
}

TEST(SweepTest, NothingToPlot) {
  EXPECT_THAT(PlotDistances({}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("nothing to plot")));
}

}  // namespace
}  // namespace denoised
