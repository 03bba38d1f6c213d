// File: digit_stream.h
//
// One GenerateDigit call that was admitted: takes frames from the scheduler, turns them into PNGs and writes them.
//
//   auto stream = std::make_shared<DigitStream>(...);
//   absl::StatusOr<Admission> admission = model->scheduler().Submit(draw, stream);
//   return stream->Open(context, accepted, std::move(admission->ticket));   // to gRPC
//
// Three kinds of threads meet here, and none waits for another:
//   the scheduler's   hands over raw pixels and goes on;
//   an encoder        makes the PNG of the next event, once the last write is done, and starts its write; streams with
//                     a finished image go before those with previews;
//   gRPC's callbacks  say that a write is done, that the client left, that the call is over.
//
// A reader that keeps up gets every frame it asked for, in order and before the image that they end in, however much
// faster the steps are than the encoders: frames wait for those, up to kMaxWaitingPixels. A reader that does not take a
// write within a second loses previews, never an image: at most one preview of an image waits then, newer ones replace
// it, and in the meantime hardly any are read from the engine; once it is behind, images go before previews. What waits
// is counted in bytes, too: a stream takes no more previews beyond kMaxStreamBytes, nor does any while all streams
// together are at the limit (output_budget.h). Finished images are always taken: each keeps its place in the scheduler
// until it has been written, and its request was admitted with room for them. A reader below the least rate over the
// call as a whole has its call ended (read_allowance.h).
//
// Thread-safe.
#ifndef DENOISED_SERVER_SERVICE_DIGIT_STREAM_H_
#define DENOISED_SERVER_SERVICE_DIGIT_STREAM_H_

#include <grpcpp/alarm.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "common/support/thread_pool.h"
#include "denoised/v1/digit_service.pb.h"
#include "server/metrics/metrics.h"
#include "server/scheduler/scheduler.h"
#include "server/service/output_budget.h"
#include "server/service/read_allowance.h"
#include "server/service/request_validation.h"
#include "server/service/serving_model.h"
#include "server/telemetry/call_log.h"

namespace denoised {

class DigitStream : public DrawListener, public std::enable_shared_from_this<DigitStream> {
 public:
  using Reactor = grpc::ServerWriteReactor<v1::GenerateDigitResponse>;

  // A preview of 1024 pixels that is all noise takes a quarter of it while it is written, and a frame of each of 1000
  // steps, not yet encoded, half of it.
  static constexpr int64_t kMaxStreamBytes = 8 << 20;
  // A frame of each of 1000 steps in the usual size. Bigger ones take the encoders' time away from others.
  static constexpr int64_t kMaxWaitingPixels = int64_t{1024} * 256 * 256;

  // What a stream shares with its service.
  struct Environment {
    ThreadPool* encoders = nullptr;
    Metrics* metrics = nullptr;
    OutputBudget* output = nullptr;
    ReadLimits read_limits = {};
  };

  // What the images of such a request take at worst until they have been read: all are finished, one is being written.
  static int64_t MostImageBytes(const ValidRequest& request);

  // `environment`'s parts outlive the stream. `room`: for MostImageBytes. `model` is held until the call is over.
  DigitStream(const Environment& environment, std::shared_ptr<CallRecord> call, std::shared_ptr<ServingModel> model,
              const ValidRequest& request, OutputRoom room);

  // Begins the call with its first event. Once, after Submit. The call has been counted by Metrics::OnRequestStarted;
  // its end is counted here.
  Reactor* Open(grpc::CallbackServerContext* context, const v1::GenerateDigitResponse& accepted, Ticket ticket);

  // DrawListener.
  bool WantsPreview(uint32_t image_index) override;
  void OnPreview(const PreviewFrame& frame) override;
  void OnImage(const FinishedImage& image) override;
  void OnDone(const absl::Status& status) override;

 private:
  class CallReactor;
  using Event = std::variant<PreviewFrame, FinishedImage>;

  struct WaitingEvent {
    Event event;
    SteadyTime since;
    bool is_image() const { return std::holds_alternative<FinishedImage>(event); }
  };
  using Queue = std::deque<WaitingEvent>;

  // From the reactor.
  void WriteDone(bool ok);
  void Cancelled();
  void CallOver();

  // Nothing that comes now reaches the client.
  bool closed() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return broken_.has_value() || finished_; }

  // Of the queue.
  Queue::iterator FindPreview(uint32_t image_index) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ReplacePreview(const PreviewFrame& frame) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool KeepsUp() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool HasRoomFor(uint32_t image_index) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Queue::iterator Erase(const Queue::iterator& event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void LosePreview() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Queue::iterator Next() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::optional<Event> TakeNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Discard(DropReason reason) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void OnImageLost(DropReason reason) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Take(int64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Return(int64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  void Pump() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void QueueEncoding() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Finish(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void EncodeAndWrite() ABSL_LOCKS_EXCLUDED(mu_);
  void StartWrite() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void WriteTimedOut(uint64_t write) ABSL_LOCKS_EXCLUDED(mu_);
  void GiveUp(DropReason reason) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void GiveUpOnClient() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status EndOfBroken() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::StatusOr<v1::GenerateDigitResponse> Encode(const Event& event) const;

  // Constant after construction.
  const Environment environment_;
  const std::shared_ptr<CallRecord> call_;
  const ValidRequest request_;
  const int black_below_;  // ModelMetadata's
  const std::chrono::steady_clock::time_point created_ = std::chrono::steady_clock::now();

  absl::Mutex mu_;
  std::shared_ptr<ServingModel> model_ ABSL_GUARDED_BY(mu_);  // NOTE: before ticket_, which must go first
  Ticket ticket_ ABSL_GUARDED_BY(mu_);
  OutputRoom room_ ABSL_GUARDED_BY(mu_);
  grpc::CallbackServerContext* context_ ABSL_GUARDED_BY(mu_) = nullptr;
  Reactor* reactor_ ABSL_GUARDED_BY(mu_) = nullptr;        // null before Open and after CallOver
  bool busy_ ABSL_GUARDED_BY(mu_) = false;                 // an event is being encoded or written
  bool owed_ ABSL_GUARDED_BY(mu_) = false;                 // an encoder's task has not begun
  bool urgent_ ABSL_GUARDED_BY(mu_) = false;               // it goes before those of previews
  bool behind_ ABSL_GUARDED_BY(mu_) = false;               // a preview was lost since the queue was last empty
  std::optional<DropReason> broken_ ABSL_GUARDED_BY(mu_);  // why nothing more can be written
  bool finished_ ABSL_GUARDED_BY(mu_) = false;             // Finish was called
  bool previewed_ ABSL_GUARDED_BY(mu_) = false;
  Queue events_ ABSL_GUARDED_BY(mu_);
  int64_t bytes_ ABSL_GUARDED_BY(mu_) = 0;  // that events and a response take
  ReadAllowance allowance_ ABSL_GUARDED_BY(mu_);
  std::optional<absl::Status> done_ ABSL_GUARDED_BY(mu_);    // the scheduler's last word
  v1::GenerateDigitResponse response_ ABSL_GUARDED_BY(mu_);  // being written
  int64_t response_bytes_ ABSL_GUARDED_BY(mu_) = 0;          // it and gRPC's copy
  uint64_t write_ ABSL_GUARDED_BY(mu_) = 0;                  // number of the write that runs
  std::optional<SteadyTime> writing_since_ ABSL_GUARDED_BY(mu_);
  std::unique_ptr<grpc::Alarm> alarm_ ABSL_GUARDED_BY(mu_);
};

}  // namespace denoised

#endif  // DENOISED_SERVER_SERVICE_DIGIT_STREAM_H_
