#include "trainer/evaluation/seeds.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/support/counted.h"

namespace denoised {
namespace {

using Json = nlohmann::ordered_json;

// A figure by its names, beside the real images' own.
struct Line {
  std::string name;  // in the table
  std::string key;   // in JSON
  Figure generated;
  Figure real;
  int digits = 3;
};

Line CompareLine(const std::string& name, const std::string& key, Compared EvaluationReport::*figure, int digits) {
  return {.name = name,
          .key = key,
          .generated = [figure](const EvaluationReport& r) { return (r.*figure).generated; },
          .real = [figure](const EvaluationReport& r) { return (r.*figure).real.mean; },
          .digits = digits};
}

Line AllLine(const std::string& name, const std::string& key, double Compared::*value) {
  return {.name = name,
          .key = key,
          .generated = [value](const EvaluationReport& r) { return *r.distance_of_all.*value; },
          .real = [](const EvaluationReport& r) { return r.distance_of_all->real.mean; },
          .digits = 2};
}

double Worst(const Accuracy& accuracy) { return 100 * accuracy.worst(); }

std::vector<Line> Lines(const EvaluationReport& report) {
  using R = EvaluationReport;
  std::vector<Line> lines = {CompareLine("Frechet distance", "distance", &R::distance, 2)};
  lines.push_back({.name = "  times the floor",
                   .key = "times_floor",
                   .generated = [](const R& r) { return r.distance.times_floor(); },
                   .real = [](const R&) { return 1; },
                   .digits = 2});
  lines.push_back(CompareLine("  of infinitely many images", "distance_limit", &R::distance_limit, 2));
  lines.push_back({.name = "    above the floor",
                   .key = "above_floor",
                   .generated = [](const R& r) { return r.distance_limit.above_floor(); },
                   .real = [](const R&) { return 0; },
                   .digits = 2});
  if (report.distance_of_all.has_value()) {
    lines.push_back(AllLine("  of all images", "distance_of_all", &Compared::generated));
    lines.push_back({.name = "    times the floor",
                     .key = "times_floor_of_all",
                     .generated = [](const R& r) { return r.distance_of_all->times_floor(); },
                     .real = [](const R&) { return 1; },
                     .digits = 2});
  }
  lines.push_back(CompareLine("Precision", "precision", &R::precision, 3));
  lines.push_back(CompareLine("Recall", "recall", &R::recall, 3));
  lines.push_back(CompareLine("Density", "density", &R::density, 3));
  lines.push_back(CompareLine("Coverage", "coverage", &R::coverage, 3));
  lines.push_back({.name = "Class accuracy, %",
                   .key = "class_accuracy_percent",
                   .generated = [](const R& r) { return 100 * r.reading.accuracy.overall; },
                   .real = [](const R& r) { return 100 * r.reading_real.accuracy.overall; },
                   .digits = 2});
  lines.push_back({.name = "  of the worst class, %",
                   .key = "worst_class_percent",
                   .generated = [](const R& r) { return Worst(r.reading.accuracy); },
                   .real = [](const R& r) { return Worst(r.reading_real.accuracy); },
                   .digits = 2});
  return lines;
}

std::string SeedsText(const std::vector<EvaluationReport>& seeds) {
  return seeds.size() == 1 ? absl::StrCat("seed ", seeds[0].seed)
                           : absl::StrCat("seeds ", seeds.front().seed, " to ", seeds.back().seed);
}

std::string PooledText(const Accuracy& pooled, const std::vector<std::string>& class_names) {
  const Interval interval = WilsonInterval(pooled.right, pooled.of);
  return absl::StrFormat(
      "Of all %d drawn images %d are read as meant: %.2f %%, 95 %% interval %.2f to %.2f.\n"
      "The worst class of all is %s, with %.2f %%.\n",
      pooled.of, pooled.right, 100 * pooled.overall, 100 * interval.low, 100 * interval.high,
      ClassText(class_names, pooled.worst_class), Worst(pooled));
}

}  // namespace

Spread OverSeeds(const std::vector<EvaluationReport>& seeds, const Figure& figure) {
  std::vector<double> values;
  for (const EvaluationReport& report : seeds) values.push_back(figure(report));
  return SpreadOf(values);
}

Accuracy PooledAccuracy(const std::vector<EvaluationReport>& seeds) {
  Accuracy pooled;
  const size_t classes = seeds[0].reading.labels.size();
  ClassCounts labels(classes);
  std::vector<double> right(classes);
  for (const EvaluationReport& report : seeds) {
    pooled.right += report.reading.accuracy.right;
    pooled.of += report.reading.accuracy.of;
    for (size_t i = 0; i < classes; ++i) {
      const int images = report.reading.labels[i];
      labels[i] += images;
      if (images > 0) right[i] += report.reading.accuracy.by_class[i] * images;
    }
  }
  pooled.overall = static_cast<double>(pooled.right) / static_cast<double>(pooled.of);
  for (size_t i = 0; i < classes; ++i) pooled.by_class.push_back(right[i] / labels[i]);
  pooled.worst_class = WorstClass(pooled.by_class);
  return pooled;
}

std::string MeanAndDeviation(const Spread& spread, int digits) {
  return std::isnan(spread.deviation) ? absl::StrFormat("%.*f", digits, spread.mean)
                                      : absl::StrFormat("%.*f +- %.*f", digits, spread.mean, digits, spread.deviation);
}

std::string FormatSeeds(const std::vector<EvaluationReport>& seeds) {
  const EvaluationReport& first = seeds[0];
  std::string table = absl::StrFormat(
      "%s: %d times %d images, %s in %s%s, %s, %s\n\n%-30s%18s%12s\n", first.checkpoint, seeds.size(), first.count,
      first.sampler, Counted(first.steps, "step"), first.eta == 0 ? "" : absl::StrFormat(" (eta %g)", first.eta),
      first.guidance_scale == 1 ? "no guidance" : absl::StrFormat("guidance %g", first.guidance_scale),
      SeedsText(seeds), "", "generated", "real");
  for (const Line& line : Lines(first)) {
    absl::StrAppendFormat(&table, "%-30s%18s%12.*f\n", line.name,
                          MeanAndDeviation(OverSeeds(seeds, line.generated), line.digits), line.digits,
                          line.real(first));
  }
  return absl::StrCat(table, "\nGenerated: mean and standard deviation of ", seeds.size(), " seeds; real: mean of ",
                      first.draws, " draws, taken as exact.\n", PooledText(PooledAccuracy(seeds), first.class_names));
}

std::string SeedsToJson(const std::vector<EvaluationReport>& seeds) {
  Json figures = Json::object();
  for (const Line& line : Lines(seeds[0])) {
    const Spread spread = OverSeeds(seeds, line.generated);
    Json values = Json::array();
    for (const EvaluationReport& report : seeds) values.push_back(line.generated(report));
    figures[line.key] = {{"values", values},
                         {"mean", spread.mean},
                         {"standard_deviation", spread.deviation},
                         {"real", line.real(seeds[0])}};
  }
  const Accuracy pooled = PooledAccuracy(seeds);
  const Interval interval = WilsonInterval(pooled.right, pooled.of);
  Json numbers = Json::array();
  for (const EvaluationReport& report : seeds) numbers.push_back(report.seed);
  const Json json = {{"format_version", 3},
                     {"checkpoint_sha256", seeds[0].checkpoint_sha256},
                     {"reference", seeds[0].reference},
                     {"class_names", seeds[0].class_names},
                     {"sampler", seeds[0].sampler},
                     {"steps", seeds[0].steps},
                     {"eta", seeds[0].eta},
                     {"precision", seeds[0].number_precision},
                     {"judges", {{"lenet5", seeds[0].lenet5.sha256}, {"convnet", seeds[0].convnet.sha256}}},
                     {"guidance_scale", seeds[0].guidance_scale},
                     {"count", seeds[0].count},
                     {"seeds", numbers},
                     {"figures", figures},
                     {"pooled_class_accuracy",
                      {{"right", pooled.right},
                       {"of", pooled.of},
                       {"overall", pooled.overall},
                       {"interval_95", {interval.low, interval.high}},
                       {"by_class", pooled.by_class}}}};
  return json.dump(2) + "\n";
}

}  // namespace denoised
