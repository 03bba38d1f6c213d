#include "client/draw_digit.h"

#include <chrono>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/calls/answer.h"
#include "client/output_files.h"
#include "client/request.h"
#include "client/terminal/progress_display.h"
#include "client/terminal/step_counter.h"
#include "client/terminal/terminal_picture.h"
#include "client/terminal/terminal_sheet.h"
#include "common/image/image.h"
#include "common/support/clock.h"
#include "common/support/file.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

CallOptions WithWaitingShown(const ClientOptions& options, ProgressDisplay& display) {
  CallOptions call = options.call;
  call.on_wait = [&display](double seconds) {
    display.ShowText(absl::StrFormat("the server's queue is full; asking again in %.1f s", seconds));
  };
  return call;
}

// One call for images of one digit, and what came of it.
class DigitDrawing {
 public:
  DigitDrawing(const ClientOptions& options, const OutputFiles& files)
      : options_(options),
        files_(files),
        display_(!options.quiet, options.count == 1 && options.picture != PictureMode::kNever, DetectTerminalPalette()),
        counter_(1, options.count, ExpectedSteps(options)) {}

  absl::Status Draw(DigitClient& client) {
    v1::GenerateDigitRequest request = MakeRequest(options_);
    if (display_.enabled() || !options_.previews_dir.empty()) AskForPreviews(options_, request);
    absl::Status status =
        client.GenerateDigit(request, WithWaitingShown(options_, display_),
                             [this](const v1::GenerateDigitResponse& event) { return OnEvent(event); });
    display_.Clear();
    if (!status.ok() && !images_.empty()) {
      return absl::Status(status.code(), absl::StrCat(status.message(), "\n", images_.size(), " of ", options_.count,
                                                      " images were written"));
    }
    DENOISED_RETURN_IF_ERROR(status);
    return CheckComplete(images_.size(), options_.count);
  }

  const std::vector<GreyImage>& images() const { return images_; }
  // What was written, a line per image.
  const std::vector<std::string>& lines() const { return lines_; }

 private:
  absl::Status OnEvent(const v1::GenerateDigitResponse& event) {
    switch (event.event_case()) {
      case v1::GenerateDigitResponse::kAccepted:
        counter_.SetSteps(event.accepted().steps());
        start_ = std::chrono::steady_clock::now();
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
    DENOISED_ASSIGN_OR_RETURN(const GreyImage frame, ReadPicture(preview.png()));
    DENOISED_ASSIGN_OR_RETURN(const GreyImage small, Resize(frame, kModelSize, Interpolation::kLinear));
    Show(&small);
    return absl::OkStatus();
  }

  absl::Status OnImage(const v1::GenerateDigitResponse::Image& image) {
    const std::string path = files_.image(image.image_index());
    DENOISED_RETURN_IF_ERROR(WriteFileAtomically(path, image.png()));
    DENOISED_ASSIGN_OR_RETURN(GreyImage pixels, ReadPicture(image.png()));
    images_.push_back(std::move(pixels));
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
                                        : DrawnText(images_.size(), options_.count);
    progress.seconds_left = counter_.SecondsLeft(SecondsSince(start_));
    display_.Show(progress, picture);
  }

  const ClientOptions& options_;
  const OutputFiles& files_;
  ProgressDisplay display_;
  StepCounter counter_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();  // again when the call is accepted
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
  if (options.quiet) return absl::OkStatus();
  DENOISED_RETURN_IF_ERROR(PrintPictures(drawing.images(), options.picture));
  std::printf("%s\n", absl::StrJoin(drawing.lines(), "\n").c_str());
  return absl::OkStatus();
}

}  // namespace denoised
