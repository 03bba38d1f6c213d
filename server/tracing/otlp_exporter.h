// File: otlp_exporter.h
//
// Sends spans to an OpenTelemetry collector, by OTLP over gRPC, from a thread of its own.
//
//   absl::StatusOr<std::unique_ptr<OtlpExporter>> exporter = OtlpExporter::Start({.endpoint = "localhost:4317"});
//   CallLog calls({.sink = exporter->get()});
//   ...
//   (*exporter)->Flush(std::chrono::seconds(2));   // before the process ends
//
// A batch goes when there are kBatchSpans, or kLinger after the first of them came. Up to kQueuedSpans wait; more are
// lost, and counted. So are those of a batch that the collector does not take within kPatience. Where OTLP says that
// another try may help, there are kTries, half a second, one and two apart.
// Whether there is a collector is found out by the first batch; a warning says so, once in kWarnEvery at most.
//
// Thread-safe.
#ifndef DENOISED_SERVER_TRACING_OTLP_EXPORTER_H_
#define DENOISED_SERVER_TRACING_OTLP_EXPORTER_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/support/steady_event.h"
#include "opentelemetry/proto/collector/trace/v1/trace_service.grpc.pb.h"
#include "server/telemetry/span.h"
#include "server/tracing/otlp_options.h"

namespace denoised {

// What became of spans so far.
struct SpanCounts {
  int64_t exported = 0;
  int64_t queue_full = 0;  // lost, as too many waited
  int64_t failed = 0;      // lost, as the collector did not take them
};

class OtlpExporter : public SpanSink {
 public:
  static constexpr size_t kBatchSpans = 512;
  static constexpr size_t kQueuedSpans = 2048;
  static constexpr std::chrono::seconds kLinger{5};
  static constexpr std::chrono::seconds kPatience{10};
  static constexpr std::chrono::seconds kWarnEvery{60};
  static constexpr int kTries = 4;

  // Null without an endpoint. Errors of CheckOtlpOptions; that a collector is there is not asked.
  static absl::StatusOr<std::unique_ptr<OtlpExporter>> Start(const OtlpOptions& options);
  // Gives up what was not flushed.
  ~OtlpExporter() override;

  void Add(std::vector<Span> spans) override;

  // Sends what waits. Returns when that is done, or not after all: what is left when `patience` is over is lost, and
  // counted, as is what comes afterwards.
  void Flush(std::chrono::nanoseconds patience);

  SpanCounts counts() const;

 private:
  using Clock = std::chrono::steady_clock;
  using TraceService = opentelemetry::proto::collector::trace::v1::TraceService;

  explicit OtlpExporter(const OtlpTarget& target);

  void Run();
  std::vector<Span> NextBatch();
  bool Due() const ABSL_SHARED_LOCKS_REQUIRED(mu_) { return ending_ || queue_.size() >= kBatchSpans; }
  void Export(const std::vector<Span>& spans);
  void Warn(int64_t spans, const std::string& why);

  // Constant after construction.
  const std::string address_;
  const std::map<std::string, std::string> resource_;
  std::unique_ptr<TraceService::Stub> stub_;

  std::atomic<int64_t> exported_ = 0;
  std::atomic<int64_t> queue_full_ = 0;
  std::atomic<int64_t> failed_ = 0;

  // Of the thread alone.
  Clock::time_point last_warning_ = Clock::time_point::min();

  mutable absl::Mutex mu_;
  std::vector<Span> queue_ ABSL_GUARDED_BY(mu_);
  bool ending_ ABSL_GUARDED_BY(mu_) = false;                               // a flush has begun
  Clock::time_point end_ ABSL_GUARDED_BY(mu_) = Clock::time_point::max();  // of the flush
  grpc::ClientContext* call_ ABSL_GUARDED_BY(mu_) = nullptr;               // under way

  // Do their own locking.
  SteadyEvent due_;    // whenever Due() has become true
  SteadyEvent ended_;  // the thread has nothing left to do
  std::thread thread_;
};

}  // namespace denoised

#endif  // DENOISED_SERVER_TRACING_OTLP_EXPORTER_H_
