#include "trainer/evaluation/evaluation_report.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/support/clock.h"

namespace denoised {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kFullCount = 10'000;  // at which distances are usually reported

// ---- The table ------------------------------------------------------------------------------------------------------

// One row of the main table: `range` belongs to the real value.
std::string Row(const std::string& name, const std::string& generated, const std::string& real,
                const std::string& range = "", const std::string& remark = "") {
  std::string row = absl::StrFormat("%-35s%12s%12s  %-18s %s", name, generated, real, range, remark);
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

std::string ShareRow(const std::string& name, const Compared& share) {
  return Row(name, Number(share.generated, 3), Number(share.real.mean, 3), Range(share.real, 3),
             absl::StrFormat("%+.3f", share.generated - share.real.mean));
}

std::string DigitAndPercent(const Accuracy& accuracy) {
  return absl::StrFormat("%d: %s", accuracy.worst_digit, Percent(accuracy.by_digit[accuracy.worst_digit]));
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
  const Accuracy &ours = report.reading.accuracy, &real = report.reading_test.accuracy;
  return absl::StrCat(Row("", "generated", "real"),
                      DistanceRow("Frechet distance to test images", report.distance_to_test),
                      DistanceRow("Frechet distance to training images", report.distance_to_training),
                      ShareRow("Precision", report.precision), ShareRow("Recall", report.recall),
                      Row("Class accuracy", Percent(ours.overall), Percent(real.overall)),
                      Row("  of the worst digit", DigitAndPercent(ours), DigitAndPercent(real)),
                      NeighbourRows(report.neighbours, report.neighbours_test),
                      PlainRow("Mean of pixels", report.pixels, report.pixels_test, &PixelStatistics::mean, 4),
                      PlainRow("Standard deviation of pixels", report.pixels, report.pixels_test,
                               &PixelStatistics::standard_deviation, 4),
                      Row("Pixels that are black", Percent(report.pixels.black), Percent(report.pixels_test.black)));
}

// A row with a value for each digit; "-" where there is none.
std::string DigitRow(const std::string& name, const std::array<double, kDigits>& values, int digits) {
  std::string row = absl::StrFormat("%-28s", name);
  for (const double value : values) {
    absl::StrAppend(&row, std::isnan(value) ? absl::StrFormat("%7s", "-") : absl::StrFormat("%7.*f", digits, value));
  }
  return row + "\n";
}

template <typename Values>
std::array<double, kDigits> Scaled(const Values& values, double factor) {
  std::array<double, kDigits> scaled;
  std::transform(values.begin(), values.end(), scaled.begin(), [factor](double value) { return factor * value; });
  return scaled;
}

std::string DigitTable(const EvaluationReport& report) {
  std::array<double, kDigits> digits;
  std::iota(digits.begin(), digits.end(), 0);
  return absl::StrCat(DigitRow("Digit", digits, 0), DigitRow("Images", Scaled(report.reading.labels, 1), 0),
                      DigitRow("Read as", Scaled(report.reading.read_as, 1), 0),
                      DigitRow("Accuracy, %", Scaled(report.reading.accuracy.by_digit, 100), 1),
                      DigitRow("  of test images, %", Scaled(report.reading_test.accuracy.by_digit, 100), 1),
                      DigitRow("Nearest distance, median", report.neighbours.distance_median_by_digit, 2),
                      DigitRow("  of test images", report.neighbours_test.distance_median_by_digit, 2));
}

std::string Notes(const EvaluationReport& report) {
  std::string notes = absl::StrFormat(
      "Real, in the first row, precision and recall: %d draws of %d training images, mean (lowest to\n"
      "highest); in the second row, of %d test images; in the others, all %d test images.\n"
      "Judges: lenet5, which reads %s of the test images, for the first four rows; convnet, which\n"
      "reads %s, for class accuracy. Distances to images: Euclidean, of pixels from 0 to 1; medians.\n",
      report.floor_draws, report.floor_count, report.test_floor_count, report.test_images,
      Percent(report.lenet5.test_accuracy), Percent(report.convnet.test_accuracy));
  if (!report.lenet5.pinned || !report.convnet.pinned) {
    absl::StrAppend(&notes,
                    "NOTE: these are not the judges that come with denoise-eval; figures cannot be compared across\n"
                    "judges.\n");
  }
  if (report.count < kFullCount) {
    absl::StrAppend(
        &notes,
        absl::StrFormat("NOTE: the Frechet distances of as few as %d images are too high, real or generated, so that\n"
                        "their ratio is too close to 1: compare equal counts only. For a claim, draw %d.\n",
                        report.count, kFullCount));
  }
  if (report.floor_count < report.count) {
    absl::StrAppend(&notes, absl::StrFormat("NOTE: there are not enough real images for a floor of %d; that of %d is a "
                                            "little too high.\n",
                                            report.count, report.floor_count));
  }
  return notes;
}

// ---- JSON -----------------------------------------------------------------------------------------------------------

// nlohmann writes null for numbers that JSON does not have.
Json ToJson(const Spread& spread) {
  return {{"mean", spread.mean}, {"lowest", spread.lowest}, {"highest", spread.highest}};
}

Json ToJson(const Compared& compared) { return {{"generated", compared.generated}, {"real", ToJson(compared.real)}}; }

Json DistanceToJson(const Compared& distance) {
  Json json = ToJson(distance);
  json["times_floor"] = distance.times_floor();
  json["above_floor"] = distance.above_floor();
  return json;
}

Json ToJson(const ReadingFigures& reading) {
  return {{"overall", reading.accuracy.overall},
          {"by_digit", reading.accuracy.by_digit},
          {"worst_digit", reading.accuracy.worst_digit},
          {"worst", reading.accuracy.by_digit[reading.accuracy.worst_digit]},
          {"images", reading.labels},
          {"read_as", reading.read_as}};
}

Json ToJson(const NeighbourFigures& figures) {
  return {{"distance", {{"median", figures.distance_median}, {"p5", figures.distance_p5}, {"p1", figures.distance_p1}}},
          {"ratio", {{"median", figures.ratio_median}, {"p5", figures.ratio_p5}, {"p1", figures.ratio_p1}}},
          {"copies", figures.copies},
          {"distance_median_by_digit", figures.distance_median_by_digit}};
}

Json ToJson(const PixelStatistics& pixels) {
  return {{"mean", pixels.mean}, {"standard_deviation", pixels.standard_deviation}, {"black", pixels.black}};
}

Json ToJson(const JudgeFigures& judge) {
  return {
      {"path", judge.path}, {"sha256", judge.sha256}, {"pinned", judge.pinned}, {"test_accuracy", judge.test_accuracy}};
}

// The same figure of generated and of test images.
template <typename Figures>
Json Pair(const Figures& generated, const Figures& test) {
  return {{"generated", ToJson(generated)}, {"test", ToJson(test)}};
}

Json DataToJson(const EvaluationReport& report) {
  Json sha256 = Json::object();
  for (const auto& [file, digest] : report.data_sha256) sha256[file] = digest;
  return {{"sha256", sha256},
          {"training_images", report.training_images},
          {"test_images", report.test_images},
          {"floor_draws", report.floor_draws},
          {"floor_count", report.floor_count},
          {"test_floor_count", report.test_floor_count},
          {"precision_recall_count", report.precision_recall_count}};
}

}  // namespace

Spread SpreadOf(const std::vector<double>& values) {
  return {.mean = std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size()),
          .lowest = *std::min_element(values.begin(), values.end()),
          .highest = *std::max_element(values.begin(), values.end())};
}

std::string FormatTable(const EvaluationReport& report) {
  const std::string guidance =
      report.guidance_scale == 1 ? "no guidance" : absl::StrFormat("guidance %g", report.guidance_scale);
  const std::string eta = report.eta == 0 ? "" : absl::StrFormat(" (eta %g)", report.eta);
  const std::string title = absl::StrFormat(
      "%s: %d images, %s in %d steps%s, %s, seed %d\n%d network calls, drawn in %s, scored in %s\n", report.checkpoint,
      report.count, report.sampler, report.steps, eta, guidance, report.seed, report.network_calls,
      FormatDuration(report.drawing_seconds), FormatDuration(report.scoring_seconds));
  return absl::StrCat(title, "\n", MainTable(report), "\n", DigitTable(report), "\n", Notes(report));
}

std::string ToJson(const EvaluationReport& report) {
  const Json json = {{"format_version", 1},
                     {"checkpoint",
                      {{"path", report.checkpoint},
                       {"sha256", report.checkpoint_sha256},
                       {"architecture", report.architecture},
                       {"parameters", report.parameters},
                       {"prediction_type", report.prediction_type}}},
                     {"sampling",
                      {{"sampler", report.sampler},
                       {"steps", report.steps},
                       {"eta", report.eta},
                       {"guidance_scale", report.guidance_scale},
                       {"seed", report.seed},
                       {"count", report.count},
                       {"network_calls", report.network_calls}}},
                     {"data", DataToJson(report)},
                     {"judges", {{"lenet5", ToJson(report.lenet5)}, {"convnet", ToJson(report.convnet)}}},
                     {"frechet_distance",
                      {{"to_test", DistanceToJson(report.distance_to_test)},
                       {"to_training", DistanceToJson(report.distance_to_training)}}},
                     {"precision", ToJson(report.precision)},
                     {"recall", ToJson(report.recall)},
                     {"class_accuracy", Pair(report.reading, report.reading_test)},
                     {"nearest_training_image", Pair(report.neighbours, report.neighbours_test)},
                     {"pixels", Pair(report.pixels, report.pixels_test)},
                     {"seconds", {{"drawing", report.drawing_seconds}, {"scoring", report.scoring_seconds}}},
                     {"source_revision", report.source_revision},
                     {"libtorch_version", report.libtorch_version}};
  return json.dump(2) + "\n";
}

}  // namespace denoised
