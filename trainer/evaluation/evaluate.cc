#include "trainer/evaluation/evaluate.h"

#include <torch/version.h>

#include <algorithm>
#include <chrono>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/command_line/progress_bar.h"
#include "common/image/image.h"
#include "common/support/build_info.h"
#include "common/support/clock.h"
#include "common/support/file.h"
#include "common/support/status_macros.h"
#include "trainer/evaluation/evaluation_sheets.h"

namespace denoised {
namespace {

constexpr int kMinCount = 20, kMaxCount = 100'000;
constexpr uint64_t kSheetSeed = 1;

absl::Status Stopped(size_t drawn, int count) {
  ClearProgress();
  return absl::CancelledError(absl::StrCat("stopped with ", drawn, " of ", count,
                                           " images drawn; they are kept, and the same command goes on from there"));
}

EvaluationReport DescribeRun(const EvaluationOptions& options, const Drawing& drawing) {
  EvaluationReport report;
  report.checkpoint = options.draw.checkpoint;
  report.checkpoint_sha256 = drawing.sha256;
  report.architecture = drawing.metadata.unet.architecture;
  report.parameters = drawing.parameter_count;
  report.prediction_type = PredictionTypeName(drawing.metadata.noise_schedule.prediction_type);
  report.sampler = SamplerName(options.draw.sampler);
  report.steps = drawing.steps;
  report.eta = options.draw.eta;
  report.number_precision = drawing.precision;
  report.guidance_scale = options.draw.guidance_scale;
  report.seed = options.draw.seed;
  report.class_names = drawing.metadata.class_names;
  report.count = options.count;
  report.network_calls = drawing.network_calls;
  report.drawing_seconds = drawing.seconds;
  report.source_revision = kSourceRevision;
  report.libtorch_version = TORCH_VERSION;
  return report;
}

// As many reference images as generated ones, where there are: the closest of more are closer.
absl::StatusOr<std::string> DrawNearest(const Drawing& drawing, const Nearest& nearest, const Ruler& ruler) {
  const Dataset& reference = ruler.reference();
  std::vector<size_t> order(reference.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::shuffle(order.begin(), order.end(), std::mt19937_64(kSheetSeed));
  order.resize(std::min(order.size(), drawing.labels.size()));
  std::vector<uint8_t> pixels, labels;
  std::vector<Neighbours> neighbours;
  for (const size_t index : order) {
    const auto image = reference.pixels.begin() + static_cast<std::ptrdiff_t>(index * kModelPixels);
    pixels.insert(pixels.end(), image, image + kModelPixels);
    labels.push_back(reference.labels[index]);
    neighbours.push_back(nearest.reference[index]);
  }
  return DrawNeighbourSheet(
      {absl::StrCat(drawing.labels.size(), " generated images"), drawing.pixels, drawing.labels, nearest.drawn},
      {absl::StrCat(labels.size(), " real images"), pixels, labels, neighbours}, ruler.training_pixels());
}

absl::Status WriteFiles(const Drawing& drawing, const Nearest& nearest, const Ruler& ruler,
                        const EvaluationReport& report, const std::string& folder) {
  const EvaluationFiles files(folder);
  DENOISED_ASSIGN_OR_RETURN(const std::string contact_sheet,
                            DrawContactSheet(drawing.pixels, drawing.labels, report.class_names));
  DENOISED_RETURN_IF_ERROR(WriteFileAtomically(files.contact_sheet, contact_sheet));
  DENOISED_ASSIGN_OR_RETURN(const std::string nearest_neighbours, DrawNearest(drawing, nearest, ruler));
  DENOISED_RETURN_IF_ERROR(WriteFileAtomically(files.nearest_neighbours, nearest_neighbours));
  return WriteFileAtomically(files.report, ToJson(report));
}

// Whether a checkpoint was trained on these data and fewer of them were held out than for the judges. Not known of one
// that does not say how many.
bool LearntFromReference(const TrainingRecord& training, const EvaluationReport& report) {
  if (report.reference == ReferenceName(Reference::kTest)) return false;
  if (training.data_sha256 != report.data_sha256) return false;
  int held_out = 0;
  for (const auto& [flag, value] : training.flags) {
    if (flag == "--validation_images" && absl::SimpleAtoi(value, &held_out)) return held_out < report.held_out_images;
  }
  return false;
}

}  // namespace

absl::Status CheckCount(int count) {
  if (count >= kMinCount && count <= kMaxCount) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("--count must be ", kMinCount, " to ", kMaxCount, ", got ", count));
}

absl::StatusOr<EvaluationReport> Evaluate(EvaluationOptions options, Ruler& ruler) {
  DENOISED_RETURN_IF_ERROR(CheckCount(options.count));
  options.draw.counts = InProportion(ruler.proportions(), options.count);
  DENOISED_RETURN_IF_ERROR(ruler.CheckCounts(options.draw.counts));
  DENOISED_ASSIGN_OR_RETURN(const Drawing drawing, DrawSamples(options.draw));
  if (drawing.interrupted) return Stopped(drawing.labels.size(), options.count);
  EvaluationReport report = DescribeRun(options, drawing);
  const auto start = std::chrono::steady_clock::now();
  const absl::StatusOr<Nearest> nearest = ruler.Measure(drawing, report);
  if (absl::IsCancelled(nearest.status())) return Stopped(drawing.labels.size(), options.count);
  DENOISED_RETURN_IF_ERROR(nearest.status());
  report.scoring_seconds = SecondsSince(start);
  report.reference_was_learnt = LearntFromReference(drawing.metadata.training, report);
  ClearProgress();
  DENOISED_RETURN_IF_ERROR(WriteFiles(drawing, *nearest, ruler, report, options.draw.out));
  return report;
}

}  // namespace denoised
