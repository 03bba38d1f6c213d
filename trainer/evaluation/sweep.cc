#include "trainer/evaluation/sweep.h"

#include <algorithm>
#include <functional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/plot/plot.h"

namespace denoised {
namespace {

using Figure = std::function<double(const EvaluationReport&)>;

bool SameSteps(const std::vector<EvaluationReport>& reports) {
  return std::all_of(reports.begin(), reports.end(),
                     [&](const EvaluationReport& report) { return report.steps == reports[0].steps; });
}

std::string WithGuidance(const std::string& sampler, double guidance_scale) {
  return guidance_scale == 1 ? sampler : absl::StrFormat("%s, guidance %g", sampler, guidance_scale);
}

// A line per name, its points in ascending order.
std::vector<PlotLine> LinesOf(const std::vector<EvaluationReport>& reports, const Figure& x, const Figure& y,
                              const std::function<std::string(const EvaluationReport&)>& name) {
  std::vector<const EvaluationReport*> sorted;
  for (const EvaluationReport& report : reports) sorted.push_back(&report);
  std::stable_sort(sorted.begin(), sorted.end(),
                   [&](const EvaluationReport* a, const EvaluationReport* b) { return x(*a) < x(*b); });
  std::vector<PlotLine> lines;
  for (const EvaluationReport* report : sorted) {
    auto line = std::find_if(lines.begin(), lines.end(), [&](const PlotLine& l) { return l.name == name(*report); });
    if (line == lines.end()) line = lines.insert(line, {.name = name(*report), .points = true});
    line->x.push_back(x(*report));
    line->y.push_back(y(*report));
  }
  return lines;
}

absl::StatusOr<std::string> Plot(const std::vector<EvaluationReport>& reports, const Figure& figure,
                                 const Figure& of_real_digits, PlotOptions options) {
  if (reports.empty()) return absl::InvalidArgumentError("there is nothing to plot");
  const bool by_guidance = SameSteps(reports);
  const Figure x = [by_guidance](const EvaluationReport& r) { return by_guidance ? r.guidance_scale : r.steps; };
  std::vector<PlotLine> lines = LinesOf(reports, x, figure, [by_guidance](const EvaluationReport& r) {
    return by_guidance ? r.sampler : WithGuidance(r.sampler, r.guidance_scale);
  });
  const auto [first, last] =
      std::minmax_element(reports.begin(), reports.end(),
                          [&x](const EvaluationReport& a, const EvaluationReport& b) { return x(a) < x(b); });
  lines.push_back({.name = "real digits",
                   .x = {x(*first), x(*last)},
                   .y = {of_real_digits(*first), of_real_digits(*last)},
                   .dashed = true});
  options.title += absl::StrFormat(", %d images%s", reports[0].count,
                                   by_guidance ? absl::StrFormat(", %d steps", reports[0].steps) : "");
  options.x_label = by_guidance ? "guidance scale" : "denoising steps";
  options.log_x = !by_guidance;
  return DrawPlot(lines, options);
}

}  // namespace

std::string SweepName(const std::string& sampler, int steps, double guidance_scale) {
  const std::string name = steps == 0 ? sampler : absl::StrCat(sampler, "-", steps);
  return guidance_scale == 1 ? name : absl::StrFormat("%s-g%g", name, guidance_scale);
}

std::string FormatSweep(const std::vector<EvaluationReport>& reports) {
  std::string table =
      "| Sampler          | Steps | Guidance | Distance | Floor | Times | Precision | Recall | Accuracy | Worst digit "
      "|\n"
      "| ---------------- | ----: | -------: | -------: | ----: | ----: | --------: | -----: | -------: | ----------: "
      "|\n";
  for (const EvaluationReport& report : reports) {
    const Compared& distance = report.distance_to_test;
    const Accuracy& accuracy = report.reading.accuracy;
    absl::StrAppendFormat(&table,
                          "| %-16s | %5d | %8g | %8.2f | %5.2f | %5.2f | %9.3f | %6.3f | %6.2f %% | %d: %6.2f %% |\n",
                          report.sampler, report.steps, report.guidance_scale, distance.generated, distance.real.mean,
                          distance.times_floor(), report.precision.generated, report.recall.generated,
                          100 * accuracy.overall, accuracy.worst_digit, 100 * accuracy.by_digit[accuracy.worst_digit]);
  }
  return table;
}

absl::StatusOr<std::string> PlotDistances(const std::vector<EvaluationReport>& reports) {
  return Plot(
      reports, [](const EvaluationReport& r) { return r.distance_to_test.generated; },
      [](const EvaluationReport& r) { return r.distance_to_test.real.mean; },
      {.title = "Frechet distance to MNIST's test images", .y_label = "Frechet distance", .log_y = true});
}

absl::StatusOr<std::string> PlotMisread(const std::vector<EvaluationReport>& reports) {
  const auto misread = [](const ReadingFigures& figures) { return 100 * (1 - figures.accuracy.overall); };
  return Plot(
      reports, [misread](const EvaluationReport& r) { return misread(r.reading); },
      [misread](const EvaluationReport& r) { return misread(r.reading_test); },
      {.title = "Digits read as another", .y_label = "%"});
}

}  // namespace denoised
