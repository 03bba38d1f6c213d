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
//   an encoder        makes the PNG of the next event, once the last write is done, and starts its write;
//   gRPC's callbacks  say that a write is done, that the client left, that the call is over.
//
// So a slow reader costs memory for at most one preview and one finished image for each image it asked for: a preview
// that has not been encoded yet is replaced by its image's next one. A finished image keeps its place in the scheduler
// until it has been written, so all slow readers together are bounded too. A write that a stalled reader does not take
// within the limit ends the call.
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
#include "server/service/request_validation.h"
#include "server/service/serving_model.h"

namespace denoised {

class DigitStream : public DrawListener, public std::enable_shared_from_this<DigitStream> {
 public:
  using Reactor = grpc::ServerWriteReactor<v1::GenerateDigitResponse>;

  // What a stream shares with its service.
  struct Environment {
    ThreadPool* encoders = nullptr;
    Metrics* metrics = nullptr;
    std::chrono::nanoseconds write_timeout{};  // for a reader to take one event
  };

  // `environment`'s parts outlive the stream. `model` is held until the call is over.
  DigitStream(const Environment& environment, std::shared_ptr<ServingModel> model, const ValidRequest& request);

  // Begins the call with its first event. Once, after Submit. The call has been counted by Metrics::OnRequestStarted;
  // its end is counted here.
  Reactor* Open(grpc::CallbackServerContext* context, const v1::GenerateDigitResponse& accepted, Ticket ticket);

  // DrawListener.
  void OnPreview(const PreviewFrame& frame) override;
  void OnImage(const FinishedImage& image) override;
  void OnDone(const absl::Status& status) override;

 private:
  class CallReactor;
  using Event = std::variant<PreviewFrame, FinishedImage>;

  // From the reactor.
  void WriteDone(bool ok);
  void Cancelled();
  void CallOver();

  void Pump() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Finish(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void EncodeAndWrite() ABSL_LOCKS_EXCLUDED(mu_);
  void StartWrite() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void WriteTimedOut(uint64_t write) ABSL_LOCKS_EXCLUDED(mu_);
  void GiveUp() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::StatusOr<v1::GenerateDigitResponse> Encode(const Event& event) const;
  void LogEnd(const absl::Status& status) const;

  // Constant after construction.
  const Environment environment_;
  const ValidRequest request_;
  const std::chrono::steady_clock::time_point created_ = std::chrono::steady_clock::now();

  absl::Mutex mu_;
  std::shared_ptr<ServingModel> model_ ABSL_GUARDED_BY(mu_);  // NOTE: before ticket_, which must go first
  Ticket ticket_ ABSL_GUARDED_BY(mu_);
  grpc::CallbackServerContext* context_ ABSL_GUARDED_BY(mu_) = nullptr;
  Reactor* reactor_ ABSL_GUARDED_BY(mu_) = nullptr;  // null before Open and after CallOver
  bool busy_ ABSL_GUARDED_BY(mu_) = false;           // an event is being encoded or written
  bool broken_ ABSL_GUARDED_BY(mu_) = false;         // the client left or stalled: nothing more can be written
  bool finished_ ABSL_GUARDED_BY(mu_) = false;       // Finish was called
  bool previewed_ ABSL_GUARDED_BY(mu_) = false;
  std::deque<Event> events_ ABSL_GUARDED_BY(mu_);
  std::optional<absl::Status> done_ ABSL_GUARDED_BY(mu_);    // the scheduler's last word
  v1::GenerateDigitResponse response_ ABSL_GUARDED_BY(mu_);  // being written
  uint64_t write_ ABSL_GUARDED_BY(mu_) = 0;                  // number of the write that runs
  std::unique_ptr<grpc::Alarm> alarm_ ABSL_GUARDED_BY(mu_);
};

}  // namespace denoised

#endif  // DENOISED_SERVER_SERVICE_DIGIT_STREAM_H_
