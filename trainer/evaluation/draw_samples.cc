#include "trainer/evaluation/draw_samples.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/checkpoint/checkpoint.h"
#include "common/checkpoint/golden_reference.h"
#include "common/command_line/progress_bar.h"
#include "common/engine/device.h"
#include "common/engine/make_engine.h"
#include "common/engine/self_test.h"
#include "common/image/idx.h"
#include "common/image/image.h"
#include "common/model/precision.h"
#include "common/support/class_names.h"
#include "common/support/clock.h"
#include "common/support/counted.h"
#include "common/support/file.h"
#include "common/support/number_text.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;

// Images in the making at once. On the CPU more are not faster; they only are lost together.
constexpr int kCpuSlots = 64, kCudaSlots = 512;
constexpr double kMaxGuidanceScale = 10;
constexpr uint64_t kMaxSampleBytes = uint64_t{1} << 30;

// What decides the pixels, by the names of the flags.
using Settings = std::vector<std::pair<std::string, std::string>>;

constexpr char kDigitCounts[] = "images of each digit", kClassCounts[] = "images of each class";

// As folders of earlier versions have it, which go on.
std::string CountsName(const ClassCounts& counts) { return counts.size() == 10 ? kDigitCounts : kClassCounts; }

Settings SettingsOf(const Checkpoint& checkpoint, const DrawOptions& options, Precision precision, int steps) {
  return {{"--checkpoint of SHA-256", checkpoint.sha256},
          {"--sampler", SamplerName(options.sampler)},
          {"--steps", absl::StrCat(steps)},
          {"--eta", ExactText(options.eta)},
          {"--guidance_scale", ExactText(options.guidance_scale)},
          {"--seed", absl::StrCat(options.seed)},
          {"--precision", PrecisionName(precision)},
          {CountsName(options.counts), absl::StrJoin(options.counts, " ")}};
}

std::string ImagesHeader(size_t count) { return IdxHeader({static_cast<uint32_t>(count), kModelSize, kModelSize}); }

std::string AsText(absl::Span<const uint8_t> bytes) { return std::string(bytes.begin(), bytes.end()); }

// The images of a run on disk.
class SampleFolder {
 public:
  SampleFolder(const std::string& folder, Settings settings)
      : folder_(folder), files_(folder), settings_(std::move(settings)) {}

  // Reads what an earlier part of the run has drawn, or begins the run.
  absl::Status Open(Drawing& drawing) {
    std::error_code ignored;
    if (!std::filesystem::exists(files_.record, ignored)) {
      if (std::filesystem::exists(files_.images, ignored)) return Damaged(files_.images);
      return SaveRecord(0);
    }
    DENOISED_ASSIGN_OR_RETURN(const std::string record, ReadFile(files_.record, kMaxSampleBytes));
    const Json json = Json::parse(record, /*callback=*/nullptr, /*allow_exceptions=*/false);
    if (!json.is_object() || !json.contains("drawn_with") || !json["drawn_with"].is_object()) {
      return Damaged(files_.record);
    }
    DENOISED_RETURN_IF_ERROR(CheckSettings(json["drawn_with"]));
    if (json.contains("seconds") && json["seconds"].is_number()) drawing.seconds = json["seconds"];
    DENOISED_RETURN_IF_ERROR(ReadImages(drawing));
    // A run that was killed between the two files left images without their labels.
    return drawing.pixels.empty() ? absl::OkStatus() : SaveLabels(drawing);
  }

  // Images first: the record's own content never changes but for the time.
  absl::Status Save(const Drawing& drawing) const {
    const size_t count = drawing.pixels.size() / kModelPixels;
    DENOISED_RETURN_IF_ERROR(
        WriteFileAtomically(files_.images, absl::StrCat(ImagesHeader(count), AsText(drawing.pixels))));
    DENOISED_RETURN_IF_ERROR(SaveLabels(drawing));
    return SaveRecord(drawing.seconds);
  }

 private:
  absl::Status SaveLabels(const Drawing& drawing) const {
    const size_t count = drawing.pixels.size() / kModelPixels;
    return WriteFileAtomically(files_.labels, absl::StrCat(IdxHeader({static_cast<uint32_t>(count)}),
                                                           AsText(absl::MakeSpan(drawing.labels).subspan(0, count))));
  }

  absl::Status SaveRecord(double seconds) const {
    Json drawn_with = Json::object();
    for (const auto& [flag, value] : settings_) drawn_with[flag] = value;
    return WriteFileAtomically(files_.record, Json{{"drawn_with", drawn_with}, {"seconds", seconds}}.dump(2) + "\n");
  }

  absl::Status CheckSettings(const Json& found) const {
    for (const auto& [flag, value] : settings_) {
      const Json was = found.value(flag, Json());
      if (was == value) continue;
      return absl::FailedPreconditionError(absl::StrCat(
          folder_, " holds images drawn with ", flag, " ", was.is_string() ? was.get<std::string>() : "unknown",
          ", not ", value, "; go on with them by that run's own flags, or name another --out"));
    }
    return absl::OkStatus();
  }

  absl::Status ReadImages(Drawing& drawing) const {
    std::error_code ignored;
    if (!std::filesystem::exists(files_.images, ignored)) return absl::OkStatus();  // stopped before the first save
    DENOISED_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(files_.images, kMaxSampleBytes));
    const size_t header_bytes = ImagesHeader(0).size(), pixels = bytes.size() - std::min(bytes.size(), header_bytes);
    const size_t count = pixels / kModelPixels;
    if (pixels % kModelPixels != 0 || count > drawing.labels.size() || !bytes.starts_with(ImagesHeader(count))) {
      return Damaged(files_.images);
    }
    drawing.pixels.assign(bytes.begin() + static_cast<std::ptrdiff_t>(header_bytes), bytes.end());
    return absl::OkStatus();
  }

  absl::Status Damaged(const std::string& path) const {
    return absl::DataLossError(absl::StrCat(path, " is damaged or does not come from denoise-eval; delete ", folder_,
                                            " or name another --out"));
  }

  const std::string folder_;
  const SampleFiles files_;
  const Settings settings_;
};

absl::Status CheckClasses(const Checkpoint& checkpoint, const DrawOptions& options) {
  const std::vector<std::string>& classes = checkpoint.metadata.class_names;
  if (classes == options.class_names) return absl::OkStatus();
  if (classes.size() != options.class_names.size()) {
    return absl::FailedPreconditionError(
        absl::StrCat(options.checkpoint, " draws ", classes.size(), " classes, ",
                     ListClasses(classes, /*with_numbers=*/false), ", and --data has ", options.class_names.size(),
                     ", ", ListClasses(options.class_names, /*with_numbers=*/false), "; give it its own data"));
  }
  return absl::FailedPreconditionError(absl::StrCat(
      options.checkpoint, " draws other classes than --data has: ", ListClasses(classes, /*with_numbers=*/false),
      " in the place of ", ListClasses(options.class_names, /*with_numbers=*/false),
      "; give it its own data, or if they are its own, say by --class_names what their classes are called"));
}

absl::Status CheckGuidance(const Checkpoint& checkpoint, const DrawOptions& options) {
  if (!(options.guidance_scale >= 1 && options.guidance_scale <= kMaxGuidanceScale)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--guidance_scale must be 1 (off) to ", kMaxGuidanceScale, ", got ", options.guidance_scale));
  }
  if (options.guidance_scale == 1 || checkpoint.metadata.null_label.has_value()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("--guidance_scale must be 1 (off) for ", options.checkpoint, ", got ",
                                                 options.guidance_scale,
                                                 ": it was trained without label dropout, so it cannot guide"));
}

absl::StatusOr<StepPlan> PlanOf(const Checkpoint& checkpoint, const DrawOptions& options) {
  if (options.eta != 0 && options.sampler != SamplerType::kDdim) {
    return absl::InvalidArgumentError("--eta is for --sampler ddim only; leave it out or choose that sampler");
  }
  const int learnt = checkpoint.metadata.distilled_steps;
  if (learnt > 0 && (options.sampler != SamplerType::kDdim || options.steps != learnt || options.eta != 0)) {
    return absl::InvalidArgumentError(absl::StrCat(options.checkpoint, " has learnt to draw in ",
                                                   Counted(learnt, "step"),
                                                   " of ddim alone: give --sampler ddim --steps ", learnt));
  }
  DENOISED_ASSIGN_OR_RETURN(const NoiseSchedule schedule, NoiseSchedule::Create(checkpoint.metadata.noise_schedule));
  absl::StatusOr<StepPlan> plan = MakeStepPlan(schedule, {.sampler = options.sampler,
                                                          .steps = options.steps,
                                                          .eta = options.eta,
                                                          .variance_type = checkpoint.metadata.variance_type,
                                                          .clip_sample = checkpoint.metadata.clip_sample});
  if (plan.ok()) return plan;
  return absl::Status(plan.status().code(), absl::StrCat("--", plan.status().message()));  // "steps must be ..."
}

std::vector<uint8_t> LabelsOf(const ClassCounts& counts) {
  std::vector<uint8_t> labels;
  for (size_t i = 0; i < counts.size(); ++i) labels.insert(labels.end(), counts[i], static_cast<uint8_t>(i));
  return labels;
}

// Draws what is missing in a drawing.
class SampleDrawer {
 public:
  SampleDrawer(const DrawOptions& options, const StepPlan& plan, Engine& engine, const SampleFolder& folder,
               Drawing& drawing)
      : options_(options),
        plan_(plan),
        engine_(engine),
        folder_(folder),
        drawing_(drawing),
        seconds_before_(drawing.seconds),
        drawn_before_(drawn()) {}

  absl::Status Run() {
    while (drawn() < drawing_.labels.size() && !drawing_.interrupted) {
      DENOISED_RETURN_IF_ERROR(DrawBatch());
      drawing_.seconds = seconds_before_ + SecondsSince(start_);
      const bool last = drawn() == drawing_.labels.size() || drawing_.interrupted;
      if (!last && SecondsSince(last_save_) < options_.save_every_seconds) continue;
      DENOISED_RETURN_IF_ERROR(folder_.Save(drawing_));
      last_save_ = Clock::now();
    }
    ClearProgress();
    return absl::OkStatus();
  }

 private:
  size_t drawn() const { return drawing_.pixels.size() / kModelPixels; }

  absl::Status DrawBatch() {
    const size_t batch = std::min<size_t>(engine_.num_slots(), drawing_.labels.size() - drawn());
    std::vector<StepRow> rows(batch);
    for (size_t i = 0; i < batch; ++i) {
      rows[i] = {.slot = static_cast<int>(i),
                 .plan = &plan_,
                 .label = drawing_.labels[drawn() + i],
                 .guidance_scale = static_cast<float>(options_.guidance_scale),
                 .seed = options_.seed,
                 .image_index = static_cast<uint32_t>(drawn() + i)};
    }
    for (size_t step = 0; step < plan_.size(); ++step) {
      for (StepRow& row : rows) row.step = static_cast<int>(step);
      DENOISED_RETURN_IF_ERROR(engine_.Step(rows));
      drawing_.interrupted = options_.stop_requested != nullptr && options_.stop_requested();
      if (drawing_.interrupted) return absl::OkStatus();
      ReportProgress(static_cast<double>(batch) * static_cast<double>(step + 1) / static_cast<double>(plan_.size()));
    }
    return Keep(static_cast<int>(batch));
  }

  absl::Status Keep(int batch) {
    std::vector<float> pixels(kModelPixels);
    for (int slot = 0; slot < batch; ++slot) {
      DENOISED_RETURN_IF_ERROR(engine_.Read(slot, FrameKind::kNoisy, absl::MakeSpan(pixels)));
      const GreyImage image = FromModelPixels(pixels, kModelSize, kModelSize, drawing_.metadata.black_below);
      drawing_.pixels.insert(drawing_.pixels.end(), image.pixels.begin(), image.pixels.end());
    }
    return absl::OkStatus();
  }

  // `in_the_making`: images' worth of work done in this batch.
  void ReportProgress(double in_the_making) const {
    const double done = static_cast<double>(drawn()) + in_the_making, all = static_cast<double>(drawing_.labels.size());
    const double images_per_second = (done - static_cast<double>(drawn_before_)) / SecondsSince(start_);
    ShowProgress(absl::StrFormat("drawing %s  %d of %d images  %.1f images/s  %s left", FormatBar(done / all), drawn(),
                                 drawing_.labels.size(), images_per_second,
                                 FormatDuration((all - done) / images_per_second)));
  }

  const DrawOptions& options_;
  const StepPlan& plan_;
  Engine& engine_;
  const SampleFolder& folder_;
  Drawing& drawing_;
  const double seconds_before_;
  const size_t drawn_before_;
  const Clock::time_point start_ = Clock::now();
  Clock::time_point last_save_ = start_;
};

// As a server has it, but without another one in its place: figures are of what was asked for.
absl::StatusOr<std::unique_ptr<Engine>> MakeTrustedEngine(const Checkpoint& checkpoint, const EngineOptions& options) {
  DENOISED_ASSIGN_OR_RETURN(const GoldenReference reference, DrawCheckedReference(checkpoint));
  absl::StatusOr<std::unique_ptr<Engine>> engine = MakeCheckedEngine(Plain(checkpoint), reference, options);
  if (!absl::IsInternal(engine.status())) return engine;
  return absl::InternalError(absl::StrCat(engine.status().message(), "; choose another --device or --precision"));
}

}  // namespace

absl::Status CheckIsComplete(const std::string& folder, int64_t images) {
  const absl::StatusOr<std::string> record = ReadFile(SampleFiles(folder).record, kMaxSampleBytes);
  if (!record.ok()) return absl::OkStatus();
  const Json json = Json::parse(*record, /*callback=*/nullptr, /*allow_exceptions=*/false);
  const Json drawn_with = json.is_object() ? json.value("drawn_with", Json()) : Json();
  if (!drawn_with.is_object()) return absl::OkStatus();
  const Json counts = drawn_with.value(drawn_with.contains(kDigitCounts) ? kDigitCounts : kClassCounts, Json(""));
  int64_t wanted = 0;
  for (const absl::string_view count : absl::StrSplit(counts.is_string() ? counts.get<std::string>() : "", ' ')) {
    if (int64_t number = 0; absl::SimpleAtoi(count, &number)) wanted += number;
  }
  if (images >= wanted) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(folder, " has ", images, " of ", Counted(wanted, "image"),
                   ": its drawing is not complete; the command that began it goes on"));
}

absl::Status CheckDrawing(const DrawOptions& options) {
  DENOISED_ASSIGN_OR_RETURN(const Checkpoint checkpoint, LoadCheckpoint(options.checkpoint));
  DENOISED_RETURN_IF_ERROR(CheckClasses(checkpoint, options));
  DENOISED_RETURN_IF_ERROR(CheckGuidance(checkpoint, options));
  return PlanOf(checkpoint, options).status();
}

absl::StatusOr<Drawing> DrawSamples(const DrawOptions& options) {
  DENOISED_ASSIGN_OR_RETURN(const std::string device, ResolveDevice(options.device));
  DENOISED_ASSIGN_OR_RETURN(const Checkpoint checkpoint, LoadCheckpoint(options.checkpoint));
  DENOISED_RETURN_IF_ERROR(CheckClasses(checkpoint, options));
  DENOISED_RETURN_IF_ERROR(CheckGuidance(checkpoint, options));
  DENOISED_ASSIGN_OR_RETURN(const StepPlan plan, PlanOf(checkpoint, options));
  DENOISED_RETURN_IF_ERROR(EnsureWritableFolder(options.out));
  Drawing drawing;
  drawing.metadata = checkpoint.metadata;
  drawing.sha256 = checkpoint.sha256;
  drawing.parameter_count = checkpoint.parameter_count;
  drawing.steps = static_cast<int>(plan.size());
  drawing.labels = LabelsOf(options.counts);

  const Precision precision = ParsePrecision(options.precision);
  DENOISED_ASSIGN_OR_RETURN(const Precision resolved, ResolvePrecision(precision, device));
  drawing.precision = PrecisionName(resolved);
  SampleFolder folder(options.out, SettingsOf(checkpoint, options, resolved, drawing.steps));
  DENOISED_RETURN_IF_ERROR(folder.Open(drawing));
  DENOISED_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine,
                            MakeTrustedEngine(checkpoint, {.device = device,
                                                           .num_slots = device == "cpu" ? kCpuSlots : kCudaSlots,
                                                           .num_threads = options.threads,
                                                           .precision = precision}));
  DENOISED_RETURN_IF_ERROR(SampleDrawer(options, plan, *engine, folder, drawing).Run());
  drawing.labels.resize(drawing.pixels.size() / kModelPixels);
  const int64_t rows_per_image = plan.size() * (options.guidance_scale == 1 ? 1 : 2);
  drawing.network_calls = static_cast<int64_t>(drawing.labels.size()) * rows_per_image;
  return drawing;
}

}  // namespace denoised
