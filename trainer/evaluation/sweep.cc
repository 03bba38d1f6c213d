#include "trainer/evaluation/sweep.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/plot/plot.h"
#include "common/support/counted.h"
#include "trainer/evaluation/seeds.h"

namespace denoised {
namespace {

const EvaluationReport& First(const Variant& variant) { return variant.seeds[0]; }

bool SameInAll(const std::vector<Variant>& variants, const std::function<std::string(const EvaluationReport&)>& key) {
  return std::all_of(variants.begin(), variants.end(),
                     [&](const Variant& variant) { return key(First(variant)) == key(First(variants[0])); });
}

std::string Steps(const EvaluationReport& report) { return absl::StrCat(report.steps); }
std::string Checkpoint(const EvaluationReport& report) { return report.checkpoint_sha256; }

// A line per name, its points in ascending order.
std::vector<PlotLine> LinesOf(const std::vector<Variant>& variants, const Figure& x, const Figure& y,
                              const std::function<std::string(const EvaluationReport&)>& name) {
  std::vector<const Variant*> sorted;
  for (const Variant& variant : variants) sorted.push_back(&variant);
  std::stable_sort(sorted.begin(), sorted.end(),
                   [&](const Variant* a, const Variant* b) { return x(First(*a)) < x(First(*b)); });
  std::vector<PlotLine> lines;
  for (const Variant* variant : sorted) {
    const EvaluationReport& first = First(*variant);
    auto line = std::find_if(lines.begin(), lines.end(), [&](const PlotLine& l) { return l.name == name(first); });
    if (line == lines.end()) line = lines.insert(line, {.name = name(first), .points = true});
    line->x.push_back(x(first));
    line->y.push_back(OverSeeds(variant->seeds, y).mean);
  }
  return lines;
}

absl::StatusOr<std::string> Plot(const std::vector<Variant>& variants, const Figure& figure,
                                 const Figure& of_real_images, PlotOptions options) {
  if (variants.empty()) return absl::InvalidArgumentError("there is nothing to plot");
  const bool by_guidance = SameInAll(variants, Steps), one_checkpoint = SameInAll(variants, Checkpoint);
  const Figure x = [by_guidance](const EvaluationReport& r) { return by_guidance ? r.guidance_scale : r.steps; };
  std::vector<PlotLine> lines = LinesOf(variants, x, figure, [&](const EvaluationReport& r) {
    std::string name = one_checkpoint ? r.sampler : absl::StrCat(r.checkpoint, ", ", r.sampler);
    if (!by_guidance && r.guidance_scale != 1) absl::StrAppendFormat(&name, ", guidance %g", r.guidance_scale);
    return name;
  });
  const auto [low, high] = std::minmax_element(
      variants.begin(), variants.end(), [&x](const Variant& a, const Variant& b) { return x(First(a)) < x(First(b)); });
  const EvaluationReport &first = First(*low), &last = First(*high);
  lines.push_back({.name = "real images",
                   .x = {x(first), x(last)},
                   .y = {of_real_images(first), of_real_images(last)},
                   .dashed = true});
  options.title +=
      absl::StrCat(", ", first.count, " images", by_guidance ? absl::StrCat(", ", Counted(first.steps, "step")) : "");
  options.x_label = by_guidance ? "guidance scale" : "denoising steps";
  options.log_x = !by_guidance;
  return DrawPlot(lines, options);
}

// Seed by seed, `variant`'s distance less the first one's: its mean and the mean's standard error.
std::string AgainstFirst(const Variant& variant, const Variant& first) {
  if (&variant == &first) return "";
  std::vector<double> differences;
  for (size_t i = 0; i < std::min(variant.seeds.size(), first.seeds.size()); ++i) {
    differences.push_back(variant.seeds[i].distance.generated - first.seeds[i].distance.generated);
  }
  Spread spread = SpreadOf(differences);
  spread.deviation /= std::sqrt(static_cast<double>(differences.size()));
  return absl::StrCat(spread.mean < 0 ? "" : "+", MeanAndDeviation(spread, 2));
}

std::string Row(const Variant& variant, const Variant& first) {
  using R = EvaluationReport;
  const Accuracy pooled = PooledAccuracy(variant.seeds);
  const Interval interval = WilsonInterval(pooled.right, pooled.of);
  const auto mean = [&](const Figure& figure) { return OverSeeds(variant.seeds, figure).mean; };
  return absl::StrFormat(
      "| %-24s | %13s | %5.2f | %5.2f | %14s | %9.3f | %6.3f | %8.3f | %6.2f (%.2f-%.2f) | %-4s%7.2f |\n", variant.name,
      MeanAndDeviation(OverSeeds(variant.seeds, [](const R& r) { return r.distance.generated; }), 2),
      First(variant).distance.real.mean, mean([](const R& r) { return r.distance.times_floor(); }),
      AgainstFirst(variant, first), mean([](const R& r) { return r.precision.generated; }),
      mean([](const R& r) { return r.recall.generated; }), mean([](const R& r) { return r.coverage.generated; }),
      100 * pooled.overall, 100 * interval.low, 100 * interval.high, absl::StrCat(pooled.worst_class, ":"),
      100 * pooled.worst());
}

}  // namespace

std::string SweepName(const std::string& sampler, int steps, double guidance_scale) {
  const std::string name = steps == 0 ? sampler : absl::StrCat(sampler, "-", steps);
  return guidance_scale == 1 ? name : absl::StrFormat("%s-g%g", name, guidance_scale);
}

std::string FormatSweep(const std::vector<Variant>& variants) {
  std::string table =
      "| Variant                  | Distance      | Floor | Times | To the first   | Precision | Recall | Coverage | "
      "Accuracy, % (95 %)   | Worst class |\n"
      "| ------------------------ | ------------: | ----: | ----: | -------------: | --------: | -----: | -------: | "
      "-------------------: | ----------: |\n";
  for (const Variant& variant : variants) absl::StrAppend(&table, Row(variant, variants[0]));
  return table;
}

absl::StatusOr<std::string> PlotDistances(const std::vector<Variant>& variants) {
  return Plot(
      variants, [](const EvaluationReport& r) { return r.distance.generated; },
      [](const EvaluationReport& r) { return r.distance.real.mean; },
      {.title = "Frechet distance to real images", .y_label = "Frechet distance", .log_y = true});
}

absl::StatusOr<std::string> PlotMisread(const std::vector<Variant>& variants) {
  const auto misread = [](const ReadingFigures& figures) { return 100 * (1 - figures.accuracy.overall); };
  return Plot(
      variants, [misread](const EvaluationReport& r) { return misread(r.reading); },
      [misread](const EvaluationReport& r) { return misread(r.reading_real); },
      {.title = "Images read as another class", .y_label = "%"});
}

}  // namespace denoised
