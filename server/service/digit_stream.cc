#include "server/service/digit_stream.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <utility>

#include "absl/strings/str_format.h"
#include "common/image/image.h"
#include "common/image/png.h"
#include "common/image/resize.h"
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

// How long a preview that waits is good enough.
constexpr std::chrono::milliseconds kRenewal(100);

// How long a write may take of a reader that keeps up, on a busy machine too.
constexpr std::chrono::seconds kReaderPatience(1);

// What an event takes before it is encoded: its pixels, mostly.
constexpr int64_t kEventBytes = sizeof(FinishedImage) + 64;

absl::StatusOr<std::string> MakePng(const ModelPixels& pixels, int black_below, const PictureFormat& format) {
  const GreyImage small = FromModelPixels(pixels, kModelSize, kModelSize, black_below);
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

int64_t DigitStream::MostImageBytes(const ValidRequest& request) {
  constexpr int64_t kBesideThePng = 256;
  const int64_t response = LargestPngBytes(request.format.size, request.format.size) + kBesideThePng;
  return 2 * response + request.draw.count * kEventBytes;  // this and gRPC's copy
}

DigitStream::DigitStream(const Environment& environment, std::shared_ptr<CallRecord> call,
                         std::shared_ptr<ServingModel> model, const ValidRequest& request, OutputRoom room)
    : environment_(environment),
      call_(std::move(call)),
      request_(request),
      black_below_(model->info().metadata.black_below),
      model_(std::move(model)),
      room_(std::move(room)),
      allowance_(environment.read_limits) {}

DigitStream::Reactor* DigitStream::Open(grpc::CallbackServerContext* context, const v1::GenerateDigitResponse& accepted,
                                        Ticket ticket) {
  const absl::MutexLock lock(&mu_);
  context_ = context;
  call_->TellBack(*context);
  ticket_ = std::move(ticket);
  reactor_ = new CallReactor(shared_from_this());
  response_ = accepted;
  busy_ = true;
  StartWrite();
  return reactor_;
}

// ---- The scheduler's thread ----

bool DigitStream::WantsPreview(uint32_t image_index) {
  const absl::MutexLock lock(&mu_);
  if (HasRoomFor(image_index)) return true;
  LosePreview();
  return false;
}

void DigitStream::OnPreview(const PreviewFrame& frame) {
  const absl::MutexLock lock(&mu_);
  if (closed()) return;
  if (!KeepsUp() && FindPreview(frame.image_index) != events_.end()) {
    ReplacePreview(frame);
  } else if (bytes_ + kEventBytes <= kMaxStreamBytes && environment_.output->TryTake(kEventBytes)) {
    bytes_ += kEventBytes;
    events_.push_back({frame, std::chrono::steady_clock::now()});
  } else {
    LosePreview();
  }
  Pump();
}

void DigitStream::OnImage(const FinishedImage& image) {
  const absl::MutexLock lock(&mu_);
  const SteadyTime now = std::chrono::steady_clock::now();
  const SteadyTime first_step = now - image.denoise_duration;
  call_->AddPhase(CallPhase::kQueue, first_step - image.queue_duration, first_step);
  call_->AddPhase(CallPhase::kDenoise, first_step, now);
  if (closed()) return OnImageLost(broken_.value_or(DropReason::kEngineError));
  Take(kEventBytes);
  events_.push_back({image, std::chrono::steady_clock::now()});
  if (owed_ && !urgent_ && Next()->is_image()) QueueEncoding();
  Pump();
}

void DigitStream::OnDone(const absl::Status& status) {
  const absl::MutexLock lock(&mu_);
  done_ = status;
  if (!status.ok()) {
    for (auto event = events_.begin(); event != events_.end();) {
      event = event->is_image() ? std::next(event) : Erase(event);
    }
  }
  Pump();
}

// ---- What waits to be encoded ----

void DigitStream::Take(int64_t bytes) {
  bytes_ += bytes;
  environment_.output->Take(bytes);
}

void DigitStream::Return(int64_t bytes) {
  bytes_ -= bytes;
  environment_.output->Return(bytes);
}

void DigitStream::LosePreview() {
  behind_ = true;
  environment_.metrics->OnPreviewDropped();
}

DigitStream::Queue::iterator DigitStream::FindPreview(uint32_t image_index) {
  return std::find_if(events_.begin(), events_.end(), [&](const WaitingEvent& waiting) {
    const PreviewFrame* preview = std::get_if<PreviewFrame>(&waiting.event);
    return preview != nullptr && preview->image_index == image_index;
  });
}

// Puts the frame in the place of all that wait before it.
void DigitStream::ReplacePreview(const PreviewFrame& frame) {
  for (auto older = FindPreview(frame.image_index); older != events_.end(); older = FindPreview(frame.image_index)) {
    LosePreview();
    Erase(older);
  }
  Take(kEventBytes);
  events_.push_back({frame, std::chrono::steady_clock::now()});
}

// Whether what waits does so for the encoders rather than for the reader, and is not too much for them.
bool DigitStream::KeepsUp() const {
  const bool reads =
      !writing_since_.has_value() || std::chrono::steady_clock::now() - *writing_since_ < kReaderPatience;
  const int64_t pixels = int64_t{request_.format.size} * request_.format.size;
  return reads && static_cast<int64_t>(events_.size() + 1) * pixels <= kMaxWaitingPixels;
}

// While a preview waits for a reader, newer ones take its place, but no more often than anybody could tell.
bool DigitStream::HasRoomFor(uint32_t image_index) {
  if (closed()) return false;
  if (const auto older = FindPreview(image_index); !KeepsUp() && older != events_.end()) {
    return std::chrono::steady_clock::now() - older->since >= kRenewal;
  }
  return bytes_ + kEventBytes <= kMaxStreamBytes && !environment_.output->full();
}

DigitStream::Queue::iterator DigitStream::Erase(const Queue::iterator& event) {
  Return(kEventBytes);
  return events_.erase(event);
}

// The next event in order, but for a reader that is behind, an image.
DigitStream::Queue::iterator DigitStream::Next() {
  if (!behind_) return events_.begin();
  const auto image = std::find_if(events_.begin(), events_.end(), std::mem_fn(&WaitingEvent::is_image));
  return image == events_.end() ? events_.begin() : image;
}

std::optional<DigitStream::Event> DigitStream::TakeNext() {
  std::optional<Event> taken;
  while (!events_.empty() && !taken.has_value()) {
    const auto next = Next();
    if (next->is_image() || !environment_.output->full()) {
      taken = std::move(next->event);
    } else {
      LosePreview();
    }
    Erase(next);
  }
  // A preview of what is finished is of no use any more.
  if (const FinishedImage* image = taken.has_value() ? std::get_if<FinishedImage>(&*taken) : nullptr) {
    for (auto preview = FindPreview(image->image_index); preview != events_.end();
         preview = FindPreview(image->image_index)) {
      LosePreview();
      Erase(preview);
    }
  }
  if (events_.empty()) behind_ = false;
  return taken;
}

// Forgets what waits. Images among it were drawn in vain.
void DigitStream::Discard(DropReason reason) {
  for (const WaitingEvent& waiting : events_) {
    if (waiting.is_image()) OnImageLost(reason);
    Return(kEventBytes);
  }
  events_.clear();
}

void DigitStream::OnImageLost(DropReason reason) {
  environment_.metrics->OnWasted(reason, request_.draw.plan->size() * (request_.draw.guidance_scale == 1 ? 1 : 2));
}

// ---- Encoding and writing: one event at a time ----

// Starts whatever can be started.
void DigitStream::Pump() {
  if (reactor_ == nullptr || busy_ || finished_) return;
  if (broken_.has_value()) {
    Finish(EndOfBroken());
  } else if (!events_.empty()) {
    busy_ = true;
    owed_ = true;
    QueueEncoding();
  } else if (done_.has_value()) {
    Finish(*done_);
  }
}

// A second task, because an image has come meanwhile, finds nothing owed if the first one was quicker.
void DigitStream::QueueEncoding() {
  urgent_ = Next()->is_image();
  environment_.encoders->Add([self = shared_from_this()] { self->EncodeAndWrite(); },
                             urgent_ ? ThreadPool::Priority::kHigh : ThreadPool::Priority::kNormal);
}

void DigitStream::Finish(const absl::Status& status) {
  finished_ = true;
  ticket_ = Ticket();  // first, so that the place is free again when the client hears that the call is over
  room_ = OutputRoom();
  reactor_->Finish(ToGrpcStatus(status));
}

void DigitStream::EncodeAndWrite() {
  std::optional<Event> event;
  {
    const absl::MutexLock lock(&mu_);
    if (!std::exchange(owed_, false)) return;
    event = TakeNext();
  }
  absl::StatusOr<v1::GenerateDigitResponse> response = absl::CancelledError();
  if (event.has_value()) {
    const SteadyTime begin = std::chrono::steady_clock::now();
    response = Encode(*event);
    call_->AddPhase(CallPhase::kEncode, begin, std::chrono::steady_clock::now());
  }

  const absl::MutexLock lock(&mu_);
  const bool image = event.has_value() && std::holds_alternative<FinishedImage>(*event);
  if (event.has_value() && !response.ok()) {
    Discard(DropReason::kEngineError);
    done_ = response.status();
    ticket_.Cancel(DropReason::kEngineError);
  }
  if (broken_.has_value() || !response.ok()) {
    if (image) OnImageLost(broken_.value_or(DropReason::kEngineError));
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
    DENOISED_ASSIGN_OR_RETURN(*preview.mutable_png(), MakePng(frame->pixels, black_below_, request_.format));
    return response;
  }
  const FinishedImage& finished = std::get<FinishedImage>(event);
  v1::GenerateDigitResponse::Image& image = *response.mutable_image();
  image.set_image_index(finished.image_index);
  image.set_seed(request_.draw.seed);
  DENOISED_ASSIGN_OR_RETURN(*image.mutable_png(), MakePng(finished.pixels, black_below_, request_.format));
  image.set_width(static_cast<uint32_t>(request_.format.size));
  image.set_height(static_cast<uint32_t>(request_.format.size));
  *image.mutable_denoise_duration() = TimeUtil::NanosecondsToDuration(finished.denoise_duration.count());
  *image.mutable_queue_duration() = TimeUtil::NanosecondsToDuration(finished.queue_duration.count());
  return response;
}

// Writes response_; busy_ is set already.
void DigitStream::StartWrite() {
  const uint64_t write = ++write_;
  const size_t bytes = response_.ByteSizeLong();
  response_bytes_ = 2 * static_cast<int64_t>(bytes);
  Take(response_bytes_);
  const SteadyTime now = std::chrono::steady_clock::now();
  writing_since_ = now;
  const std::chrono::nanoseconds patience = allowance_.BeginWrite(now, bytes) - now;
  alarm_ = std::make_unique<grpc::Alarm>();
  alarm_->Set(
      std::chrono::system_clock::now() + std::chrono::duration_cast<std::chrono::system_clock::duration>(patience),
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
  const SteadyTime now = std::chrono::steady_clock::now();
  allowance_.EndWrite(now);
  call_->AddPhase(CallPhase::kWrite, *writing_since_, now);
  Return(std::exchange(response_bytes_, 0));
  writing_since_.reset();
  busy_ = false;
  if (!ok) {
    GiveUpOnClient();
    if (response_.has_image()) OnImageLost(*broken_);
  } else if (response_.has_image()) {
    ticket_.ReleaseOne();
  }
  Pump();
}

void DigitStream::WriteTimedOut(uint64_t write) {
  const absl::MutexLock lock(&mu_);
  if (write != write_ || reactor_ == nullptr || finished_) return;
  call_->Log(spdlog::level::warn, absl::StrFormat("the client reads less than %.0f bytes/s; its call is cancelled",
                                                  environment_.read_limits.bytes_per_second));
  GiveUp(DropReason::kSlowReader);
  context_->TryCancel();
}

void DigitStream::Cancelled() {
  const absl::MutexLock lock(&mu_);
  GiveUpOnClient();
  Pump();
}

// It left, or it gave the call a deadline that passed.
void DigitStream::GiveUpOnClient() {
  const bool late = request_.draw.deadline <= std::chrono::steady_clock::now() + kDeadlineSlack;
  GiveUp(late ? DropReason::kDeadline : DropReason::kCancelled);
}

// For the first reason that there is.
void DigitStream::GiveUp(DropReason reason) {
  if (broken_.has_value()) return;
  broken_ = reason;
  Discard(reason);
  ticket_.Cancel(reason);
}

absl::Status DigitStream::EndOfBroken() const {
  switch (*broken_) {
    case DropReason::kDeadline:
      return absl::DeadlineExceededError("the deadline passed");
    case DropReason::kSlowReader:
      return absl::CancelledError("the client read too slowly");
    default:
      return absl::CancelledError("the client left");
  }
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
  Discard(broken_.value_or(DropReason::kCancelled));
  Return(bytes_);
}

}  // namespace denoised
