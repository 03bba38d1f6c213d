#include "server/service/digit_stream.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "common/image/image.h"
#include "common/support/clock.h"
#include "common/support/status_macros.h"
#include "google/protobuf/util/time_util.h"
#include "server/service/grpc_status.h"

namespace denoised {
namespace {

using google::protobuf::util::TimeUtil;

// A client's clock for its deadline started earlier than this server's: it leaves so much before the deadline, because
// of it.
constexpr std::chrono::milliseconds kDeadlineSlack(50);

absl::StatusOr<std::string> MakePng(const ModelPixels& pixels, const PictureFormat& format) {
  const GreyImage small = FromModelPixels(pixels, kModelSize, kModelSize);
  DENOISED_ASSIGN_OR_RETURN(const GreyImage sized, Resize(small, format.size, format.interpolation));
  return EncodePng(sized);
}

}  // namespace

// Passes gRPC's reactions on, and keeps the stream alive until the last one.
class DigitStream::CallReactor : public Reactor {
 public:
  explicit CallReactor(std::shared_ptr<DigitStream> stream) : stream_(std::move(stream)) {}
  void OnWriteDone(bool ok) override { stream_->WriteDone(ok); }
  void OnCancel() override { stream_->Cancelled(); }
  void OnDone() override {
    stream_->CallOver();
    delete this;
  }

 private:
  const std::shared_ptr<DigitStream> stream_;
};

DigitStream::DigitStream(const Environment& environment, std::shared_ptr<ServingModel> model,
                         const ValidRequest& request)
    : environment_(environment), request_(request), model_(std::move(model)) {}

DigitStream::Reactor* DigitStream::Open(grpc::CallbackServerContext* context, const v1::GenerateDigitResponse& accepted,
                                        Ticket ticket) {
  const absl::MutexLock lock(&mu_);
  context_ = context;
  ticket_ = std::move(ticket);
  reactor_ = new CallReactor(shared_from_this());
  response_ = accepted;
  busy_ = true;
  StartWrite();
  return reactor_;
}

// ---- The scheduler's thread ----

void DigitStream::OnPreview(const PreviewFrame& frame) {
  const absl::MutexLock lock(&mu_);
  const auto older = std::find_if(events_.begin(), events_.end(), [&](const Event& event) {
    const PreviewFrame* preview = std::get_if<PreviewFrame>(&event);
    return preview != nullptr && preview->image_index == frame.image_index;
  });
  if (older != events_.end()) {
    *older = frame;
    environment_.metrics->OnPreviewDropped();
  } else {
    events_.emplace_back(frame);
  }
  Pump();
}

void DigitStream::OnImage(const FinishedImage& image) {
  const absl::MutexLock lock(&mu_);
  events_.emplace_back(image);
  Pump();
}

void DigitStream::OnDone(const absl::Status& status) {
  const absl::MutexLock lock(&mu_);
  done_ = status;
  if (!status.ok()) {
    std::erase_if(events_, [](const Event& event) { return std::holds_alternative<PreviewFrame>(event); });
  }
  Pump();
}

// ---- Encoding and writing: one event at a time ----

// Starts whatever can be started.
void DigitStream::Pump() {
  if (reactor_ == nullptr || busy_ || finished_) return;
  if (broken_) {
    const bool late = request_.draw.deadline <= std::chrono::steady_clock::now() + kDeadlineSlack;
    Finish(late ? absl::DeadlineExceededError("the deadline passed") : absl::CancelledError("the client left"));
  } else if (!events_.empty()) {
    busy_ = true;
    environment_.encoders->Add([self = shared_from_this()] { self->EncodeAndWrite(); });
  } else if (done_.has_value()) {
    Finish(*done_);
  }
}

void DigitStream::Finish(const absl::Status& status) {
  finished_ = true;
  LogEnd(status);
  ticket_ = Ticket();  // first, so that the place is free again when the client hears that the call is over
  reactor_->Finish(ToGrpcStatus(status));
}

void DigitStream::EncodeAndWrite() {
  std::optional<Event> event;
  {
    const absl::MutexLock lock(&mu_);
    if (!events_.empty()) {
      event = std::move(events_.front());
      events_.pop_front();
    }
  }
  absl::StatusOr<v1::GenerateDigitResponse> response = absl::CancelledError();
  if (event.has_value()) response = Encode(*event);

  const absl::MutexLock lock(&mu_);
  if (event.has_value() && !response.ok()) {
    events_.clear();
    done_ = response.status();
    ticket_.Cancel();
  }
  if (broken_ || !response.ok()) {
    busy_ = false;
    Pump();
    return;
  }
  response_ = *std::move(response);
  if (response_.has_preview() && !std::exchange(previewed_, true)) {
    environment_.metrics->OnFirstPreview(std::chrono::steady_clock::now() - created_);
  }
  StartWrite();
}

absl::StatusOr<v1::GenerateDigitResponse> DigitStream::Encode(const Event& event) const {
  v1::GenerateDigitResponse response;
  if (const PreviewFrame* frame = std::get_if<PreviewFrame>(&event)) {
    v1::GenerateDigitResponse::Preview& preview = *response.mutable_preview();
    preview.set_image_index(frame->image_index);
    preview.set_step(frame->step);
    preview.set_total_steps(frame->total_steps);
    DENOISED_ASSIGN_OR_RETURN(*preview.mutable_png(), MakePng(frame->pixels, request_.format));
    return response;
  }
  const FinishedImage& finished = std::get<FinishedImage>(event);
  v1::GenerateDigitResponse::Image& image = *response.mutable_image();
  image.set_image_index(finished.image_index);
  image.set_seed(request_.draw.seed);
  DENOISED_ASSIGN_OR_RETURN(*image.mutable_png(), MakePng(finished.pixels, request_.format));
  image.set_width(static_cast<uint32_t>(request_.format.size));
  image.set_height(static_cast<uint32_t>(request_.format.size));
  *image.mutable_denoise_duration() = TimeUtil::NanosecondsToDuration(finished.denoise_duration.count());
  *image.mutable_queue_duration() = TimeUtil::NanosecondsToDuration(finished.queue_duration.count());
  return response;
}

// Writes response_; busy_ is set already.
void DigitStream::StartWrite() {
  const uint64_t write = ++write_;
  alarm_ = std::make_unique<grpc::Alarm>();
  alarm_->Set(std::chrono::system_clock::now() +
                  std::chrono::duration_cast<std::chrono::system_clock::duration>(environment_.write_timeout),
              [self = shared_from_this(), write](bool expired) {
                if (expired) self->WriteTimedOut(write);
              });
  reactor_->StartWrite(&response_);
}

// ---- gRPC's callback threads ----

void DigitStream::WriteDone(bool ok) {
  const absl::MutexLock lock(&mu_);
  ++write_;
  alarm_->Cancel();
  busy_ = false;
  if (!ok) {
    GiveUp();
  } else if (response_.has_image()) {
    ticket_.ReleaseOne();
  }
  Pump();
}

void DigitStream::WriteTimedOut(uint64_t write) {
  const absl::MutexLock lock(&mu_);
  if (write != write_ || reactor_ == nullptr || finished_) return;
  spdlog::warn("a client did not read for {:.1f} s; its call is cancelled", Seconds(environment_.write_timeout));
  GiveUp();
  context_->TryCancel();
}

void DigitStream::Cancelled() {
  const absl::MutexLock lock(&mu_);
  GiveUp();
  Pump();
}

void DigitStream::GiveUp() {
  broken_ = true;
  events_.clear();
  ticket_.Cancel();
}

void DigitStream::CallOver() {
  environment_.metrics->OnRequestFinished();
  // NOTE: these end after the lock is released, the ticket before the model that it refers to.
  std::shared_ptr<ServingModel> model;
  Ticket ticket;
  std::unique_ptr<grpc::Alarm> alarm;
  const absl::MutexLock lock(&mu_);
  reactor_ = nullptr;
  context_ = nullptr;
  model = std::move(model_);
  ticket = std::move(ticket_);
  alarm = std::move(alarm_);
}

void DigitStream::LogEnd(const absl::Status& status) const {
  const DrawRequest& draw = request_.draw;
  const double seconds = SecondsSince(created_);
  if (status.ok()) {
    spdlog::info("drew {} of digit {} by {}, {} steps, seed {}, in {:.3f} s", draw.count, draw.label,
                 SamplerName(draw.sampler), draw.plan->size(), draw.seed, seconds);
  } else {
    spdlog::warn("digit {}, seed {}: {} after {:.3f} s: {}", draw.label, draw.seed,
                 absl::StatusCodeToString(status.code()), seconds, std::string(status.message()));
  }
}

}  // namespace denoised
