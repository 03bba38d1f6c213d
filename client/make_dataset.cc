#include "client/make_dataset.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "client/await_server.h"
#include "client/calls/answer.h"
#include "client/dataset_files.h"
#include "client/json_line.h"
#include "client/request.h"
#include "client/terminal/progress_display.h"
#include "common/image/image.h"
#include "common/image/resize.h"
#include "common/support/class_names.h"
#include "common/support/clock.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kMaxClasses = 256;      // labels are bytes
constexpr uint32_t kPerDigit = 6000;  // about MNIST's own
constexpr uint32_t kMaxImagesPerCall = 50;
constexpr uint32_t kFewestCalls = 4, kMaxCalls = 64;  // where the server has room: not all end together
constexpr int kPatience = 1000;                       // times that a full queue is asked again

// How the work is shared out, so that the server always has two steps' worth of images and its queue room for others.
struct Shares {
  uint32_t images_per_call = 1;
  uint32_t calls = 1;
};

Shares SharesFor(const v1::GetModelResponse& model) {
  const uint32_t rows = std::max(1u, model.max_batch_rows());
  const uint32_t images = std::max(1u, std::min(2 * rows, model.max_queued_images() / 2));
  const uint32_t most = std::clamp(model.max_images_per_request(), 1u, kMaxImagesPerCall);
  Shares shares;
  shares.images_per_call = std::clamp(images / kFewestCalls, 1u, most);
  shares.calls = std::clamp((images + shares.images_per_call - 1) / shares.images_per_call, 1u, kMaxCalls);
  return shares;
}

// What decides the pixels. The seed is null where the user leaves it to an earlier run or to chance.
Json DrawnWith(const ClientOptions& options, const v1::GetModelResponse& model) {
  const bool is_student = model.distilled_steps() > 0 && options.sampler == v1::SAMPLER_UNSPECIFIED;
  const v1::Sampler sampler = is_student ? v1::SAMPLER_DDIM : options.sampler;
  return {{"model_sha256", model.sha256()},
          {"model_version", model.model_version()},
          {"--seed", options.seed.has_value() ? Json(absl::StrCat(*options.seed)) : Json()},
          {"--sampler", SamplerFlag(sampler)},
          {"--steps", ExpectedSteps(options, model.distilled_steps())},
          {"--eta", options.eta.value_or(0)},
          {"--guidance_scale", options.guidance_scale.value_or(1)},
          {"--size", options.size.value_or(kModelSize)}};
}

absl::Status CheckClasses(const v1::GetModelResponse& model) {
  if (model.class_names_size() == 0) return absl::InternalError("the server's model has no classes");
  if (model.class_names_size() <= kMaxClasses) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("the server's model has ", model.class_names_size(),
                                                    " classes; labels in MNIST's format are bytes, which tell ",
                                                    kMaxClasses, " apart"));
}

// Calls that draw, each a few images of one class, and the blocks of a call for each class that go to the files in
// order.
class DatasetDrawing {
 public:
  DatasetDrawing(DigitClient& client, const ClientOptions& options, const v1::GetModelResponse& model, uint64_t seed,
                 DatasetFiles& files)
      : client_(client),
        options_(options),
        shares_(SharesFor(model)),
        seed_(seed),
        model_version_(model.model_version()),
        classes_(static_cast<uint32_t>(model.class_names_size())),
        size_(options.size.value_or(kModelSize)),
        per_digit_(options.per_digit.value_or(kPerDigit)),
        first_image_(static_cast<uint32_t>(files.images()) / classes_),
        drawn_(files.images()),
        files_(files),
        display_(!options.quiet, /*pictures=*/false, TerminalPalette::kAscii) {}

  absl::Status Run() {
    {
      std::vector<std::jthread> threads;
      for (uint32_t i = 0; i < shares_.calls; ++i) threads.emplace_back([this] { DrawWhatIsLeft(); });
    }
    const absl::MutexLock lock(&mu_);
    display_.Clear();
    return first_error_;
  }

  double seconds() const { return SecondsSince(start_); }
  int64_t drawn_now() const { return files_.images() - int64_t{first_image_} * classes_; }

 private:
  // Images [begin, end) of a class.
  struct Call {
    uint32_t block = 0, digit = 0, begin = 0, end = 0;
  };
  using Block = std::vector<std::string>;  // pixels by class, empty until they are drawn

  bool TakeCall(Call& call) {
    const absl::MutexLock lock(&mu_);
    call.block = next_call_ / classes_;
    call.digit = next_call_ % classes_;
    const uint64_t begin = first_image_ + uint64_t{call.block} * shares_.images_per_call;
    if (!first_error_.ok() || begin >= per_digit_) return false;
    call.begin = static_cast<uint32_t>(begin);
    call.end = static_cast<uint32_t>(std::min<uint64_t>(per_digit_, begin + shares_.images_per_call));
    ++next_call_;
    return true;
  }

  void DrawWhatIsLeft() {
    for (Call call; TakeCall(call);) {
      absl::Status status = Draw(call);
      if (status.ok()) continue;
      const absl::MutexLock lock(&mu_);
      if (first_error_.ok()) first_error_ = std::move(status);
      client_.Cancel();  // the others
    }
  }

  absl::Status Draw(const Call& call) {
    v1::GenerateDigitRequest request = MakeRequest(options_);
    request.set_digit(static_cast<int32_t>(call.digit));
    request.set_count(call.end - call.begin);
    request.set_first_image(call.begin);
    request.set_seed(seed_ + call.digit);
    request.mutable_image()->set_size(kModelSize);
    if (options_.priority == v1::PRIORITY_UNSPECIFIED) request.set_priority(v1::PRIORITY_BATCH);
    CallOptions patient = options_.call;
    patient.retries = kPatience;
    std::vector<std::string> images(request.count());
    DENOISED_RETURN_IF_ERROR(client_.GenerateDigit(
        request, patient, [&](const v1::GenerateDigitResponse& event) { return Keep(event, call.begin, images); }));
    const auto drawn = std::count_if(images.begin(), images.end(), [](const std::string& one) { return !one.empty(); });
    DENOISED_RETURN_IF_ERROR(CheckComplete(drawn, request.count()));
    std::string pixels;
    for (const std::string& image : images) pixels += image;
    return Finish(call, std::move(pixels));
  }

  absl::Status Keep(const v1::GenerateDigitResponse& event, uint32_t first, std::vector<std::string>& images) {
    if (event.has_accepted() && event.accepted().model_version() != model_version_) {
      return absl::FailedPreconditionError(absl::StrCat("the server serves the model ",
                                                        event.accepted().model_version(), " now, not ", model_version_,
                                                        " as when this data set was begun"));
    }
    if (!event.has_image()) return absl::OkStatus();
    DENOISED_ASSIGN_OR_RETURN(GreyImage image, ReadPicture(event.image().png()));
    if (size_ != kModelSize) {
      DENOISED_ASSIGN_OR_RETURN(image, Resize(image, static_cast<int>(size_), Interpolation::kLinear));
    }
    const uint32_t place = event.image().image_index() - first;
    if (place >= images.size() || image.pixels.size() != size_t{size_} * size_) {
      return absl::InternalError("the server sent an image that was not asked for");
    }
    images[place].assign(image.pixels.begin(), image.pixels.end());
    const absl::MutexLock lock(&mu_);
    ++drawn_;
    const auto all = static_cast<double>(uint64_t{per_digit_} * classes_);
    const double now = static_cast<double>(drawn_ - int64_t{first_image_} * classes_);
    display_.Show({.what = "data set",
                   .fraction = static_cast<double>(drawn_) / all,
                   .done = DrawnText(drawn_, uint64_t{per_digit_} * classes_),
                   .seconds_left = (all - static_cast<double>(drawn_)) * seconds() / now},
                  nullptr);
    return absl::OkStatus();
  }

  // Writes the blocks that are whole, in order.
  absl::Status Finish(const Call& call, std::string pixels) {
    const absl::MutexLock lock(&mu_);
    blocks_.try_emplace(call.block, classes_).first->second[call.digit] = std::move(pixels);
    const auto whole = [](const Block& block) {
      return std::none_of(block.begin(), block.end(), [](const std::string& one) { return one.empty(); });
    };
    while (!blocks_.empty() && blocks_.begin()->first == next_block_ && whole(blocks_.begin()->second)) {
      DENOISED_RETURN_IF_ERROR(Write(blocks_.begin()->second));
      blocks_.erase(blocks_.begin());
      ++next_block_;
    }
    return absl::OkStatus();
  }

  absl::Status Write(const Block& block) {
    const size_t bytes = size_t{size_} * size_;
    std::string pixels, labels;
    for (size_t begin = 0; begin < block[0].size(); begin += bytes) {
      for (uint32_t digit = 0; digit < classes_; ++digit) {
        pixels.append(block[digit], begin, bytes);
        labels += static_cast<char>(digit);
      }
    }
    return files_.Append(pixels, labels);
  }

  DigitClient& client_;
  const ClientOptions& options_;
  const Shares shares_;
  const uint64_t seed_;
  const std::string model_version_;
  const uint32_t classes_, size_, per_digit_, first_image_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();

  absl::Mutex mu_;
  uint32_t next_call_ ABSL_GUARDED_BY(mu_) = 0;
  uint32_t next_block_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t drawn_ ABSL_GUARDED_BY(mu_);
  std::map<uint32_t, Block> blocks_ ABSL_GUARDED_BY(mu_);  // that are not written yet
  absl::Status first_error_ ABSL_GUARDED_BY(mu_);
  DatasetFiles& files_;      // written under mu_
  ProgressDisplay display_;  // shown under mu_
};

// What the images show, in a word.
const char* WordFor(const std::vector<std::string>& class_names) {
  return AreCalledByNumber(class_names) ? "digits" : "images";
}

void Tell(const ClientOptions& options, const DatasetFiles& files, const std::string& what, int64_t drawn_now,
          double seconds) {
  if (options.quiet) return;
  const std::string seed = files.drawn_with()["--seed"];
  if (options.json) {
    const Json json = {{"images_file", files.images_file()},
                       {"labels_file", files.labels_file()},
                       {"images", files.images()},
                       {"seed", seed},
                       {"drawn_now", drawn_now},
                       {"seconds", seconds}};
    absl::PrintF("%s\n", JsonLine(json));
    return;
  }
  absl::PrintF("%s, %s  %d %s, seed %s%s\n", files.images_file(), files.labels_file(), files.images(), what, seed,
               drawn_now == 0 ? ", all there already"
                              : absl::StrFormat(", %d drawn in %s, %.1f a second", drawn_now, FormatDuration(seconds),
                                                static_cast<double>(drawn_now) / seconds));
}

}  // namespace

absl::Status MakeDataset(DigitClient& client, const ClientOptions& options) {
  DENOISED_RETURN_IF_ERROR(AwaitServer(client, options));
  DENOISED_ASSIGN_OR_RETURN(const v1::GetModelResponse model, client.GetModel(options.call));
  DENOISED_RETURN_IF_ERROR(CheckClasses(model));
  const std::vector<std::string> class_names(model.class_names().begin(), model.class_names().end());
  Json drawn_with = DrawnWith(options, model);
  const auto open = [&] {
    return DatasetFiles::Open(options.out, options.size.value_or(kModelSize), drawn_with, class_names);
  };
  DENOISED_ASSIGN_OR_RETURN(DatasetFiles files, open());
  uint64_t seed = 0;
  if (const Json& known = files.drawn_with()["--seed"]; known.is_null()) {
    std::random_device random;
    seed = random();
    drawn_with["--seed"] = absl::StrCat(seed);
    DENOISED_ASSIGN_OR_RETURN(files, open());
  } else if (!known.is_string() || !absl::SimpleAtoi(known.get<std::string>(), &seed)) {
    return absl::FailedPreconditionError(
        absl::StrCat(options.out, "/manifest.json has a --seed that is no number in quotes"));
  }
  DatasetDrawing drawing(client, options, model, seed, files);
  const absl::Status status = drawing.Run();
  if (!status.ok()) {
    const std::string kept =
        absl::StrCat(files.images(), " of ", uint64_t{options.per_digit.value_or(kPerDigit)} * class_names.size(), " ",
                     WordFor(class_names), " are in ", options.out, "; the same command goes on from there");
    if (absl::IsCancelled(status)) return absl::CancelledError(kept);
    return absl::Status(status.code(), absl::StrCat(status.message(), "; ", kept));
  }
  DENOISED_RETURN_IF_ERROR(files.Finish());
  Tell(options, files, WordFor(class_names), drawing.drawn_now(), drawing.seconds());
  return absl::OkStatus();
}

}  // namespace denoised
