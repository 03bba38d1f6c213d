#include "client/commands.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "absl/synchronization/mutex.h"
#include "client/calls/load_test.h"
#include "client/output_files.h"
#include "client/terminal/progress_display.h"
#include "client/terminal/terminal_picture.h"
#include "common/image/image.h"
#include "common/support/file.h"
#include "common/support/status_macros.h"
#include "google/protobuf/util/time_util.h"

namespace denoised {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kDigits = 10;
constexpr int kGridColumns = 5;
constexpr uint32_t kGridCellSize = 96;
constexpr int kGridPadding = 4;
constexpr uint8_t kGridBackground = 40;
constexpr int kTerminalCellSize = 16;  // five of them are 80 columns
constexpr int kFramesPerChain = 20;

double Seconds(const google::protobuf::Duration& duration) {
  return static_cast<double>(google::protobuf::util::TimeUtil::DurationToMicroseconds(duration)) * 1e-6;
}

double SecondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

uint32_t StepsOf(const ClientOptions& options) {
  if (options.steps > 0) return options.steps;
  switch (options.sampler) {
    case v1::SAMPLER_DDIM:
      return 50;
    case v1::SAMPLER_DPM_SOLVER_PP_2M:
      return 20;
    default:
      return 1000;
  }
}

// Asks for the frames that someone will see: in files, or on the terminal.
void AskForPreviews(const ClientOptions& options, bool wanted, v1::GenerateDigitRequest& request) {
  if (!wanted) return;
  const uint32_t every =
      options.preview_every > 0 ? options.preview_every : std::max(1u, StepsOf(options) / kFramesPerChain);
  request.mutable_preview()->set_every_steps(every);
  request.mutable_preview()->set_kind(options.preview_kind);
}

bool ShowPicture(const ClientOptions& options) {
  if (options.quiet || options.picture == PictureMode::kNever) return false;
  return options.picture == PictureMode::kAlways || isatty(STDOUT_FILENO) == 1;
}

CallOptions WithWaitingShown(const ClientOptions& options, ProgressDisplay& display) {
  CallOptions call = options.call;
  call.on_wait = [&display](double seconds) {
    display.ShowText(absl::StrFormat("the server's queue is full; asking again in %.1f s", seconds));
  };
  return call;
}

// Up to ten pictures for the terminal, five to a line.
absl::StatusOr<GreyImage> MakeTerminalSheet(const std::vector<GreyImage>& images) {
  if (images.size() == 1) return Resize(images[0], kModelSize, Interpolation::kLinear);
  std::vector<GreyImage> cells;
  for (size_t i = 0; i < std::min<size_t>(images.size(), kDigits); ++i) {
    DENOISED_ASSIGN_OR_RETURN(GreyImage cell, Resize(images[i], kTerminalCellSize, Interpolation::kLinear));
    cells.push_back(std::move(cell));
  }
  return MakeGrid(cells, kGridColumns, 0, 0);
}

absl::Status PrintPicture(const std::vector<GreyImage>& images) {
  DENOISED_ASSIGN_OR_RETURN(const GreyImage sheet, MakeTerminalSheet(images));
  std::fputs(TerminalPicture(sheet, DetectTerminalPalette()).c_str(), stdout);
  return absl::OkStatus();
}

// Steps done of all images of all calls, for the progress line.
class StepCounter {
 public:
  StepCounter(int calls, uint32_t count, uint32_t steps)
      : steps_(steps), done_(static_cast<size_t>(calls), std::vector<uint32_t>(count)) {}

  // How many steps an image has behind it. Numbers out of range are ignored: they come from the server.
  void Set(int call, uint32_t image, uint32_t step) {
    if (image < done_[call].size()) done_[call][image] = std::min(step, steps_);
  }
  void SetSteps(uint32_t steps) { steps_ = steps; }
  void Finish(int call, uint32_t image) { Set(call, image, steps_); }

  uint32_t steps() const { return steps_; }
  uint32_t step(int call, uint32_t image) const { return image < done_[call].size() ? done_[call][image] : 0; }
  uint64_t total() const { return uint64_t{steps_} * done_.size() * done_[0].size(); }
  uint64_t done() const {
    uint64_t sum = 0;
    for (const std::vector<uint32_t>& images : done_) {
      for (const uint32_t steps : images) sum += steps;
    }
    return sum;
  }
  double fraction() const { return static_cast<double>(done()) / static_cast<double>(std::max<uint64_t>(1, total())); }

 private:
  uint32_t steps_;
  std::vector<std::vector<uint32_t>> done_;
};

double SecondsLeft(double fraction, double seconds_so_far) {
  return fraction <= 0 ? -1 : seconds_so_far * (1 - fraction) / fraction;
}

std::string DoneText(uint64_t done, uint64_t total) { return absl::StrCat(done, " of ", total, " drawn"); }

absl::Status EndedEarly(size_t images, uint32_t count) {
  return absl::InternalError(absl::StrCat("the server ended the call after ", images, " of ", count, " images"));
}

absl::Status Unreadable(const absl::Status& status) {
  return absl::InternalError(absl::StrCat("the server sent a picture that cannot be read: ", status.message()));
}

// ---- One digit ----

// One call for images of one digit, and what came of it.
class DigitDrawing {
 public:
  DigitDrawing(const ClientOptions& options, const OutputFiles& files)
      : options_(options),
        files_(files),
        display_(!options.quiet, options.count == 1 && options.picture != PictureMode::kNever, DetectTerminalPalette()),
        counter_(1, options.count, StepsOf(options)) {}

  absl::Status Draw(DigitClient& client) {
    v1::GenerateDigitRequest request = MakeRequest(options_);
    AskForPreviews(options_, display_.enabled() || !options_.previews_dir.empty(), request);
    absl::Status status =
        client.GenerateDigit(request, WithWaitingShown(options_, display_),
                             [this](const v1::GenerateDigitResponse& event) { return OnEvent(event); });
    display_.Clear();
    if (!status.ok() && !images_.empty()) {
      return absl::Status(status.code(), absl::StrCat(status.message(), "\n", images_.size(), " of ", options_.count,
                                                      " images were written"));
    }
    if (status.ok() && images_.size() < options_.count) return EndedEarly(images_.size(), options_.count);
    return status;
  }

  const std::vector<GreyImage>& images() const { return images_; }
  // What was written, a line per image.
  const std::vector<std::string>& lines() const { return lines_; }

 private:
  absl::Status OnEvent(const v1::GenerateDigitResponse& event) {
    switch (event.event_case()) {
      case v1::GenerateDigitResponse::kAccepted:
        counter_.SetSteps(event.accepted().steps());
        start_ = Clock::now();
        Show(nullptr);
        return absl::OkStatus();
      case v1::GenerateDigitResponse::kPreview:
        return OnPreview(event.preview());
      case v1::GenerateDigitResponse::kImage:
        return OnImage(event.image());
      default:
        return absl::OkStatus();  // of a newer server
    }
  }

  absl::Status OnPreview(const v1::GenerateDigitResponse::Preview& preview) {
    if (!options_.previews_dir.empty()) {
      DENOISED_RETURN_IF_ERROR(
          WriteFileAtomically(files_.preview(preview.image_index(), preview.step()), preview.png()));
    }
    counter_.Set(0, preview.image_index(), preview.step());
    if (!display_.pictures()) {
      Show(nullptr);
      return absl::OkStatus();
    }
    absl::StatusOr<GreyImage> frame = DecodePng(preview.png());
    if (!frame.ok()) return Unreadable(frame.status());
    DENOISED_ASSIGN_OR_RETURN(const GreyImage small, Resize(*frame, kModelSize, Interpolation::kLinear));
    Show(&small);
    return absl::OkStatus();
  }

  absl::Status OnImage(const v1::GenerateDigitResponse::Image& image) {
    const std::string path = files_.image(image.image_index());
    DENOISED_RETURN_IF_ERROR(WriteFileAtomically(path, image.png()));
    absl::StatusOr<GreyImage> decoded = DecodePng(image.png());
    if (!decoded.ok()) return Unreadable(decoded.status());
    images_.push_back(*std::move(decoded));
    counter_.Finish(0, image.image_index());
    lines_.push_back(absl::StrFormat("%s  %dx%d, seed %d, %d steps in %.1f s (queued %.1f s)", path, image.width(),
                                     image.height(), image.seed(), counter_.steps(), Seconds(image.denoise_duration()),
                                     Seconds(image.queue_duration())));
    Show(nullptr);
    return absl::OkStatus();
  }

  void Show(const GreyImage* picture) {
    DrawingProgress progress;
    progress.what = absl::StrCat("digit ", *options_.digit);
    progress.fraction = counter_.fraction();
    progress.done = options_.count == 1 ? absl::StrCat("step ", counter_.step(0, 0), "/", counter_.steps())
                                        : DoneText(images_.size(), options_.count);
    progress.seconds_left = SecondsLeft(progress.fraction, SecondsSince(start_));
    display_.Show(progress, picture);
  }

  const ClientOptions& options_;
  const OutputFiles& files_;
  ProgressDisplay display_;
  StepCounter counter_;
  Clock::time_point start_ = Clock::now();  // again when the call is accepted
  std::vector<GreyImage> images_;
  std::vector<std::string> lines_;
};

}  // namespace

absl::Status DrawDigit(DigitClient& client, const ClientOptions& options) {
  const std::string name = absl::StrCat("digit-", *options.digit);
  DENOISED_ASSIGN_OR_RETURN(const OutputFiles files,
                            OutputFiles::Prepare(options.out, name, options.count, options.previews_dir));
  DigitDrawing drawing(options, files);
  DENOISED_RETURN_IF_ERROR(drawing.Draw(client));
  if (ShowPicture(options)) DENOISED_RETURN_IF_ERROR(PrintPicture(drawing.images()));
  if (!options.quiet) std::printf("%s\n", absl::StrJoin(drawing.lines(), "\n").c_str());
  return absl::OkStatus();
}

// ---- All ten ----

namespace {

// Ten calls at once, and what came of them.
class GridDrawing {
 public:
  GridDrawing(DigitClient& client, const ClientOptions& options, uint64_t seed)
      : client_(client),
        options_(options),
        seed_(seed),
        display_(!options.quiet, /*pictures=*/false, TerminalPalette::kAscii),
        counter_(kDigits, options.per_digit, StepsOf(options)),
        images_(kDigits, std::vector<GreyImage>(options.per_digit)) {}

  // The images by digit, then by number.
  absl::StatusOr<std::vector<std::vector<GreyImage>>> Draw() {
    {
      std::vector<std::jthread> threads;
      for (int digit = 0; digit < kDigits; ++digit) threads.emplace_back([this, digit] { DrawOne(digit); });
    }
    const absl::MutexLock lock(&mu_);
    display_.Clear();
    DENOISED_RETURN_IF_ERROR(first_error_);
    return images_;
  }

  double seconds() const { return SecondsSince(start_); }
  uint32_t steps() {
    const absl::MutexLock lock(&mu_);
    return counter_.steps();
  }

 private:
  void DrawOne(int digit) {
    v1::GenerateDigitRequest request = MakeRequest(options_);
    request.set_digit(digit);
    request.set_count(options_.per_digit);
    request.set_seed(seed_);
    request.mutable_image()->set_size(options_.size.value_or(kGridCellSize));
    AskForPreviews(options_, display_.enabled(), request);
    CallOptions call = options_.call;
    call.count_flag = "--per_digit";
    absl::Status status = client_.GenerateDigit(
        request, call, [this, digit](const v1::GenerateDigitResponse& event) { return OnEvent(digit, event); });
    const absl::MutexLock lock(&mu_);
    const auto drawn = std::count_if(images_[digit].begin(), images_[digit].end(),
                                     [](const GreyImage& image) { return !image.pixels.empty(); });
    if (status.ok() && drawn < options_.per_digit) status = EndedEarly(drawn, options_.per_digit);
    if (status.ok() || !first_error_.ok()) return;
    first_error_ = status;
    client_.Cancel();  // the other nine
  }

  absl::Status OnEvent(int digit, const v1::GenerateDigitResponse& event) {
    const absl::MutexLock lock(&mu_);
    if (event.has_accepted()) {
      counter_.SetSteps(event.accepted().steps());
    } else if (event.has_preview()) {
      counter_.Set(digit, event.preview().image_index(), event.preview().step());
    } else if (event.has_image()) {
      absl::StatusOr<GreyImage> image = DecodePng(event.image().png());
      if (!image.ok()) return Unreadable(image.status());
      if (event.image().image_index() >= images_[digit].size()) return absl::OkStatus();
      images_[digit][event.image().image_index()] = *std::move(image);
      counter_.Finish(digit, event.image().image_index());
      ++finished_;
    }
    DrawingProgress progress;
    progress.what = "ten digits";
    progress.fraction = counter_.fraction();
    progress.done = DoneText(finished_, uint64_t{kDigits} * options_.per_digit);
    progress.seconds_left = SecondsLeft(progress.fraction, seconds());
    display_.Show(progress, nullptr);
    return absl::OkStatus();
  }

  DigitClient& client_;
  const ClientOptions& options_;
  const uint64_t seed_;
  const Clock::time_point start_ = Clock::now();

  absl::Mutex mu_;
  ProgressDisplay display_;  // shown under mu_
  StepCounter counter_ ABSL_GUARDED_BY(mu_);
  std::vector<std::vector<GreyImage>> images_ ABSL_GUARDED_BY(mu_);
  uint64_t finished_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Status first_error_ ABSL_GUARDED_BY(mu_);
};

}  // namespace

absl::Status DrawGrid(DigitClient& client, const ClientOptions& options) {
  DENOISED_ASSIGN_OR_RETURN(const OutputFiles files, OutputFiles::Prepare(options.out, "grid", 1, ""));
  std::random_device random;
  const uint64_t seed = options.seed.value_or(random());
  GridDrawing drawing(client, options, seed);
  DENOISED_ASSIGN_OR_RETURN(const std::vector<std::vector<GreyImage>> images, drawing.Draw());
  std::vector<GreyImage> cells;
  for (uint32_t row = 0; row < options.per_digit; ++row) {
    for (const std::vector<GreyImage>& of_digit : images) cells.push_back(of_digit[row]);
  }
  const int columns = options.per_digit == 1 ? kGridColumns : kDigits;
  DENOISED_ASSIGN_OR_RETURN(const GreyImage grid, MakeGrid(cells, columns, kGridPadding, kGridBackground));
  DENOISED_ASSIGN_OR_RETURN(const std::string png, EncodePng(grid));
  DENOISED_RETURN_IF_ERROR(WriteFileAtomically(files.image(0), png));
  if (ShowPicture(options)) DENOISED_RETURN_IF_ERROR(PrintPicture(cells));
  if (!options.quiet) {
    absl::PrintF("%s  %dx%d, %d of each digit, seed %d, %d steps, in %.1f s\n", files.image(0), grid.width, grid.height,
                 options.per_digit, seed, drawing.steps(), drawing.seconds());
  }
  return absl::OkStatus();
}

// ---- Load ----

std::vector<LoadLevel> LevelsOf(const ClientOptions& options) {
  std::vector<LoadLevel> levels;
  for (const int in_flight : options.concurrency) {
    levels.push_back({.kind = LoadKind::kClosed, .value = static_cast<double>(in_flight)});
  }
  for (const double rate : options.rates) levels.push_back({.kind = LoadKind::kOpen, .value = rate});
  if (!levels.empty()) return levels;
  for (const double in_flight : {1, 2, 4, 8, 16, 32}) levels.push_back({.kind = LoadKind::kClosed, .value = in_flight});
  return levels;
}

// The figures so far, and their plot.
absl::Status WriteResults(const std::string& json, const std::string& plot, const std::vector<LevelResult>& results) {
  DENOISED_RETURN_IF_ERROR(WriteFileAtomically(json, ResultsToJson(results)));
  DENOISED_ASSIGN_OR_RETURN(const std::string png, PlotResults(results));
  return WriteFileAtomically(plot, png);
}

absl::Status Bench(DigitClient& client, const ClientOptions& options) {
  constexpr char kJson[] = ".json";
  if (!options.out.empty() && !absl::EndsWith(options.out, kJson)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--out of bench must end in .json, got ", options.out, "; the plot goes beside it"));
  }
  const std::string plot = absl::StrCat(absl::StripSuffix(options.out, kJson), ".png");
  if (!options.out.empty()) {
    const std::string folder = std::filesystem::path(options.out).parent_path().string();
    DENOISED_RETURN_IF_ERROR(EnsureWritableFolder(folder.empty() ? "." : folder));
  }
  ClientOptions asked = options;
  if (!asked.digit.has_value()) asked.digit = 0;
  LoadTestOptions load_test = options.load_test;
  load_test.timeout_seconds = options.call.timeout_seconds;
  load_test.seed = options.seed.value_or(load_test.seed);
  std::vector<LevelResult> results;
  for (const LoadLevel& level : LevelsOf(options)) {
    DENOISED_ASSIGN_OR_RETURN(LevelResult result, RunLevel(client, MakeRequest(asked), level, load_test));
    if (results.empty()) std::fputs(LevelHeader().c_str(), stdout);
    std::fputs(FormatLevel(result).c_str(), stdout);
    std::fflush(stdout);
    results.push_back(std::move(result));
    if (!options.out.empty()) DENOISED_RETURN_IF_ERROR(WriteResults(options.out, plot, results));
  }
  if (!options.out.empty()) absl::PrintF("Figures:  %s\nPlot:     %s\n", options.out, plot);
  return absl::OkStatus();
}

// ---- The model ----

absl::Status ShowModel(DigitClient& client, const ClientOptions& options) {
  DENOISED_ASSIGN_OR_RETURN(const v1::GetModelResponse model, client.GetModel(options.call));
  const v1::NoiseSchedule& schedule = model.noise_schedule();
  std::vector<std::pair<std::string, std::string>> rows = {
      {"model", model.model_version()},
      {"sha256", model.sha256()},
      {"architecture", absl::StrCat(model.architecture(), ", ", model.parameter_count(), " parameters")},
      {"noise schedule", absl::StrCat(schedule.num_train_timesteps(), " steps, ", schedule.beta_schedule(), ", beta ",
                                      schedule.beta_start(), " to ", schedule.beta_end())},
      {"predicts", schedule.prediction_type()},
      {"classes", absl::StrJoin(model.class_names(), " ")},
      {"guidance", model.supports_guidance() ? "yes" : "no"},
      {"device", model.device()},
      {"limits", absl::StrCat(model.max_images_per_request(), " images per request, ", model.max_queued_images(),
                              " waiting, ", model.max_batch_rows(), " rows per step at most")},
  };
  if (!model.engine().empty()) rows.emplace_back("engine", model.engine());  // older servers do not tell
  for (const auto& [name, value] : rows) std::printf("%-15s %s\n", name.c_str(), value.c_str());
  return absl::OkStatus();
}

}  // namespace denoised
