#include "client/draw_digit.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/animation.h"
#include "client/await_server.h"
#include "client/calls/answer.h"
#include "client/json_line.h"
#include "client/output_files.h"
#include "client/request.h"
#include "client/terminal/progress_display.h"
#include "client/terminal/step_counter.h"
#include "client/terminal/terminal_picture.h"
#include "client/terminal/terminal_sheet.h"
#include "common/command_line/standard_output.h"
#include "common/image/image.h"
#include "common/image/resize.h"
#include "common/support/clock.h"
#include "common/support/counted.h"
#include "common/support/quoted.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

constexpr uint32_t kAnimationFrames = 50;  // three seconds
constexpr uint32_t kWatchedFrames = 100;

CallOptions WithWaitingShown(const ClientOptions& options, ProgressDisplay& display) {
  CallOptions call = options.call;
  call.on_wait = [&display](double seconds) {
    display.ShowText(absl::StrFormat("the server has no place now; asking again in %.1f s", seconds));
  };
  return call;
}

// What its files are called: one image has one name, however its class was asked for. `number`: what is asked for where
// `class_name` is empty, or what the server says of it.
std::string FileName(int32_t number, const std::string& class_name, const ClientOptions& options) {
  const bool is_number = class_name.empty() || class_name == absl::StrCat(number);
  const std::string name = is_number ? absl::StrCat("digit-", number) : FileSafe(class_name);
  return options.index.has_value() ? absl::StrCat(name, "-", *options.index) : name;
}

// Whether lines go out as images do, for a program that reads them or a file; else they come below the pictures.
bool TellsAtOnce(const ClientOptions& options, const OutputFiles& files) {
  if (options.quiet || files.to_stdout()) return false;
  return options.json || (isatty(STDOUT_FILENO) != 1 && options.picture != PictureMode::kAlways);
}

// One call for images of one class, and what came of it.
class DigitDrawing {
 public:
  DigitDrawing(const ClientOptions& options, OutputFiles& files)
      : options_(options),
        files_(files),
        tells_at_once_(TellsAtOnce(options, files)),
        display_(options.watch || !options.quiet,
                 ImagesWanted(options) == 1 && (options.watch || options.picture != PictureMode::kNever),
                 DetectTerminalPalette()),
        counter_(1, ImagesWanted(options), ExpectedSteps(options, 0)) {}

  bool shows_pictures() const { return display_.pictures(); }

  absl::Status Draw(DigitClient& client) {
    v1::GenerateDigitRequest request = MakeRequest(options_);
    if (display_.enabled() || keeps_frames()) {
      const uint32_t steps = ChainLength(client);
      AskForPreviews(options_, steps, request);
      if ((animated() || options_.watch) && options_.preview_every == 0) {
        const uint32_t frames = options_.watch ? kWatchedFrames : kAnimationFrames;
        request.mutable_preview()->set_every_steps(std::max(1u, steps / frames));
      }
    }
    every_ = request.preview().every_steps();
    absl::Status status =
        client.GenerateDigit(request, WithWaitingShown(options_, display_),
                             [this](const v1::GenerateDigitResponse& event) { return OnEvent(event); });
    display_.Clear();
    if (status.ok()) status = CheckComplete(images_.size(), count());
    return status.ok() ? status : WithWhatWasWritten(status);
  }

  const std::vector<GreyImage>& images() const { return images_; }
  // What was written, a line per image, but for lines that were printed then.
  const std::vector<std::string>& lines() const { return lines_; }
  // Frames that the server left out, as it does when a reader or a machine cannot keep up.
  uint64_t lost_frames() const {
    const uint64_t all = every_ == 0 ? 0 : uint64_t{counter_.steps() / every_} * images_.size();
    return all > frames_ ? all - frames_ : 0;
  }
  uint64_t frames() const { return frames_; }
  bool keeps_frames() const { return animated() || !options_.previews_dir.empty(); }

 private:
  uint32_t count() const { return ImagesWanted(options_); }
  // Of this call; the server's numbers begin at --index.
  uint32_t Place(uint32_t image_index) const { return image_index - options_.index.value_or(0); }
  bool animated() const { return files_.format() != OutputFormat::kPng; }

  // Frames are a part of the steps, and of those the model may have a number of its own.
  uint32_t ChainLength(DigitClient& client) const {
    if (options_.steps > 0 || options_.preview_every > 0) return ExpectedSteps(options_, 0);
    const absl::StatusOr<v1::GetModelResponse> model = client.GetModel(options_.call);
    return ExpectedSteps(options_,
                         model.ok() ? model->distilled_steps() : 0);  // whoever cannot be asked says why later
  }

  absl::Status OnEvent(const v1::GenerateDigitResponse& event) {
    switch (event.event_case()) {
      case v1::GenerateDigitResponse::kAccepted:
        counter_.SetSteps(event.accepted().steps());
        accepted_ = event.accepted();
        start_ = std::chrono::steady_clock::now();
        Show(nullptr);
        return RenameFiles();
      case v1::GenerateDigitResponse::kPreview:
        return OnPreview(event.preview());
      case v1::GenerateDigitResponse::kImage:
        return OnImage(event.image());
      default:
        return absl::OkStatus();  // of a newer server
    }
  }

  // By the class's name, which older servers do not tell.
  absl::Status RenameFiles() {
    if (accepted_.class_name().empty()) return absl::OkStatus();
    return files_.Rename(FileName(accepted_.digit(), accepted_.class_name(), options_));
  }

  absl::Status OnPreview(const v1::GenerateDigitResponse::Preview& preview) {
    if (!options_.previews_dir.empty()) {
      DENOISED_RETURN_IF_ERROR(files_.WritePreview(Place(preview.image_index()), preview.step(), preview.png()));
    }
    ++frames_;
    counter_.Set(0, Place(preview.image_index()), preview.step());
    if (!display_.pictures() && !animated()) {
      Show(nullptr);
      return absl::OkStatus();
    }
    DENOISED_ASSIGN_OR_RETURN(const GreyImage frame, ReadPicture(preview.png()));
    if (animated()) chain_.push_back(frame);
    DENOISED_ASSIGN_OR_RETURN(const GreyImage small, Resize(frame, kModelSize, Interpolation::kLinear));
    Show(&small);
    return absl::OkStatus();
  }

  absl::Status OnImage(const v1::GenerateDigitResponse::Image& image) {
    if (image.image_index() < options_.index.value_or(0)) {
      return absl::UnimplementedError("--index: this server is older, and cannot draw one image of a seed alone");
    }
    const uint32_t place = Place(image.image_index());
    const std::string path = files_.image(place);
    DENOISED_ASSIGN_OR_RETURN(GreyImage pixels, ReadPicture(image.png()));
    if (animated()) {
      chain_.push_back(pixels);
      DENOISED_ASSIGN_OR_RETURN(const std::string animation, EncodeChain());
      DENOISED_RETURN_IF_ERROR(files_.WriteImage(place, animation));
    } else {
      DENOISED_RETURN_IF_ERROR(files_.WriteImage(place, image.png()));
    }
    images_.push_back(std::move(pixels));
    seed_ = image.seed();
    counter_.Finish(0, place);
    DENOISED_RETURN_IF_ERROR(Tell(options_.json ? JsonOf(image, path) : TextOf(image, path)));
    Show(nullptr);
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> EncodeChain() const {
    return files_.format() == OutputFormat::kGif ? EncodeGif(chain_, {}) : EncodeApng(chain_, {});
  }

  absl::Status Tell(const std::string& line) {
    if (!tells_at_once_) {
      lines_.push_back(line);
      return absl::OkStatus();
    }
    display_.Clear();
    return PrintNow(line + "\n");
  }

  // How to have them all, too. Without the words of a status that says no more than that the user gave up.
  absl::Status WithWhatWasWritten(const absl::Status& status) const {
    if (images_.empty() || images_.size() == count() || !files_.kept()) return status;
    const std::string written = absl::StrCat(images_.size(), " of ", count(), " images were written; with --seed ",
                                             seed_, " --count ", count(), " the same command draws them all");
    if (absl::IsCancelled(status)) return absl::CancelledError(written);
    return absl::Status(status.code(), absl::StrCat(status.message(), "\n", written));
  }

  std::string TextOf(const v1::GenerateDigitResponse::Image& image, const std::string& path) const {
    return absl::StrFormat("%s  %dx%d, seed %d, %s in %.1f s (queued %.1f s)", path, image.width(), image.height(),
                           image.seed(), Counted(counter_.steps(), "step"), Seconds(image.denoise_duration()),
                           Seconds(image.queue_duration()));
  }

  // NOTE: the seed as text, as proto3 has it: many readers of JSON keep 53 bits of a number.
  std::string JsonOf(const v1::GenerateDigitResponse::Image& image, const std::string& path) const {
    const int32_t digit = options_.digit.value_or(accepted_.digit());
    nlohmann::ordered_json json = {{"file", files_.kept() ? nlohmann::ordered_json(path) : nullptr},
                                   {"digit", digit},
                                   {"image_index", image.image_index()},
                                   {"seed", absl::StrCat(image.seed())},
                                   {"steps", counter_.steps()},
                                   {"width", image.width()},
                                   {"height", image.height()},
                                   {"denoise_seconds", Seconds(image.denoise_duration())},
                                   {"queue_seconds", Seconds(image.queue_duration())}};
    const std::string& name = accepted_.class_name();  // older servers do not tell
    if (!name.empty() && name != absl::StrCat(digit)) json["class_name"] = name;
    return JsonLine(json);
  }

  std::string What() const {
    const std::string& told = accepted_.class_name();
    const std::string& name = told.empty() ? options_.class_name : told;
    const int32_t number = options_.digit.value_or(accepted_.digit());
    return name.empty() || name == absl::StrCat(number) ? absl::StrCat("digit ", number) : Visible(name);
  }

  void Show(const GreyImage* picture) {
    DrawingProgress progress;
    progress.what = What();
    progress.fraction = counter_.fraction();
    progress.done = count() == 1 ? absl::StrCat("step ", counter_.step(0, 0), "/", counter_.steps())
                                 : DrawnText(images_.size(), count());
    progress.seconds_left = counter_.SecondsLeft(SecondsSince(start_));
    display_.Show(progress, picture);
  }

  const ClientOptions& options_;
  OutputFiles& files_;
  const bool tells_at_once_;
  ProgressDisplay display_;
  StepCounter counter_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();  // again when the call is accepted
  v1::GenerateDigitResponse::Accepted accepted_;
  std::vector<GreyImage> images_;
  std::vector<std::string> lines_;
  uint64_t seed_ = 0;             // of those images
  std::vector<GreyImage> chain_;  // for an animation
  uint32_t every_ = 0;            // steps from frame to frame
  uint64_t frames_ = 0;           // that came
};

void PrintLines(const DigitDrawing& drawing, std::FILE* out) {
  for (const std::string& line : drawing.lines()) absl::FPrintF(out, "%s\n", line);
}

// What came of it, but for what was told before: on stdout, or beside a PNG that goes there on stderr.
absl::Status Report(const DigitDrawing& drawing, const OutputFiles& files, const ClientOptions& options) {
  if (!files.to_stdout() && !options.json) DENOISED_RETURN_IF_ERROR(PrintPictures(drawing.images(), options.picture));
  std::FILE* const out = files.to_stdout() ? stderr : stdout;
  PrintLines(drawing, out);
  if (options.previews_dir.empty() || options.json) return absl::OkStatus();
  if (drawing.lost_frames() == 0) {
    absl::FPrintF(out, "%s  %s\n", options.previews_dir, Counted(drawing.frames(), "frame"));
  }
  return absl::OkStatus();
}

void WarnOfLostFrames(const DigitDrawing& drawing, const OutputFiles& files, const ClientOptions& options) {
  if (!drawing.keeps_frames() || drawing.lost_frames() == 0) return;
  absl::FPrintF(
      stderr,
      "denoise: warning: %d of %d frames are missing in %s: the server leaves out what cannot be sent in time; "
      "ask for fewer with --preview_every, or smaller ones with --size\n",
      drawing.lost_frames(), drawing.lost_frames() + drawing.frames(),
      options.previews_dir.empty() ? files.image(0) : options.previews_dir);
}

absl::Status Draw(DigitClient& client, const ClientOptions& options, OutputFiles files) {
  DigitDrawing drawing(options, files);
  if (options.watch && !drawing.shows_pictures()) {
    return absl::InvalidArgumentError(
        absl::StrCat("watch needs ", PictureNeeds(), "; `denoise 7 --previews_dir frames` keeps the frames elsewhere"));
  }
  DENOISED_RETURN_IF_ERROR(AwaitServer(client, options));
  if (const absl::Status status = drawing.Draw(client); !status.ok()) {
    if (!options.quiet) PrintLines(drawing, files.to_stdout() ? stderr : stdout);
    return status;
  }
  WarnOfLostFrames(drawing, files, options);
  return options.quiet ? absl::OkStatus() : Report(drawing, files, options);
}

}  // namespace

absl::Status DrawDigit(DigitClient& client, const ClientOptions& options) {
  const std::string name = FileName(options.digit.value_or(0), options.class_name, options);
  if (options.watch && options.out.empty()) return Draw(client, options, OutputFiles::None());
  absl::StatusOr<OutputFiles> files =
      OutputFiles::Prepare(options.out, name, ImagesWanted(options), options.previews_dir, /*animations=*/true);
  return files.ok() ? Draw(client, options, *std::move(files)) : files.status();
}

}  // namespace denoised
