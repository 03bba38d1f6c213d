#include "trainer/evaluation/evaluate.h"

#include <torch/version.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/command_line/progress_bar.h"
#include "common/image/image.h"
#include "common/support/build_info.h"
#include "common/support/file.h"
#include "common/support/status_macros.h"
#include "trainer/evaluation/evaluation_sheets.h"
#include "trainer/judges/figures.h"
#include "trainer/judges/judges.h"

namespace denoised {
namespace {

using Clock = std::chrono::steady_clock;
using Random = std::mt19937_64;

constexpr int kMinCount = 10, kMaxCount = 100'000;
constexpr int kFloorDraws = 3;
constexpr int kMaxPrecisionRecallCount = 5000;
constexpr int kNearest = 5;             // k of precision and recall
constexpr double kCopyRatio = 1.0 / 3;  // Gu et al., arXiv 2310.02664
constexpr uint64_t kFloorSeed = 1;      // not --seed: the floor of a count is always the same

std::vector<size_t> AllOf(size_t count) {
  std::vector<size_t> indices(count);
  std::iota(indices.begin(), indices.end(), size_t{0});
  return indices;
}

std::vector<size_t> DrawSome(size_t from, size_t count, Random& random) {
  std::vector<size_t> indices = AllOf(from);
  std::shuffle(indices.begin(), indices.end(), random);
  indices.resize(count);
  return indices;
}

// So many of each digit, at random.
std::vector<size_t> DrawByDigit(absl::Span<const uint8_t> labels, DigitCounts counts, Random& random) {
  std::vector<size_t> drawn;
  for (const size_t index : DrawSome(labels.size(), labels.size(), random)) {
    if (counts[labels[index]]-- > 0) drawn.push_back(index);
  }
  return drawn;
}

// The largest count, at most `wanted`, for which there are enough images of each digit.
int LargestCount(const DigitCounts& available, const DigitCounts& histogram, int wanted) {
  const auto enough = [&](int count) {
    const DigitCounts counts = InProportion(histogram, count);
    return std::equal(counts.begin(), counts.end(), available.begin(), std::less_equal<>());
  };
  while (!enough(wanted)) --wanted;
  return wanted;
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

ReadingFigures SummariseReading(const Verdicts& verdicts, absl::Span<const uint8_t> labels) {
  return {.accuracy = ClassAccuracy(verdicts.classes, labels),
          .labels = CountDigits(labels),
          .read_as = CountDigits(verdicts.classes)};
}

absl::Status Stopped(size_t drawn, int count) {
  ClearProgress();
  return absl::CancelledError(absl::StrCat("stopped with ", drawn, " of ", count,
                                           " images drawn; they are kept, and the same command goes on from there"));
}

// From a drawing to its report.
class Evaluation {
 public:
  Evaluation(const EvaluationOptions& options, const Dataset& train, const Dataset& test, const Drawing& drawing)
      : options_(options), train_(train), test_(test), drawing_(drawing) {}

  absl::StatusOr<EvaluationReport> Run(Judge& lenet5, Judge& convnet) {
    DescribeRun();
    DENOISED_RETURN_IF_ERROR(CompareDistributions(lenet5));
    DENOISED_RETURN_IF_ERROR(ReadDigits(convnet));
    DENOISED_RETURN_IF_ERROR(FindNearest());
    report_.pixels = ComputePixelStatistics(drawing_.pixels);
    report_.pixels_test = ComputePixelStatistics(test_.pixels);
    report_.scoring_seconds = std::chrono::duration<double>(Clock::now() - start_).count();
    ClearProgress();
    DENOISED_RETURN_IF_ERROR(WriteFiles());
    return report_;
  }

 private:
  // A stage of some seconds.
  absl::Status Begin(const std::string& stage) const {
    ShowProgress(absl::StrCat("scoring: ", stage));
    if (options_.draw.stop_requested == nullptr || !options_.draw.stop_requested()) return absl::OkStatus();
    return Stopped(report_.count, report_.count);
  }

  void DescribeRun() {
    report_.checkpoint = options_.draw.checkpoint;
    report_.checkpoint_sha256 = drawing_.sha256;
    report_.architecture = drawing_.metadata.unet.architecture;
    report_.parameters = drawing_.parameter_count;
    report_.prediction_type = PredictionTypeName(drawing_.metadata.noise_schedule.prediction_type);
    report_.sampler = SamplerName(options_.draw.sampler);
    report_.steps = drawing_.steps;
    report_.eta = options_.draw.eta;
    report_.guidance_scale = options_.draw.guidance_scale;
    report_.seed = options_.draw.seed;
    report_.count = options_.count;
    report_.network_calls = drawing_.network_calls;
    report_.drawing_seconds = drawing_.seconds;
    report_.source_revision = kSourceRevision;
    report_.libtorch_version = TORCH_VERSION;
    report_.data_sha256 = train_.sha256;
    report_.data_sha256.insert(report_.data_sha256.end(), test_.sha256.begin(), test_.sha256.end());
    report_.training_images = static_cast<int>(train_.size());
    report_.test_images = static_cast<int>(test_.size());
    report_.floor_draws = kFloorDraws;
    const DigitCounts histogram = CountDigits(test_.labels);
    report_.floor_count = LargestCount(CountDigits(train_.labels), histogram, options_.count);
    report_.test_floor_count = std::min(options_.count, report_.test_images);
    report_.precision_recall_count =
        std::min({kMaxPrecisionRecallCount, report_.floor_count, report_.test_floor_count});
  }

  JudgeFigures DescribeJudge(const Judge& judge, const Verdicts& of_test) const {
    return {.path = judge.info().path,
            .sha256 = judge.info().sha256,
            .pinned = judge.info().pinned,
            .test_accuracy = ClassAccuracy(of_test.classes, test_.labels).overall};
  }

  absl::Status CompareDistributions(Judge& lenet5) {
    DENOISED_RETURN_IF_ERROR(Begin("features of all images"));
    DENOISED_ASSIGN_OR_RETURN(const Verdicts generated, lenet5.Look(drawing_.pixels));
    DENOISED_ASSIGN_OR_RETURN(const Verdicts train, lenet5.Look(train_.pixels));
    DENOISED_ASSIGN_OR_RETURN(const Verdicts test, lenet5.Look(test_.pixels));
    report_.lenet5 = DescribeJudge(lenet5, test);
    DENOISED_RETURN_IF_ERROR(Begin("distance, precision and recall"));
    const DigitCounts histogram = CountDigits(test_.labels);
    std::vector<Features> train_draws, test_draws;
    for (int draw = 0; draw < kFloorDraws; ++draw) {
      Random random(kFloorSeed + draw);
      train_draws.push_back(
          Select(train.features, DrawByDigit(train_.labels, InProportion(histogram, report_.floor_count), random)));
      test_draws.push_back(
          Select(test.features, DrawByDigit(test_.labels, InProportion(histogram, report_.test_floor_count), random)));
    }
    DENOISED_ASSIGN_OR_RETURN(report_.distance_to_test, Distance(generated.features, train_draws, test.features));
    DENOISED_ASSIGN_OR_RETURN(report_.distance_to_training, Distance(generated.features, test_draws, train.features));
    return ComputePrecisionAndRecall(generated.features, train_draws, test.features);
  }

  static absl::StatusOr<Compared> Distance(const Features& generated, const std::vector<Features>& draws,
                                           const Features& reference) {
    DENOISED_ASSIGN_OR_RETURN(const Gaussian target, FitGaussian(reference));
    const auto distance = [&target](const Features& features) -> absl::StatusOr<double> {
      DENOISED_ASSIGN_OR_RETURN(const Gaussian gaussian, FitGaussian(features));
      return FrechetDistance(gaussian, target);
    };
    std::vector<double> floor(draws.size());
    for (size_t i = 0; i < draws.size(); ++i) {
      DENOISED_ASSIGN_OR_RETURN(floor[i], distance(draws[i]));
    }
    DENOISED_ASSIGN_OR_RETURN(const double ours, distance(generated));
    return Compared{.generated = ours, .real = SpreadOf(floor)};
  }

  absl::Status ComputePrecisionAndRecall(const Features& generated, const std::vector<Features>& draws,
                                         const Features& test) {
    Random random(kFloorSeed);
    const auto some = [&](const Features& features) {
      return Select(features, DrawSome(features.size(), report_.precision_recall_count, random));
    };
    const Features reference = some(test);
    std::vector<double> precision(draws.size()), recall(draws.size());
    for (size_t i = 0; i < draws.size(); ++i) {
      DENOISED_ASSIGN_OR_RETURN(const PrecisionRecall real,
                                ComputePrecisionRecall(reference, some(draws[i]), kNearest));
      precision[i] = real.precision;
      recall[i] = real.recall;
    }
    DENOISED_ASSIGN_OR_RETURN(const PrecisionRecall ours, ComputePrecisionRecall(reference, some(generated), kNearest));
    report_.precision = {.generated = ours.precision, .real = SpreadOf(precision)};
    report_.recall = {.generated = ours.recall, .real = SpreadOf(recall)};
    return absl::OkStatus();
  }

  absl::Status ReadDigits(Judge& convnet) {
    DENOISED_RETURN_IF_ERROR(Begin("reading the digits"));
    DENOISED_ASSIGN_OR_RETURN(const Verdicts generated, convnet.Look(drawing_.pixels));
    DENOISED_ASSIGN_OR_RETURN(const Verdicts test, convnet.Look(test_.pixels));
    report_.convnet = DescribeJudge(convnet, test);
    report_.reading = SummariseReading(generated, drawing_.labels);
    report_.reading_test = SummariseReading(test, test_.labels);
    return absl::OkStatus();
  }

  absl::Status FindNearest() {
    DENOISED_RETURN_IF_ERROR(Begin("nearest training images"));
    const int threads = options_.draw.threads;
    DENOISED_ASSIGN_OR_RETURN(nearest_, FindNeighbours(drawing_.pixels, train_.pixels, threads));
    DENOISED_ASSIGN_OR_RETURN(nearest_of_test_, FindNeighbours(test_.pixels, train_.pixels, threads));
    report_.neighbours = SummariseNeighbours(nearest_, drawing_.labels);
    report_.neighbours_test = SummariseNeighbours(nearest_of_test_, test_.labels);
    return absl::OkStatus();
  }

  absl::Status WriteFiles() const {
    const EvaluationFiles files(options_.draw.out);
    DENOISED_ASSIGN_OR_RETURN(const std::string contact_sheet, DrawContactSheet(drawing_.pixels, drawing_.labels));
    DENOISED_RETURN_IF_ERROR(WriteFileAtomically(files.contact_sheet, contact_sheet));
    DENOISED_ASSIGN_OR_RETURN(const std::string nearest_neighbours, DrawNearest());
    DENOISED_RETURN_IF_ERROR(WriteFileAtomically(files.nearest_neighbours, nearest_neighbours));
    return WriteFileAtomically(files.report, ToJson(report_));
  }

  // As many test images as generated ones, where there are: the closest of more are closer.
  absl::StatusOr<std::string> DrawNearest() const {
    Random random(kFloorSeed);
    std::vector<uint8_t> pixels, labels;
    std::vector<Neighbours> neighbours;
    const DigitCounts counts = InProportion(CountDigits(test_.labels), report_.test_floor_count);
    for (const size_t index : DrawByDigit(test_.labels, counts, random)) {
      const auto image = test_.pixels.begin() + static_cast<std::ptrdiff_t>(index * kModelPixels);
      pixels.insert(pixels.end(), image, image + kModelPixels);
      labels.push_back(test_.labels[index]);
      neighbours.push_back(nearest_of_test_[index]);
    }
    return DrawNeighbourSheet(
        {absl::StrCat(options_.count, " generated images"), drawing_.pixels, drawing_.labels, nearest_},
        {absl::StrCat(labels.size(), " test images"), pixels, labels, neighbours}, train_.pixels);
  }

  const EvaluationOptions& options_;
  const Dataset& train_;
  const Dataset& test_;
  const Drawing& drawing_;
  const Clock::time_point start_ = Clock::now();
  std::vector<Neighbours> nearest_, nearest_of_test_;
  EvaluationReport report_;
};

}  // namespace

absl::StatusOr<EvaluationReport> Evaluate(EvaluationOptions options) {
  if (options.count < kMinCount || options.count > kMaxCount) {
    return absl::InvalidArgumentError(
        absl::StrCat("--count must be ", kMinCount, " to ", kMaxCount, ", got ", options.count));
  }
  // Whatever may be missing is found out before hours of drawing.
  ShowProgress("reading data and judges");
  DENOISED_ASSIGN_OR_RETURN(const Dataset train, LoadMnist(options.data, Split::kTrain, options.mnist));
  DENOISED_ASSIGN_OR_RETURN(const Dataset test, LoadMnist(options.data, Split::kTest, options.mnist));
  const int threads = options.draw.threads;
  DENOISED_ASSIGN_OR_RETURN(const std::unique_ptr<Judge> lenet5,
                            LoadJudge(JudgeKind::kLeNet5, options.judges, threads));
  DENOISED_ASSIGN_OR_RETURN(const std::unique_ptr<Judge> convnet,
                            LoadJudge(JudgeKind::kConvNet, options.judges, threads));
  options.draw.counts = InProportion(CountDigits(test.labels), options.count);
  DENOISED_ASSIGN_OR_RETURN(const Drawing drawing, DrawSamples(options.draw));
  if (drawing.interrupted) return Stopped(drawing.labels.size(), options.count);
  return Evaluation(options, train, test, drawing).Run(*lenet5, *convnet);
}

}  // namespace denoised
