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

constexpr char kTrainJudges[] =
    "; denoise-eval --train_judges --judges FOLDER, with the same --data and --class_names, trains judges on these";
constexpr int kEnoughToTell = 5;  // images of a class

// Of real images, for a judge that is to judge: halfway from chance to all of them. Those of MNIST read 0.99.
double LeastAccuracy(int num_classes) { return (1 + 1.0 / num_classes) / 2; }

// Disjoint sets of images at random, as indices: as many of each class as each one's counts ask for.
std::vector<std::vector<size_t>> DrawByClass(absl::Span<const uint8_t> labels, std::vector<ClassCounts> counts,
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

bool Fits(const ClassCounts& counts, const ClassCounts& available) {
  return std::equal(counts.begin(), counts.end(), available.begin(), std::less_equal<>());
}

int Sum(const ClassCounts& counts) { return std::accumulate(counts.begin(), counts.end(), 0); }

std::vector<size_t> Join(std::vector<size_t> a, const std::vector<size_t>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

NeighbourFigures SummariseNeighbours(absl::Span<const Neighbours> neighbours, absl::Span<const uint8_t> labels,
                                     int num_classes) {
  std::vector<double> distances, ratios;
  std::vector<std::vector<double>> distances_by_class(num_classes);
  NeighbourFigures figures;
  for (size_t i = 0; i < neighbours.size(); ++i) {
    distances.push_back(neighbours[i].nearest_distance);
    distances_by_class[labels[i]].push_back(neighbours[i].nearest_distance);
    ratios.push_back(neighbours[i].ratio());
    if (ratios.back() < kCopyRatio) ++figures.copies;
  }
  figures.distance_median = Quantile(distances, 0.5);
  figures.distance_p5 = Quantile(distances, 0.05);
  figures.distance_p1 = Quantile(distances, 0.01);
  figures.ratio_median = Quantile(ratios, 0.5);
  figures.ratio_p5 = Quantile(ratios, 0.05);
  figures.ratio_p1 = Quantile(ratios, 0.01);
  for (const std::vector<double>& of_class : distances_by_class) {
    figures.distance_median_by_class.push_back(Quantile(of_class, 0.5));
  }
  return figures;
}

ReadingFigures SummariseReading(absl::Span<const uint8_t> classes, absl::Span<const uint8_t> labels, int num_classes) {
  return {.accuracy = ClassAccuracy(classes, labels, num_classes),
          .labels = CountClasses(labels, num_classes),
          .read_as = CountClasses(classes, num_classes)};
}

JudgeFigures DescribeJudge(const Judge& judge, absl::Span<const uint8_t> classes, absl::Span<const uint8_t> labels) {
  return {.path = judge.info().path,
          .sha256 = judge.info().sha256,
          .pinned = judge.info().pinned,
          .accuracy = ClassAccuracy(classes, labels, judge.info().classes).overall};
}

// One of the four shares, of drawn and of real images.
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
  const Accuracy accuracy = ClassAccuracy(convnet_classes_, reference().labels, num_classes());
  if (accuracy.overall < LeastAccuracy(num_classes())) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "%s reads only %.1f %% of %d real images of %s: it has learnt from other data, or these are too few or too "
        "hard for it%s",
        convnet_->info().path, 100 * accuracy.overall, reference().size(), options_.data, kTrainJudges));
  }
  const ClassCounts counts = CountClasses(reference().labels, num_classes());
  for (int i = 0; i < num_classes(); ++i) {
    if (counts[i] < kEnoughToTell || accuracy.by_class[i] >= 1.0 / num_classes()) continue;
    return absl::FailedPreconditionError(
        absl::StrFormat("%s reads only %.1f %% of %d real images of class %s, less than by chance: it has learnt the "
                        "classes in another order, or other data%s",
                        convnet_->info().path, 100 * accuracy.by_class[i], counts[i],
                        ClassText(held_out_.class_names, i), kTrainJudges));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Judge>> Ruler::LoadJudgeOfTheseClasses(JudgeKind kind) const {
  DENOISED_ASSIGN_OR_RETURN(std::unique_ptr<Judge> judge, LoadJudge(kind, options_.judges, options_.threads));
  if (judge->info().classes == num_classes()) return judge;
  return absl::FailedPreconditionError(absl::StrCat(judge->info().path, " tells ", judge->info().classes,
                                                    " classes apart, and ", options_.data, " has ", num_classes(),
                                                    kTrainJudges));
}

absl::Status Ruler::LoadData() {
  DENOISED_ASSIGN_OR_RETURN(Dataset train, LoadTrainingSet(options_.data, options_.set));
  DENOISED_ASSIGN_OR_RETURN(const SplitIndices split,
                            HeldOutSplit(train.labels, JudgesHeldOut(static_cast<int64_t>(train.size()))));
  held_out_ = Subset(train, split.held_out);
  if (options_.reference == Reference::kTest) {
    DENOISED_ASSIGN_OR_RETURN(
        test_, LoadMnist(options_.data, Split::kTest,
                         {.verify_checksums = options_.set.verify_checksums, .class_names = train.class_names}));
    training_ = std::move(train);
  } else {
    training_ = Subset(train, split.kept);
  }
  return absl::OkStatus();
}

absl::Status Ruler::Load() {
  ShowProgress("reading data and judges");
  DENOISED_RETURN_IF_ERROR(LoadData());
  DENOISED_ASSIGN_OR_RETURN(lenet5_, LoadJudgeOfTheseClasses(JudgeKind::kLeNet5));
  DENOISED_ASSIGN_OR_RETURN(convnet_, LoadJudgeOfTheseClasses(JudgeKind::kConvNet));
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
absl::StatusOr<ClassCounts> Ruler::HalfOfADraw(const ClassCounts& drawn) const {
  const int sets = options_.reference == Reference::kTest ? 1 : 2;  // the reference is taken from them as well
  const int all_drawn = Sum(drawn), count = std::min(all_drawn, static_cast<int>(held_out_.size()) / 2);
  const ClassCounts held_out = CountClasses(held_out_.labels, num_classes()),
                    test = CountClasses(test_.labels, num_classes()), wanted = InProportion(proportions(), count / 2);
  ClassCounts half;
  for (int i = 0; i < num_classes(); ++i) {
    half.push_back(std::min({wanted[i], held_out[i] / (2 * sets), drawn[i] / 2}));
    if (options_.reference == Reference::kTest) half[i] = std::min(half[i], test[i] / 2);
  }
  if (2 * Sum(half) > kNearest) return half;
  return absl::InvalidArgumentError(
      absl::StrCat(all_drawn, " drawn and ", held_out_.size(), " held-out images of ", num_classes(), " classes",
                   options_.reference == Reference::kTest ? absl::StrCat(", and ", test_.size(), " test images,") : "",
                   " are too few to compare: ask for more with --count, or give a larger set with --data"));
}

absl::StatusOr<const Ruler::Floor*> Ruler::FloorOf(const ClassCounts& half) {
  Floor& floor = floors_[half];
  for (int draw = static_cast<int>(floor.distances.size()); draw < kDraws; ++draw) {
    DENOISED_RETURN_IF_ERROR(Begin(absl::StrCat("real images, draw ", draw + 1, " of ", kDraws)));
    DENOISED_RETURN_IF_ERROR(AddDraw(draw, half, floor));
  }
  return &floor;
}

absl::Status Ruler::AddDraw(int draw, const ClassCounts& half, Floor& floor) const {
  Random random(kFloorSeed + draw);
  const auto held_out = DrawByClass(held_out_.labels, {half, half, half, half}, random);
  const Halves halves{.first = held_out[0], .second = held_out[1]};
  Features reference;  // as many as are in the draw
  if (options_.reference == Reference::kTest) {
    const auto test = DrawByClass(test_.labels, {half, half}, random);
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
  DENOISED_RETURN_IF_ERROR(ReadClasses(drawing, report));
  report.pixels = ComputePixelStatistics(drawing.pixels);
  report.pixels_real = ComputePixelStatistics(reference().pixels);
  return FindNearest(drawing, report);
}

absl::Status Ruler::CompareDistributions(const Drawing& drawing, EvaluationReport& report) {
  DENOISED_ASSIGN_OR_RETURN(const ClassCounts half, HalfOfADraw(CountClasses(drawing.labels, num_classes())));
  report.draw_count = 2 * Sum(half);
  report.classes_left_out = static_cast<int>(std::count(half.begin(), half.end(), 0));
  DENOISED_ASSIGN_OR_RETURN(const Floor* floor, FloorOf(half));
  DENOISED_RETURN_IF_ERROR(Begin("features, distances, precision and recall"));
  DENOISED_ASSIGN_OR_RETURN(const Verdicts seen, lenet5_->Look(drawing.pixels));
  std::vector<double> distances, limits;
  std::vector<Prdc> prdc;
  for (int draw = 0; draw < kDraws; ++draw) {
    Random random(kFloorSeed + draw);
    const auto sets = DrawByClass(drawing.labels, {half, half}, random);
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

// As many drawn images as held-out ones, all that the test images' proportions allow, with all test images.
absl::Status Ruler::CompareAll(const Drawing& drawing, const Features& drawn, EvaluationReport& report) const {
  const ClassCounts held_out = CountClasses(held_out_.labels, num_classes()),
                    ours = CountClasses(drawing.labels, num_classes());
  int count = static_cast<int>(std::min(held_out_.size(), drawn.size()));
  ClassCounts counts = InProportion(proportions(), count);
  while (!Fits(counts, held_out) || !Fits(counts, ours)) counts = InProportion(proportions(), --count);
  if (count < 2) return absl::OkStatus();  // too rare a class
  Random random(kFloorSeed);
  const auto real_images = DrawByClass(held_out_.labels, {counts}, random),
             our_images = DrawByClass(drawing.labels, {counts}, random);
  DENOISED_ASSIGN_OR_RETURN(const Gaussian test, FitGaussian(test_features_));
  const auto distance = [&test](const Features& features) -> absl::StatusOr<double> {
    DENOISED_ASSIGN_OR_RETURN(const Gaussian gaussian, FitGaussian(features));
    return FrechetDistance(gaussian, test);
  };
  DENOISED_ASSIGN_OR_RETURN(const double generated, distance(Select(drawn, our_images[0])));
  DENOISED_ASSIGN_OR_RETURN(const double floor, distance(Select(held_out_features_, real_images[0])));
  report.distance_of_all = Compared{.generated = generated, .real = SpreadOf({floor})};
  report.count_of_all = count;
  return absl::OkStatus();
}

absl::Status Ruler::ReadClasses(const Drawing& drawing, EvaluationReport& report) const {
  DENOISED_RETURN_IF_ERROR(Begin("reading the images"));
  DENOISED_ASSIGN_OR_RETURN(const Verdicts drawn, convnet_->Look(drawing.pixels));
  report.reading = SummariseReading(drawn.classes, drawing.labels, num_classes());
  report.reading_real = SummariseReading(convnet_classes_, reference().labels, num_classes());
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
  report.neighbours = SummariseNeighbours(nearest.drawn, drawing.labels, num_classes());
  report.neighbours_real = SummariseNeighbours(reference_neighbours_, reference().labels, num_classes());
  return nearest;
}

}  // namespace denoised
