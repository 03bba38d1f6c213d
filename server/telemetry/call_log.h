// File: call_log.h
//
// A line in the log for each call of each service, refused ones too, when its status is sent; and what ties the line to
// the client's own records: a request id and, if the client takes part in one, its trace.
//
//   CallLog calls;
//   builder.experimental().SetInterceptorCreators({..., calls.Interceptor()});
//   // in a service:
//   const std::shared_ptr<CallRecord> call = calls.Find(*context);
//   call->Describe("1 of digit 7", {{"digit", 7}});
//
// The metadata `x-request-id` is taken if it is 1 to 128 letters, digits or any of "._:/+=@-"; else an id is made. It
// goes back in the trailing metadata, and for a call that is not refused, at once in the initial. So does `traceparent`
// (W3C), with a span of this server's own, if a valid one came.
//
// With a sink for spans, a call is one span, `denoised.v1.DigitService/GenerateDigit`, and below it one for each phase
// of the images that were finished. Methods that there are not are one name, `unknown`. It goes there if the client's
// trace is sampled, or, for a call of none, by chance; health and reflection only if the client asks for it. A call
// that begins a trace here is found by the `trace_id` of its line.
//
// Calls of DigitService are logged at level info, those that fail at warning, or error if the fault is the server's;
// health and reflection, of which probes make many, at debug unless they fail.
//
// Thread-safe.
#ifndef DENOISED_SERVER_TELEMETRY_CALL_LOG_H_
#define DENOISED_SERVER_TELEMETRY_CALL_LOG_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_interceptor.h>

#include <array>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/random/bit_gen_ref.h"
#include "absl/random/random.h"
#include "absl/synchronization/mutex.h"
#include "server/telemetry/log_line.h"
#include "server/telemetry/span.h"
#include "server/telemetry/trace_context.h"

namespace denoised {

// Where the spans of calls go.
struct CallTracing {
  SpanSink* sink = nullptr;  // null: nowhere; outlives the log
  double sample_ratio = 1;   // of calls whose client takes part in no trace, 0 to 1
};

// What a call's time goes into, in this order, though those of several images overlap.
enum class CallPhase { kQueue, kDenoise, kEncode, kWrite };

// One call, from its start to its line.
class CallRecord {
 public:
  using SteadyTime = std::chrono::steady_clock::time_point;

  // `method` as gRPC writes it, "/package.Service/Method"; `random` for the ids that are made here.
  CallRecord(std::string method, const grpc::ServerContextBase& context, const CallTracing& tracing,
             absl::BitGenRef random);

  // Constant.
  const std::string& request_id() const { return request_id_; }
  // The client's trace, with this server's own span; none if it takes part in none.
  const std::optional<TraceContext>& trace() const { return trace_; }

  // Who calls, if that is known by more than the address.
  void SetClient(const std::string& client);
  // What is asked for, in words that go on from "drew ..." and "GenerateDigit of ...", and for programs.
  void Describe(const std::string& subject, const LogFields& fields);

  // A piece of a phase. Its span goes from the first piece's begin to the last one's end and knows their sum.
  void AddPhase(CallPhase phase, SteadyTime begin, SteadyTime end);

  // The metadata that name this call to its client.
  void TellBack(grpc::CallbackServerContext& context) const;

  // A line about this call.
  void Log(spdlog::level::level_enum level, const std::string& message) const;
  // The line, and the spans. Once.
  void LogEnd(const grpc::Status& status) const;

 private:
  struct Phase {
    SteadyTime begin, end;
    std::chrono::nanoseconds sum{};
  };

  LogFields Identity() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool traced() const { return span_.has_value(); }
  std::chrono::system_clock::time_point WallTime(SteadyTime time) const;
  Span CallSpan(const grpc::Status& status) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void SendSpans(const grpc::Status& status) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const CallTracing tracing_;
  const std::string method_;
  const std::string peer_;
  const std::string authority_;
  const std::string request_id_;
  const std::optional<TraceContext> parent_;  // the client's span
  const std::optional<TraceContext> trace_;
  const std::optional<TraceContext> span_;             // the call's, if it goes to the sink
  const std::array<std::string, 4> phase_span_ids_{};  // by CallPhase
  const SteadyTime start_ = std::chrono::steady_clock::now();
  const std::chrono::system_clock::time_point wall_start_ = std::chrono::system_clock::now();

  mutable absl::Mutex mu_;
  std::string client_ ABSL_GUARDED_BY(mu_);
  std::string subject_ ABSL_GUARDED_BY(mu_);
  LogFields fields_ ABSL_GUARDED_BY(mu_) = LogFields::object();
  std::map<CallPhase, Phase> phases_ ABSL_GUARDED_BY(mu_);
};

class CallLog {
 public:
  explicit CallLog(const CallTracing& tracing = {}) : tracing_(tracing) {}

  // What makes and ends the records. The log outlives the server.
  std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> Interceptor();

  // The record of a call under way; a new one for a call that no interceptor saw.
  std::shared_ptr<CallRecord> Find(const grpc::ServerContextBase& context);

 private:
  class CallInterceptor;
  class Factory;

  std::shared_ptr<CallRecord> Begin(const char* method, const grpc::ServerContextBase& context);
  void End(const grpc::ServerContextBase& context);

  const CallTracing tracing_;

  absl::Mutex mu_;
  absl::BitGen random_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<const grpc::ServerContextBase*, std::shared_ptr<CallRecord>> calls_ ABSL_GUARDED_BY(mu_);
};

// "192.0.2.7:40000", "[2001:db8::1]:40000" or "unix" for what gRPC calls "ipv4:192.0.2.7:40000",
// "ipv6:%5B2001:db8::1%5D:40000" and "unix:".
std::string PeerText(const std::string& peer);

}  // namespace denoised

#endif  // DENOISED_SERVER_TELEMETRY_CALL_LOG_H_
