#include "trainer/evaluation/ruler.h"

#include <algorithm>
#include <numeric>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/command_line/progress_bar.h"
#include "common/support/status_macros.h"
#include "trainer/data/held_out_split.h"
#include "trainer/data/mnist.h"

namespace denoised {
namespace {

using Random = std::mt19937_64;

constexpr int kDraws = 30;
constexpr int kPrdcDraws = 5;           // precision and its kin take a second each
constexpr int kNearest = 5;             // k of precision and its kin
constexpr double kCopyRatio = 1.0 / 3;  // Gu et al., arXiv 2310.02664
constexpr uint64_t kFloorSeed = 1;      // not --seed: the floor of a count is always the same

// Of real images, for a judge that is to judge: chance is 0.1, and those of MNIST read 0.99.
constexpr double kLeastAccuracy = 0.5;

// Disjoint sets of images at random, as indices: as many of each digit as each one's counts ask for.
std::vector<std::vector<size_t>> DrawByDigit(absl::Span<const uint8_t> labels, std::vector<DigitCounts> counts,
                                             Random& random) {
  std::vector<size_t> order(labels.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::shuffle(order.begin(), order.end(), random);
  std::vector<std::vector<size_t>> sets(counts.size());
  for (const size_t index : order) {
    for (size_t set = 0; set < sets.size(); ++set) {
      if (counts[set][labels[index]] == 0) continue;
      --counts[set][labels[index]];
      sets[set].push_back(index);
      break;
    }
  }
  return sets;
}

bool Fits(const DigitCounts& counts, const DigitCounts& available) {
  return std::equal(counts.begin(), counts.end(), available.begin(), std::less_equal<>());
}

std::vector<size_t> Join(std::vector<size_t> a, const std::vector<size_t>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

NeighbourFigures SummariseNeighbours(absl::Span<const Neighbours> neighbours, absl::Span<const uint8_t> labels) {
  std::vector<double> distances, ratios;
  std::array<std::vector<double>, kDigits> distances_by_digit;
  NeighbourFigures figures;
  for (size_t i = 0; i < neighbours.size(); ++i) {
    distances.push_back(neighbours[i].nearest_distance);
    distances_by_digit[labels[i]].push_back(neighbours[i].nearest_distance);
    ratios.push_back(neighbours[i].ratio());
    if (ratios.back() < kCopyRatio) ++figures.copies;
  }
  figures.distance_median = Quantile(distances, 0.5);
  figures.distance_p5 = Quantile(distances, 0.05);
  figures.distance_p1 = Quantile(distances, 0.01);
  figures.ratio_median = Quantile(ratios, 0.5);
  figures.ratio_p5 = Quantile(ratios, 0.05);
  figures.ratio_p1 = Quantile(ratios, 0.01);
  for (int digit = 0; digit < kDigits; ++digit) {
    figures.distance_median_by_digit[digit] = Quantile(distances_by_digit[digit], 0.5);
  }
  return figures;
}

ReadingFigures SummariseReading(absl::Span<const uint8_t> classes, absl::Span<const uint8_t> labels) {
  return {.accuracy = ClassAccuracy(classes, labels), .labels = CountDigits(labels), .read_as = CountDigits(classes)};
}

JudgeFigures DescribeJudge(const Judge& judge, absl::Span<const uint8_t> classes, absl::Span<const uint8_t> labels) {
  return {.path = judge.info().path,
          .sha256 = judge.info().sha256,
          .pinned = judge.info().pinned,
          .accuracy = ClassAccuracy(classes, labels).overall};
}

// One of the four shares, of drawn and of real digits.
Compared Shares(const std::vector<Prdc>& drawn, const std::vector<Prdc>& real, double Prdc::*share) {
  const auto values = [share](const std::vector<Prdc>& all) {
    std::vector<double> picked;
    for (const Prdc& one : all) picked.push_back(one.*share);
    return picked;
  };
  return {.generated = SpreadOf(values(drawn)).mean, .real = SpreadOf(values(real))};
}

}  // namespace

std::string ReferenceName(Reference reference) { return reference == Reference::kTest ? "test" : "held_out"; }

std::vector<size_t> Ruler::Halves::both() const { return Join(first, second); }

absl::StatusOr<std::unique_ptr<Ruler>> Ruler::Make(const RulerOptions& options) {
  std::unique_ptr<Ruler> ruler(new Ruler(options));
  DENOISED_RETURN_IF_ERROR(ruler->Load());
  return ruler;
}

// Figures of a judge that cannot read the real images say nothing.
absl::Status Ruler::CheckJudgeKnowsTheData() const {
  const double accuracy = ClassAccuracy(convnet_classes_, reference().labels).overall;
  if (accuracy >= kLeastAccuracy) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrFormat(
      "%s reads only %.1f %% of %d real images of %s: it has learnt from other data; denoise-eval --train_judges "
      "--judges FOLDER trains judges on these",
      convnet_->info().path, 100 * accuracy, reference().size(), options_.data));
}

absl::Status Ruler::Load() {
  ShowProgress("reading data and judges");
  DENOISED_ASSIGN_OR_RETURN(Dataset train, LoadMnist(options_.data, Split::kTrain, options_.mnist));
  DENOISED_ASSIGN_OR_RETURN(const SplitIndices split,
                            HeldOutSplit(train.labels, JudgesHeldOut(static_cast<int64_t>(train.size()))));
  held_out_ = Subset(train, split.held_out);
  if (options_.reference == Reference::kTest) {
    DENOISED_ASSIGN_OR_RETURN(test_, LoadMnist(options_.data, Split::kTest, options_.mnist));
    training_ = std::move(train);
  } else {
    training_ = Subset(train, split.kept);
  }
  DENOISED_ASSIGN_OR_RETURN(lenet5_, LoadJudge(JudgeKind::kLeNet5, options_.judges, options_.threads));
  DENOISED_ASSIGN_OR_RETURN(convnet_, LoadJudge(JudgeKind::kConvNet, options_.judges, options_.threads));
  DENOISED_ASSIGN_OR_RETURN(Verdicts held_out, lenet5_->Look(held_out_.pixels));
  DENOISED_ASSIGN_OR_RETURN(Verdicts test, lenet5_->Look(test_.pixels));
  DENOISED_ASSIGN_OR_RETURN(Verdicts read, convnet_->Look(reference().pixels));
  lenet5_classes_ = options_.reference == Reference::kTest ? std::move(test.classes) : std::move(held_out.classes);
  convnet_classes_ = std::move(read.classes);
  held_out_features_ = std::move(held_out.features);
  test_features_ = std::move(test.features);
  return CheckJudgeKnowsTheData();
}

absl::Status Ruler::Begin(const std::string& stage) const {
  ShowProgress(absl::StrCat("scoring: ", stage));
  if (options_.stop_requested == nullptr || !options_.stop_requested()) return absl::OkStatus();
  return absl::CancelledError("stopped while scoring");
}

// In the reference's proportions, and so that draws differ: of the held-out images half at most.
DigitCounts Ruler::HalfOfADraw(const DigitCounts& drawn) const {
  const int sets = options_.reference == Reference::kTest ? 1 : 2;  // the reference is taken from them as well
  const int count = std::min(std::accumulate(drawn.begin(), drawn.end(), 0), static_cast<int>(held_out_.size()) / 2);
  const DigitCounts held_out = CountDigits(held_out_.labels), wanted = InProportion(proportions(), count / 2);
  DigitCounts half;
  for (int digit = 0; digit < kDigits; ++digit) {
    half[digit] = std::min({wanted[digit], held_out[digit] / (2 * sets), drawn[digit] / 2});
  }
  return half;
}

absl::StatusOr<const Ruler::Floor*> Ruler::FloorOf(const DigitCounts& half) {
  Floor& floor = floors_[half];
  for (int draw = static_cast<int>(floor.distances.size()); draw < kDraws; ++draw) {
    DENOISED_RETURN_IF_ERROR(Begin(absl::StrCat("real digits, draw ", draw + 1, " of ", kDraws)));
    DENOISED_RETURN_IF_ERROR(AddDraw(draw, half, floor));
  }
  return &floor;
}

absl::Status Ruler::AddDraw(int draw, const DigitCounts& half, Floor& floor) const {
  Random random(kFloorSeed + draw);
  const auto held_out = DrawByDigit(held_out_.labels, {half, half, half, half}, random);
  const Halves halves{.first = held_out[0], .second = held_out[1]};
  Features reference;  // as many as are in the draw
  if (options_.reference == Reference::kTest) {
    const auto test = DrawByDigit(test_.labels, {half, half}, random);
    reference = Select(test_features_, Join(test[0], test[1]));
    if (draw == 0) {
      DENOISED_ASSIGN_OR_RETURN(const Gaussian gaussian, FitGaussian(test_features_));
      floor.references.assign(kDraws, gaussian);
    }
  } else {
    reference = Select(held_out_features_, Join(held_out[2], held_out[3]));
    DENOISED_ASSIGN_OR_RETURN(const Gaussian gaussian, FitGaussian(reference));
    floor.references.push_back(gaussian);
  }
  if (draw < kPrdcDraws) {
    DENOISED_ASSIGN_OR_RETURN(const Prdc prdc,
                              ComputePrdc(reference, Select(held_out_features_, halves.both()), kNearest));
    floor.prdc_references.push_back(std::move(reference));
    floor.prdc.push_back(prdc);
  }
  DENOISED_ASSIGN_OR_RETURN(const Distances distances, Measure(held_out_features_, halves, floor.references[draw]));
  floor.distances.push_back(distances.of_all);
  floor.limits.push_back(distances.limit);
  return absl::OkStatus();
}

// A finite number n of images adds about c / n to a distance (Chong and Forsyth, arXiv 1911.07023), so twice that of
// all less that of half as many is free of it.
absl::StatusOr<Ruler::Distances> Ruler::Measure(const Features& features, const Halves& halves,
                                                const Gaussian& reference) {
  const auto distance = [&](const std::vector<size_t>& images) -> absl::StatusOr<double> {
    DENOISED_ASSIGN_OR_RETURN(const Gaussian gaussian, FitGaussian(Select(features, images)));
    return FrechetDistance(gaussian, reference);
  };
  DENOISED_ASSIGN_OR_RETURN(const double of_all, distance(halves.both()));
  DENOISED_ASSIGN_OR_RETURN(const double of_first, distance(halves.first));
  DENOISED_ASSIGN_OR_RETURN(const double of_second, distance(halves.second));
  return Distances{.of_all = of_all, .limit = 2 * of_all - (of_first + of_second) / 2};
}

absl::StatusOr<Nearest> Ruler::Measure(const Drawing& drawing, EvaluationReport& report) {
  report.reference = ReferenceName(options_.reference);
  report.reference_images = static_cast<int>(reference().size());
  report.training_images = static_cast<int>(training_.size());
  report.held_out_images = static_cast<int>(held_out_.size());
  report.data_sha256 = training_.sha256;
  report.data_sha256.insert(report.data_sha256.end(), test_.sha256.begin(), test_.sha256.end());
  report.lenet5 = DescribeJudge(*lenet5_, lenet5_classes_, reference().labels);
  report.convnet = DescribeJudge(*convnet_, convnet_classes_, reference().labels);
  DENOISED_RETURN_IF_ERROR(CompareDistributions(drawing, report));
  DENOISED_RETURN_IF_ERROR(ReadDigits(drawing, report));
  report.pixels = ComputePixelStatistics(drawing.pixels);
  report.pixels_real = ComputePixelStatistics(reference().pixels);
  return FindNearest(drawing, report);
}

absl::Status Ruler::CompareDistributions(const Drawing& drawing, EvaluationReport& report) {
  const DigitCounts half = HalfOfADraw(CountDigits(drawing.labels));
  report.draw_count = 2 * std::accumulate(half.begin(), half.end(), 0);
  if (report.draw_count <= kNearest) {
    return absl::InvalidArgumentError(absl::StrCat(
        drawing.labels.size(), " drawn and ", held_out_.size(),
        " held-out digits are too few to compare: ask for more with --count, or give a larger set with --data"));
  }
  DENOISED_ASSIGN_OR_RETURN(const Floor* floor, FloorOf(half));
  DENOISED_RETURN_IF_ERROR(Begin("features, distances, precision and recall"));
  DENOISED_ASSIGN_OR_RETURN(const Verdicts seen, lenet5_->Look(drawing.pixels));
  std::vector<double> distances, limits;
  std::vector<Prdc> prdc;
  for (int draw = 0; draw < kDraws; ++draw) {
    Random random(kFloorSeed + draw);
    const auto sets = DrawByDigit(drawing.labels, {half, half}, random);
    const Halves halves{.first = sets[0], .second = sets[1]};
    DENOISED_ASSIGN_OR_RETURN(const Distances both, Measure(seen.features, halves, floor->references[draw]));
    distances.push_back(both.of_all);
    limits.push_back(both.limit);
    if (draw >= kPrdcDraws) continue;
    DENOISED_RETURN_IF_ERROR(Begin("precision and recall"));
    DENOISED_ASSIGN_OR_RETURN(
        const Prdc one, ComputePrdc(floor->prdc_references[draw], Select(seen.features, halves.both()), kNearest));
    prdc.push_back(one);
  }
  report.draws = kDraws;
  report.prdc_draws = kPrdcDraws;
  report.distance = {.generated = SpreadOf(distances).mean, .real = SpreadOf(floor->distances)};
  report.distance_limit = {.generated = SpreadOf(limits).mean, .real = SpreadOf(floor->limits)};
  report.precision = Shares(prdc, floor->prdc, &Prdc::precision);
  report.recall = Shares(prdc, floor->prdc, &Prdc::recall);
  report.density = Shares(prdc, floor->prdc, &Prdc::density);
  report.coverage = Shares(prdc, floor->prdc, &Prdc::coverage);
  return options_.reference == Reference::kTest ? CompareAll(drawing, seen.features, report) : absl::OkStatus();
}

// As many drawn digits as held-out ones, all that the test images' proportions allow, with all test images.
absl::Status Ruler::CompareAll(const Drawing& drawing, const Features& drawn, EvaluationReport& report) const {
  const DigitCounts held_out = CountDigits(held_out_.labels), digits = CountDigits(drawing.labels);
  int count = static_cast<int>(std::min(held_out_.size(), drawn.size()));
  DigitCounts counts = InProportion(proportions(), count);
  while (!Fits(counts, held_out) || !Fits(counts, digits)) counts = InProportion(proportions(), --count);
  Random random(kFloorSeed);
  const auto real = DrawByDigit(held_out_.labels, {counts}, random),
             ours = DrawByDigit(drawing.labels, {counts}, random);
  DENOISED_ASSIGN_OR_RETURN(const Gaussian test, FitGaussian(test_features_));
  const auto distance = [&test](const Features& features) -> absl::StatusOr<double> {
    DENOISED_ASSIGN_OR_RETURN(const Gaussian gaussian, FitGaussian(features));
    return FrechetDistance(gaussian, test);
  };
  DENOISED_ASSIGN_OR_RETURN(const double generated, distance(Select(drawn, ours[0])));
  DENOISED_ASSIGN_OR_RETURN(const double floor, distance(Select(held_out_features_, real[0])));
  report.distance_of_all = Compared{.generated = generated, .real = SpreadOf({floor})};
  report.count_of_all = count;
  return absl::OkStatus();
}

absl::Status Ruler::ReadDigits(const Drawing& drawing, EvaluationReport& report) const {
  DENOISED_RETURN_IF_ERROR(Begin("reading the digits"));
  DENOISED_ASSIGN_OR_RETURN(const Verdicts drawn, convnet_->Look(drawing.pixels));
  report.reading = SummariseReading(drawn.classes, drawing.labels);
  report.reading_real = SummariseReading(convnet_classes_, reference().labels);
  return absl::OkStatus();
}

absl::StatusOr<Nearest> Ruler::FindNearest(const Drawing& drawing, EvaluationReport& report) {
  DENOISED_RETURN_IF_ERROR(Begin("nearest training images"));
  const NeighbourOptions options{.threads = options_.threads, .stop_requested = options_.stop_requested};
  if (reference_neighbours_.empty()) {
    DENOISED_ASSIGN_OR_RETURN(reference_neighbours_, FindNeighbours(reference().pixels, training_.pixels, options));
  }
  Nearest nearest{.drawn = {}, .reference = reference_neighbours_};
  DENOISED_ASSIGN_OR_RETURN(nearest.drawn, FindNeighbours(drawing.pixels, training_.pixels, options));
  report.neighbours = SummariseNeighbours(nearest.drawn, drawing.labels);
  report.neighbours_real = SummariseNeighbours(reference_neighbours_, reference().labels);
  return nearest;
}

}  // namespace denoised
