#include "client/draw_grid.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "client/await_server.h"
#include "client/calls/answer.h"
#include "client/json_line.h"
#include "client/output_files.h"
#include "client/request.h"
#include "client/terminal/progress_display.h"
#include "client/terminal/step_counter.h"
#include "client/terminal/terminal_picture.h"
#include "client/terminal/terminal_sheet.h"
#include "common/image/image.h"
#include "common/image/png.h"
#include "common/support/class_names.h"
#include "common/support/clock.h"
#include "common/support/counted.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

constexpr int kMaxCalls = 10;                // at once
constexpr uint64_t kMaxGridImages = 10'000;  // of all classes together
constexpr uint32_t kGridCellSize = 96;
constexpr int kGridPadding = 4;
constexpr uint8_t kGridBackground = 40;

// A call for each class, ten at once, and what came of them.
class GridDrawing {
 public:
  GridDrawing(DigitClient& client, const ClientOptions& options, const std::vector<std::string>& class_names,
              uint32_t expected_steps, uint64_t seed)
      : client_(client),
        options_(options),
        what_(WhatOf(class_names)),
        classes_(static_cast<int>(class_names.size())),
        expected_steps_(expected_steps),
        seed_(seed),
        per_digit_(options.per_digit.value_or(1)),
        display_(!options.quiet, /*pictures=*/false, TerminalPalette::kAscii),
        counter_(classes_, per_digit_, expected_steps),
        images_(classes_, std::vector<GreyImage>(per_digit_)) {}

  // The images by class, then by number.
  absl::StatusOr<std::vector<std::vector<GreyImage>>> Draw() {
    {
      std::vector<std::jthread> threads;
      for (int i = 0; i < std::min(classes_, kMaxCalls); ++i) threads.emplace_back([this] { DrawWhatIsLeft(); });
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
  static std::string WhatOf(const std::vector<std::string>& class_names) {
    if (!AreCalledByNumber(class_names)) return Counted(class_names.size(), "class", "classes");
    return class_names.size() == 10 ? "ten digits" : Counted(class_names.size(), "digit");
  }

  void DrawWhatIsLeft() {
    for (int digit = next_++; digit < classes_; digit = next_++) DrawOne(digit);
  }

  void DrawOne(int digit) {
    v1::GenerateDigitRequest request = MakeRequest(options_);
    request.set_digit(digit);
    request.set_count(per_digit_);
    request.set_seed(seed_);
    request.mutable_image()->set_size(options_.size.value_or(kGridCellSize));
    if (display_.enabled()) AskForPreviews(options_, expected_steps_, request);
    CallOptions call = options_.call;
    call.count_flag = "--per_digit";
    absl::Status status = client_.GenerateDigit(
        request, call, [this, digit](const v1::GenerateDigitResponse& event) { return OnEvent(digit, event); });
    const absl::MutexLock lock(&mu_);
    const auto drawn = std::count_if(images_[digit].begin(), images_[digit].end(),
                                     [](const GreyImage& image) { return !image.pixels.empty(); });
    if (status.ok()) status = CheckComplete(drawn, per_digit_);
    if (status.ok() || !first_error_.ok()) return;
    first_error_ = status;
    client_.Cancel();  // the others
  }

  absl::Status OnEvent(int digit, const v1::GenerateDigitResponse& event) {
    const absl::MutexLock lock(&mu_);
    if (event.has_accepted()) {
      counter_.SetSteps(event.accepted().steps());
    } else if (event.has_preview()) {
      counter_.Set(digit, event.preview().image_index(), event.preview().step());
    } else if (event.has_image()) {
      DENOISED_ASSIGN_OR_RETURN(GreyImage image, ReadPicture(event.image().png()));
      if (event.image().image_index() >= images_[digit].size()) return absl::OkStatus();
      images_[digit][event.image().image_index()] = std::move(image);
      counter_.Finish(digit, event.image().image_index());
      ++finished_;
    }
    DrawingProgress progress;
    progress.what = what_;
    progress.fraction = counter_.fraction();
    progress.done = DrawnText(finished_, uint64_t{per_digit_} * classes_);
    progress.seconds_left = counter_.SecondsLeft(seconds());
    display_.Show(progress, nullptr);
    return absl::OkStatus();
  }

  DigitClient& client_;
  const ClientOptions& options_;
  const std::string what_;
  const int classes_;
  const uint32_t expected_steps_;
  const uint64_t seed_;
  const uint32_t per_digit_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();

  std::atomic<int> next_ = 0;  // class to be drawn

  absl::Mutex mu_;
  ProgressDisplay display_;  // shown under mu_
  StepCounter counter_ ABSL_GUARDED_BY(mu_);
  std::vector<std::vector<GreyImage>> images_ ABSL_GUARDED_BY(mu_);
  uint64_t finished_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Status first_error_ ABSL_GUARDED_BY(mu_);
};

// Images by class, then by number: the first of all classes, the second of all classes, and so on.
std::vector<GreyImage> RowByRow(const std::vector<std::vector<GreyImage>>& images) {
  std::vector<GreyImage> cells;
  for (size_t row = 0; row < images[0].size(); ++row) {
    for (const std::vector<GreyImage>& of_class : images) cells.push_back(of_class[row]);
  }
  return cells;
}

// INVALID_ARGUMENT for more images than a picture should hold.
absl::Status CheckSize(uint64_t classes, uint64_t per_digit) {
  if (classes == 0) return absl::InternalError("the server's model has no classes");
  if (classes * per_digit <= kMaxGridImages) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("--per_digit: must be at most ", kMaxGridImages / classes,
                                                 " with --grid for ", classes, " classes, got ", per_digit));
}

}  // namespace

int GridColumns(int classes) {
  const auto root = [](double number) { return std::max(1, static_cast<int>(std::ceil(std::sqrt(number)))); };
  int best = root(classes), least = classes;
  for (int columns = best; columns <= root(2.5 * classes); ++columns) {
    const int empty = (columns - classes % columns) % columns;
    if (empty >= least) continue;
    least = empty;
    best = columns;
  }
  return best;
}

absl::Status DrawGrid(DigitClient& client, const ClientOptions& options) {
  DENOISED_ASSIGN_OR_RETURN(const OutputFiles files, OutputFiles::Prepare(options.out, "grid", 1, ""));
  DENOISED_RETURN_IF_ERROR(AwaitServer(client, options));
  DENOISED_ASSIGN_OR_RETURN(const v1::GetModelResponse model, client.GetModel(options.call));
  const std::vector<std::string> class_names(model.class_names().begin(), model.class_names().end());
  DENOISED_RETURN_IF_ERROR(CheckSize(class_names.size(), options.per_digit.value_or(1)));
  const bool digits = AreCalledByNumber(class_names);
  std::random_device random;
  const uint64_t seed = options.seed.value_or(random());
  GridDrawing drawing(client, options, class_names, ExpectedSteps(options, model.distilled_steps()), seed);
  DENOISED_ASSIGN_OR_RETURN(const std::vector<std::vector<GreyImage>> images, drawing.Draw());
  const std::vector<GreyImage> cells = RowByRow(images);
  const auto per_digit = static_cast<uint32_t>(images[0].size());
  const auto classes = static_cast<int>(images.size());
  const int columns = per_digit == 1 ? GridColumns(classes) : classes;
  DENOISED_ASSIGN_OR_RETURN(const GreyImage grid, MakeGrid(cells, columns, kGridPadding, kGridBackground));
  DENOISED_ASSIGN_OR_RETURN(const std::string png, EncodePng(grid));
  DENOISED_RETURN_IF_ERROR(files.WriteImage(0, png));
  if (options.quiet) return absl::OkStatus();
  if (!files.to_stdout() && !options.json) DENOISED_RETURN_IF_ERROR(PrintPictures(cells, options.picture));
  std::FILE* const out = files.to_stdout() ? stderr : stdout;
  if (options.json) {
    nlohmann::ordered_json json = {
        {"file", files.image(0)}, {"per_digit", per_digit}, {"seed", absl::StrCat(seed)},  {"steps", drawing.steps()},
        {"width", grid.width},    {"height", grid.height},  {"seconds", drawing.seconds()}};
    if (!digits) json["class_names"] = class_names;
    absl::FPrintF(out, "%s\n", JsonLine(json));
    return absl::OkStatus();
  }
  absl::FPrintF(out, "%s  %dx%d, %d of each %s, seed %d, %s, in %.1f s\n", files.image(0), grid.width, grid.height,
                per_digit, digits ? "digit" : "class", seed, Counted(drawing.steps(), "step"), drawing.seconds());
  return absl::OkStatus();
}

}  // namespace denoised
