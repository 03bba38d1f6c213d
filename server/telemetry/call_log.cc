#include "server/telemetry/call_log.h"

#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "common/support/clock.h"
#include "server/access/client_identity.h"

namespace denoised {
namespace {

using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::InterceptorBatchMethods;
using grpc::experimental::ServerRpcInfo;
using spdlog::level::level_enum;

constexpr char kRequestId[] = "x-request-id";
constexpr char kTraceparent[] = "traceparent";
constexpr size_t kMaxRequestId = 128;
constexpr size_t kMaxAuthority = 256;
constexpr size_t kMaxPath = 256;
constexpr char kUnknown[] = "unknown";

std::optional<std::string> Metadata(const grpc::ServerContextBase& context, const char* key) {
  const auto [begin, end] = context.client_metadata().equal_range(key);
  if (begin == end || std::next(begin) != end) return std::nullopt;
  return std::string(begin->second.data(), begin->second.size());
}

// What the client calls this server; empty for calls that a gateway of this process makes for others.
std::string Authority(const grpc::ServerContextBase& context) {
  if (CallerOf(context) != context.peer()) return "";
  const grpc::string_ref authority = context.ExperimentalGetAuthority();
  return {authority.data(), std::min(authority.size(), kMaxAuthority)};
}

bool IsRequestId(std::string_view text) {
  return !text.empty() && text.size() <= kMaxRequestId && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return absl::ascii_isalnum(c) || std::string_view("._:/+=@-").find(static_cast<char>(c)) != std::string_view::npos;
  });
}

std::string RequestId(const grpc::ServerContextBase& context, absl::BitGenRef random) {
  std::optional<std::string> given = Metadata(context, kRequestId);
  if (given.has_value() && IsRequestId(*given)) return *std::move(given);
  return HexId(absl::Uniform<uint64_t>(random));
}

std::string SpanId(absl::BitGenRef random) {
  return HexId(absl::Uniform<uint64_t>(absl::IntervalClosed, random, 1, ~uint64_t{0}));
}

std::optional<TraceContext> OwnSpan(std::optional<TraceContext> parent, absl::BitGenRef random) {
  if (parent.has_value()) parent->span_id = SpanId(random);
  return parent;
}

bool IsSampled(const TraceContext& trace) { return (std::stoi(trace.flags, nullptr, 16) & 1) != 0; }

// "GenerateDigit" of "/denoised.v1.DigitService/GenerateDigit".
std::string ShortMethod(const std::string& method) { return method.substr(method.rfind('/') + 1); }

// Of health and reflection: probes ask all the time.
bool IsHousekeeping(const std::string& method) { return absl::StartsWith(method, "/grpc."); }

// The span of a call that is to be kept; `trace` if the client takes part in one.
std::optional<TraceContext> TracedSpan(const CallTracing& tracing, const std::string& method,
                                       const std::optional<TraceContext>& trace, absl::BitGenRef random) {
  if (tracing.sink == nullptr) return std::nullopt;
  if (trace.has_value()) return IsSampled(*trace) ? trace : std::nullopt;
  if (IsHousekeeping(method) || !absl::Bernoulli(random, tracing.sample_ratio)) return std::nullopt;
  return TraceContext{
      .trace_id = absl::StrCat(SpanId(random), SpanId(random)), .span_id = SpanId(random), .flags = "01"};
}

// "192.0.2.7" and 40000 of "192.0.2.7:40000"; without the port where there is none.
void AddAddress(const std::string& kind, const std::string& text, std::vector<SpanAttribute>& attributes) {
  if (text.empty()) return;
  const size_t colon = text.rfind(':');
  int64_t port = 0;
  const bool has_port = colon != std::string::npos && absl::SimpleAtoi(text.substr(colon + 1), &port);
  std::string host = has_port ? text.substr(0, colon) : text;
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  attributes.emplace_back(kind + ".address", host);
  if (has_port) attributes.emplace_back(kind + ".port", port);
}

// The two parts of "/denoised.v1.DigitService/GenerateDigit".
struct MethodName {
  std::string service, method;
};

// None for what is no method: strangers may call whatever they like, and their paths would be names of spans.
std::optional<MethodName> KnownMethod(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos || slash == 0) return std::nullopt;
  MethodName name = {.service = path.substr(1, slash - 1), .method = path.substr(slash + 1)};
  const auto* pool = google::protobuf::DescriptorPool::generated_pool();
  const auto* known = pool->FindMethodByName(absl::StrCat(name.service, ".", name.method));
  if (known == nullptr || known->name() != name.method) return std::nullopt;
  return name;
}

// As OpenTelemetry's conventions have it: what is the client's fault is no error of the server's span.
bool IsServersFault(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::UNKNOWN:
    case grpc::StatusCode::DEADLINE_EXCEEDED:
    case grpc::StatusCode::UNIMPLEMENTED:
    case grpc::StatusCode::INTERNAL:
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::DATA_LOSS:
      return true;
    default:
      return false;
  }
}

const char* PhaseName(CallPhase phase) {
  constexpr const char* kNames[] = {"queue", "denoise", "encode", "write"};
  return kNames[static_cast<size_t>(phase)];
}

level_enum LevelOf(const std::string& method, grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::OK:
      return IsHousekeeping(method) ? level_enum::debug : level_enum::info;
    case grpc::StatusCode::CANCELLED:
      return IsHousekeeping(method) ? level_enum::debug : level_enum::warn;
    case grpc::StatusCode::INTERNAL:
    case grpc::StatusCode::UNKNOWN:
    case grpc::StatusCode::DATA_LOSS:
      return level_enum::err;
    default:
      return level_enum::warn;
  }
}

std::string CodeName(grpc::StatusCode code) { return absl::StatusCodeToString(static_cast<absl::StatusCode>(code)); }

}  // namespace

std::string PeerText(const std::string& peer) {
  for (const char* scheme : {"ipv4:", "ipv6:"}) {
    if (absl::StartsWith(peer, scheme)) return absl::StrReplaceAll(peer.substr(5), {{"%5B", "["}, {"%5D", "]"}});
  }
  return absl::StartsWith(peer, "unix:") ? "unix" : peer;
}

// ---- One call ----

CallRecord::CallRecord(std::string method, const grpc::ServerContextBase& context, const CallTracing& tracing,
                       absl::BitGenRef random)
    : tracing_(tracing),
      method_(std::move(method)),
      peer_(PeerText(CallerOf(context))),
      authority_(tracing.sink == nullptr ? "" : Authority(context)),
      request_id_(RequestId(context, random)),
      parent_(ParseTraceparent(Metadata(context, kTraceparent).value_or(""))),
      trace_(OwnSpan(parent_, random)),
      span_(TracedSpan(tracing, method_, trace_, random)),
      phase_span_ids_({SpanId(random), SpanId(random), SpanId(random), SpanId(random)}) {}

void CallRecord::SetClient(const std::string& client) {
  const absl::MutexLock lock(&mu_);
  client_ = absl::StartsWith(client, "address:") ? "" : client;
}

void CallRecord::Describe(const std::string& subject, const LogFields& fields) {
  const absl::MutexLock lock(&mu_);
  subject_ = subject;
  fields_ = fields;
}

void CallRecord::AddPhase(CallPhase phase, SteadyTime begin, SteadyTime end) {
  if (!traced()) return;
  const absl::MutexLock lock(&mu_);
  Phase& all = phases_.try_emplace(phase, Phase{.begin = begin, .end = end}).first->second;
  all.begin = std::min(all.begin, begin);
  all.end = std::max(all.end, end);
  all.sum += end - begin;
}

void CallRecord::TellBack(grpc::CallbackServerContext& context) const {
  context.AddInitialMetadata(kRequestId, request_id_);
  if (trace_.has_value()) context.AddInitialMetadata(kTraceparent, FormatTraceparent(*trace_));
}

LogFields CallRecord::Identity() const {
  LogFields fields = {{"method", method_}, {"peer", peer_}, {"request_id", request_id_}};
  if (!client_.empty()) fields["client"] = client_;
  if (const std::optional<TraceContext>& trace = traced() ? span_ : trace_; trace.has_value()) {
    fields["trace_id"] = trace->trace_id;
    fields["span_id"] = trace->span_id;
  }
  return fields;
}

void CallRecord::Log(level_enum level, const std::string& message) const {
  const absl::MutexLock lock(&mu_);
  LogLine(level, message, Identity());
}

void CallRecord::LogEnd(const grpc::Status& status) const {
  const double seconds = SecondsSince(start_);
  const absl::MutexLock lock(&mu_);
  std::string message;
  if (status.ok()) {
    message =
        absl::StrFormat("%s in %.3f s", subject_.empty() ? ShortMethod(method_) : "drew " + subject_ + ",", seconds);
  } else {
    message =
        absl::StrFormat("%s%s: %s after %.3f s: %s", ShortMethod(method_), subject_.empty() ? "" : " of " + subject_,
                        CodeName(status.error_code()), seconds, status.error_message());
  }
  LogFields fields = Identity();
  fields["code"] = CodeName(status.error_code());
  fields["seconds"] = seconds;
  fields.update(fields_);
  LogLine(LevelOf(method_, status.error_code()), message, fields);
  if (traced()) SendSpans(status);
}

std::chrono::system_clock::time_point CallRecord::WallTime(SteadyTime time) const {
  return wall_start_ + std::chrono::duration_cast<std::chrono::system_clock::duration>(time - start_);
}

Span CallRecord::CallSpan(const grpc::Status& status) const {
  const std::optional<MethodName> known = KnownMethod(method_);
  Span span = {.trace_id = span_->trace_id,
               .span_id = span_->span_id,
               .parent_span_id = parent_.has_value() ? parent_->span_id : "",
               .flags = span_->flags,
               .parent_is_remote = parent_.has_value(),
               .name = known.has_value() ? absl::StrCat(known->service, "/", known->method) : kUnknown,
               .serves_call = true,
               .start = wall_start_,
               .end = WallTime(std::chrono::steady_clock::now()),
               .attributes = {{"rpc.system", "grpc"},
                              {"rpc.service", known.has_value() ? known->service : kUnknown},
                              {"rpc.method", known.has_value() ? known->method : kUnknown},
                              {"rpc.grpc.status_code", static_cast<int64_t>(status.error_code())},
                              {"denoised.request_id", request_id_}},
               .failed = IsServersFault(status.error_code()),
               .error = status.error_message()};
  if (!known.has_value()) span.attributes.emplace_back("denoised.path", method_.substr(0, kMaxPath));
  AddAddress("server", authority_, span.attributes);
  AddAddress("client", peer_, span.attributes);
  if (!client_.empty()) span.attributes.emplace_back("denoised.client", client_);
  for (const auto& [key, value] : fields_.items()) {
    const std::string attribute = absl::StrCat("denoised.", key == "count" ? "images" : key);
    if (value.is_string()) {
      span.attributes.emplace_back(attribute, value.get<std::string>());
    } else {
      span.attributes.emplace_back(attribute, value.get<int64_t>());
    }
  }
  return span;
}

void CallRecord::SendSpans(const grpc::Status& status) const {
  std::vector<Span> spans = {CallSpan(status)};
  for (const auto& [phase, times] : phases_) {
    spans.push_back({.trace_id = span_->trace_id,
                     .span_id = phase_span_ids_[static_cast<size_t>(phase)],
                     .parent_span_id = span_->span_id,
                     .flags = span_->flags,
                     .name = PhaseName(phase),
                     .start = WallTime(times.begin),
                     .end = WallTime(times.end),
                     .attributes = {{"denoised.seconds", Seconds(times.sum)}}});
  }
  tracing_.sink->Add(std::move(spans));
}

// ---- All of them ----

class CallLog::CallInterceptor : public grpc::experimental::Interceptor {
 public:
  CallInterceptor(CallLog& log, const char* method, const grpc::ServerContextBase& context)
      : log_(log), context_(context), record_(log.Begin(method, context)) {}
  ~CallInterceptor() override { log_.End(context_); }

  void Intercept(InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) {
      if (auto* trailing = methods->GetSendTrailingMetadata(); trailing != nullptr) {
        trailing->emplace(kRequestId, record_->request_id());
        if (record_->trace().has_value()) trailing->emplace(kTraceparent, FormatTraceparent(*record_->trace()));
      }
      record_->LogEnd(methods->GetSendStatus());
    }
    methods->Proceed();
  }

 private:
  CallLog& log_;
  const grpc::ServerContextBase& context_;
  const std::shared_ptr<CallRecord> record_;
};

class CallLog::Factory : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  explicit Factory(CallLog& log) : log_(log) {}

  grpc::experimental::Interceptor* CreateServerInterceptor(ServerRpcInfo* info) override {
    return new CallInterceptor(log_, info->method(), *info->server_context());  // NOTE: gRPC takes ownership
  }

 private:
  CallLog& log_;
};

std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> CallLog::Interceptor() {
  return std::make_unique<Factory>(*this);
}

std::shared_ptr<CallRecord> CallLog::Begin(const char* method, const grpc::ServerContextBase& context) {
  const absl::MutexLock lock(&mu_);
  auto record = std::make_shared<CallRecord>(method, context, tracing_, random_);
  calls_[&context] = record;
  return record;
}

void CallLog::End(const grpc::ServerContextBase& context) {
  const absl::MutexLock lock(&mu_);
  calls_.erase(&context);
}

std::shared_ptr<CallRecord> CallLog::Find(const grpc::ServerContextBase& context) {
  const absl::MutexLock lock(&mu_);
  const auto found = calls_.find(&context);
  if (found != calls_.end()) return found->second;
  return std::make_shared<CallRecord>("", context, CallTracing{}, random_);
}

}  // namespace denoised
