#include "trainer/evaluation/evaluation_report.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/support/class_names.h"
#include "common/support/clock.h"
#include "common/support/counted.h"
#include "common/support/quoted.h"

namespace denoised {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kFullCount = 10'000;  // at which distances are usually reported
constexpr int kFullDraw = 4'900;    // of such a count half, less what is lost class by class
constexpr int kFewForShares = 100;

// ---- The table ------------------------------------------------------------------------------------------------------

// One row of the main table: `range` belongs to the real value.
std::string Row(const std::string& name, const std::string& generated, const std::string& real,
                const std::string& range = "", const std::string& remark = "") {
  std::string row = absl::StrFormat("%-35s%12s %12s %-18s %s", name, generated, real, range, remark);
  row.erase(row.find_last_not_of(' ') + 1);
  return row + "\n";
}

std::string Number(double value, int digits) { return absl::StrFormat("%.*f", digits, value); }

std::string Percent(double share) { return absl::StrFormat("%.2f %%", 100 * share); }

std::string Range(const Spread& spread, int digits) {
  if (spread.lowest == spread.highest) return "";
  return absl::StrFormat("(%.*f to %.*f)", digits, spread.lowest, digits, spread.highest);
}

std::string DistanceRow(const std::string& name, const Compared& distance) {
  return Row(name, Number(distance.generated, 2), Number(distance.real.mean, 2), Range(distance.real, 2),
             Number(distance.times_floor(), 2) + " times the floor");
}

// The three ways to look at it.
std::string DistanceRows(const EvaluationReport& report) {
  const Compared& limit = report.distance_limit;
  std::string rows = absl::StrCat(DistanceRow("Frechet distance", report.distance),
                                  Row("  of infinitely many", Number(limit.generated, 2), Number(limit.real.mean, 2),
                                      Range(limit.real, 2), absl::StrFormat("%+.2f", limit.above_floor())));
  if (report.distance_of_all.has_value()) {
    absl::StrAppend(&rows, DistanceRow("  of all images", *report.distance_of_all));
  }
  return rows;
}

std::string IntervalOf(const Accuracy& accuracy) {
  if (accuracy.of == 0) return "-";
  const Interval interval = WilsonInterval(accuracy.right, accuracy.of);
  return absl::StrFormat("%.2f-%.2f", 100 * interval.low, 100 * interval.high);
}

std::string ShareRow(const std::string& name, const Compared& share) {
  return Row(name, Number(share.generated, 3), Number(share.real.mean, 3), Range(share.real, 3),
             absl::StrFormat("%+.3f", share.generated - share.real.mean));
}

std::string ClassAndPercent(const Accuracy& accuracy) {
  return absl::StrFormat("%d: %s", accuracy.worst_class, Percent(accuracy.worst()));
}

// A row for a value that generated and test images have alike.
template <typename Figures>
std::string PlainRow(const std::string& name, const Figures& generated, const Figures& real, double Figures::*value,
                     int digits) {
  return Row(name, Number(generated.*value, digits), Number(real.*value, digits));
}

std::string NeighbourRows(const NeighbourFigures& generated, const NeighbourFigures& real) {
  using F = NeighbourFigures;
  return absl::StrCat(PlainRow("Distance to nearest training image", generated, real, &F::distance_median, 2),
                      PlainRow("  5 % are closer than", generated, real, &F::distance_p5, 2),
                      PlainRow("  1 % are closer than", generated, real, &F::distance_p1, 2),
                      PlainRow("Nearest distance over second", generated, real, &F::ratio_median, 3),
                      PlainRow("  5 % are lower than", generated, real, &F::ratio_p5, 3),
                      PlainRow("  1 % are lower than", generated, real, &F::ratio_p1, 3),
                      Row("  below 1/3, as copies are", absl::StrCat(generated.copies), absl::StrCat(real.copies)));
}

std::string MainTable(const EvaluationReport& report) {
  const Accuracy &ours = report.reading.accuracy, &real = report.reading_real.accuracy;
  return absl::StrCat(Row("", "generated", "real"), DistanceRows(report), ShareRow("Precision", report.precision),
                      ShareRow("Recall", report.recall), ShareRow("Density", report.density),
                      ShareRow("Coverage", report.coverage),
                      Row("Class accuracy", Percent(ours.overall), Percent(real.overall)),
                      Row("  95 % interval, %", IntervalOf(ours), IntervalOf(real)),
                      Row("  of the worst class", ClassAndPercent(ours), ClassAndPercent(real)),
                      NeighbourRows(report.neighbours, report.neighbours_real),
                      PlainRow("Mean of pixels", report.pixels, report.pixels_real, &PixelStatistics::mean, 4),
                      PlainRow("Standard deviation of pixels", report.pixels, report.pixels_real,
                               &PixelStatistics::standard_deviation, 4),
                      Row("Pixels that are black", Percent(report.pixels.black), Percent(report.pixels_real.black)));
}

// "-" where there is none.
std::string NumberOrNone(double value, int digits) { return std::isnan(value) ? "-" : Number(value, digits); }

// Figures of class `i`, and its name in the last column, which may be as wide as it likes.
std::string ClassRow(const EvaluationReport& report, size_t i) {
  std::string row = absl::StrFormat("%5d%8d%9d%13s%9s%10s%9s", i, report.reading.labels[i], report.reading.read_as[i],
                                    NumberOrNone(100 * report.reading.accuracy.by_class[i], 1),
                                    NumberOrNone(100 * report.reading_real.accuracy.by_class[i], 1),
                                    NumberOrNone(report.neighbours.distance_median_by_class[i], 2),
                                    NumberOrNone(report.neighbours_real.distance_median_by_class[i], 2));
  if (!AreCalledByNumber(report.class_names)) absl::StrAppend(&row, "  ", report.class_names[i]);
  return row + "\n";
}

std::string ClassTable(const EvaluationReport& report) {
  std::string table = absl::StrFormat("%5s%8s%9s%13s%9s%10s%9s\n", "Class", "Images", "Read as", "Accuracy, %",
                                      "of real", "Distance", "of real");
  for (size_t i = 0; i < report.class_names.size(); ++i) absl::StrAppend(&table, ClassRow(report, i));
  return table;
}

std::string ReferenceText(const EvaluationReport& report) {
  return report.reference == "test" ? absl::StrCat("all ", report.reference_images, " test images")
                                    : absl::StrCat(report.reference_images, " held-out training images");
}

std::string Notes(const EvaluationReport& report) {
  std::string notes = absl::StrFormat(
      "Reference: %s, which these judges have not learnt from if\n"
      "--train_judges made them of the same data. Distances are means of %d draws, the four shares of %d:\n"
      "%d drawn and as many held-out images, each with %s; real: mean\n"
      "(lowest to highest).\n",
      ReferenceText(report), report.draws, report.prdc_draws, report.draw_count,
      report.reference == "test" ? "the test images" : "the held-out images that are left");
  absl::StrAppendFormat(&notes, "Below: all %d generated and all reference images.%s\n", report.count,
                        report.distance_of_all.has_value()
                            ? absl::StrFormat(" Distance of all: of %d, drawn and real.", report.count_of_all)
                            : "");
  absl::StrAppendFormat(
      &notes,
      "Judges: lenet5, which reads %s of the reference, for distances and shares; convnet, which\n"
      "reads %s, for class accuracy. Distances to images: Euclidean, of pixels from 0 to 1; medians.\n",
      Percent(report.lenet5.accuracy), Percent(report.convnet.accuracy));
  if (!report.lenet5.pinned || !report.convnet.pinned) {
    absl::StrAppend(&notes,
                    "NOTE: these are not the judges that come with denoise-eval; figures cannot be compared across\n"
                    "judges.\n");
  }
  if (report.classes_left_out > 0) {
    absl::StrAppendFormat(
        &notes,
        "NOTE: distances and shares leave out %d of %d classes, which have too few images for a draw:\n"
        "ask for more with --count, or give a larger set with --data.\n",
        report.classes_left_out, report.class_names.size());
  }
  if (report.reference_was_learnt) {
    absl::StrAppendFormat(
        &notes,
        "NOTE: the checkpoint has learnt from reference images, so that what it has only copied passes\n"
        "for good: train with --validation_images %d, or compare by --reference test.\n",
        report.held_out_images);
  }
  const bool by_data = report.held_out_images / 2 <= report.count;  // a larger --count makes no larger draws
  if (by_data && report.draw_count < kFullDraw) {
    absl::StrAppendFormat(
        &notes,
        "NOTE: the distances of as few as %d images are too high, real or generated, so that their\n"
        "ratio is too close to 1: compare equal counts only. A larger set has larger draws.%s\n",
        report.draw_count,
        report.draw_count < kFewForShares ? "\nPrecision, recall, density and coverage of so few say nothing." : "");
  } else if (report.count < kFullCount) {
    absl::StrAppendFormat(&notes,
                          "NOTE: the distances of as few as %d images are too high, real or generated, so that their\n"
                          "ratio is too close to 1: compare equal counts only. For a claim, draw %d, with --seeds 3.\n",
                          report.draw_count, kFullCount);
  }
  return notes;
}

// ---- JSON -----------------------------------------------------------------------------------------------------------

// nlohmann writes null for numbers that JSON does not have.
Json ToJson(const Spread& spread) {
  return {{"mean", spread.mean},
          {"lowest", spread.lowest},
          {"highest", spread.highest},
          {"standard_deviation", spread.deviation}};
}

Json ToJson(const Compared& compared) { return {{"generated", compared.generated}, {"real", ToJson(compared.real)}}; }

Json DistanceToJson(const Compared& distance) {
  Json json = ToJson(distance);
  json["times_floor"] = distance.times_floor();
  json["above_floor"] = distance.above_floor();
  return json;
}

Json ToJson(const ReadingFigures& reading) {
  const Interval interval = reading.accuracy.of > 0 ? WilsonInterval(reading.accuracy.right, reading.accuracy.of)
                                                    : Interval{.low = NAN, .high = NAN};
  return {{"overall", reading.accuracy.overall},
          {"interval_95", {interval.low, interval.high}},
          {"by_class", reading.accuracy.by_class},
          {"worst_class", reading.accuracy.worst_class},
          {"worst", reading.accuracy.worst()},
          {"images", reading.labels},
          {"read_as", reading.read_as}};
}

Json ToJson(const NeighbourFigures& figures) {
  return {{"distance", {{"median", figures.distance_median}, {"p5", figures.distance_p5}, {"p1", figures.distance_p1}}},
          {"ratio", {{"median", figures.ratio_median}, {"p5", figures.ratio_p5}, {"p1", figures.ratio_p1}}},
          {"copies", figures.copies},
          {"distance_median_by_class", figures.distance_median_by_class}};
}

Json ToJson(const PixelStatistics& pixels) {
  return {{"mean", pixels.mean}, {"standard_deviation", pixels.standard_deviation}, {"black", pixels.black}};
}

Json ToJson(const JudgeFigures& judge) {
  return {
      {"path", Visible(judge.path)}, {"sha256", judge.sha256}, {"pinned", judge.pinned}, {"accuracy", judge.accuracy}};
}

// The same figure of generated images and of the reference.
template <typename Figures>
Json Pair(const Figures& generated, const Figures& real) {
  return {{"generated", ToJson(generated)}, {"real", ToJson(real)}};
}

Json DataToJson(const EvaluationReport& report) {
  Json sha256 = Json::object();
  for (const auto& [file, digest] : report.data_sha256) sha256[file] = digest;
  return {{"sha256", sha256},
          {"reference", report.reference},
          {"reference_images", report.reference_images},
          {"training_images", report.training_images},
          {"held_out_images", report.held_out_images},
          {"reference_was_learnt", report.reference_was_learnt},
          {"draws", report.draws},
          {"prdc_draws", report.prdc_draws},
          {"draw_count", report.draw_count},
          {"classes_left_out", report.classes_left_out}};
}

Json DistancesToJson(const EvaluationReport& report) {
  Json json = {{"of_a_draw", DistanceToJson(report.distance)}, {"limit", DistanceToJson(report.distance_limit)}};
  if (report.distance_of_all.has_value()) {
    json["of_all"] = DistanceToJson(*report.distance_of_all);
    json["of_all"]["count"] = report.count_of_all;
  }
  return json;
}

}  // namespace

Spread SpreadOf(const std::vector<double>& values) {
  const auto count = static_cast<double>(values.size());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / count;
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return {.mean = mean,
          .lowest = *std::min_element(values.begin(), values.end()),
          .highest = *std::max_element(values.begin(), values.end()),
          .deviation = std::sqrt(squares / (count - 1))};
}

std::string ClassText(const std::vector<std::string>& class_names, size_t number) {
  return AreCalledByNumber(class_names) ? absl::StrCat(number) : absl::StrCat(number, " ", Quoted(class_names[number]));
}

std::string FormatTable(const EvaluationReport& report) {
  const std::string guidance =
      report.guidance_scale == 1 ? "no guidance" : absl::StrFormat("guidance %g", report.guidance_scale);
  const std::string eta = report.eta == 0 ? "" : absl::StrFormat(" (eta %g)", report.eta);
  const std::string title = absl::StrFormat(
      "%s: %d images, %s in %s%s, %s, seed %d\n%d network calls, drawn in %s, scored in %s\n", report.checkpoint,
      report.count, report.sampler, Counted(report.steps, "step"), eta, guidance, report.seed, report.network_calls,
      FormatDuration(report.drawing_seconds), FormatDuration(report.scoring_seconds));
  return absl::StrCat(title, "\n", MainTable(report), "\n", ClassTable(report), "\n", Notes(report));
}

std::string ToJson(const EvaluationReport& report) {
  const Json json = {{"format_version", 3},
                     {"checkpoint",
                      {{"path", Visible(report.checkpoint)},
                       {"sha256", report.checkpoint_sha256},
                       {"architecture", report.architecture},
                       {"parameters", report.parameters},
                       {"prediction_type", report.prediction_type}}},
                     {"class_names", report.class_names},
                     {"sampling",
                      {{"sampler", report.sampler},
                       {"steps", report.steps},
                       {"eta", report.eta},
                       {"precision", report.number_precision},
                       {"guidance_scale", report.guidance_scale},
                       {"seed", report.seed},
                       {"count", report.count},
                       {"network_calls", report.network_calls}}},
                     {"data", DataToJson(report)},
                     {"judges", {{"lenet5", ToJson(report.lenet5)}, {"convnet", ToJson(report.convnet)}}},
                     {"frechet_distance", DistancesToJson(report)},
                     {"precision", ToJson(report.precision)},
                     {"recall", ToJson(report.recall)},
                     {"density", ToJson(report.density)},
                     {"coverage", ToJson(report.coverage)},
                     {"class_accuracy", Pair(report.reading, report.reading_real)},
                     {"nearest_training_image", Pair(report.neighbours, report.neighbours_real)},
                     {"pixels", Pair(report.pixels, report.pixels_real)},
                     {"seconds", {{"drawing", report.drawing_seconds}, {"scoring", report.scoring_seconds}}},
                     {"source_revision", report.source_revision},
                     {"libtorch_version", report.libtorch_version}};
  return json.dump(2) + "\n";
}

}  // namespace denoised
