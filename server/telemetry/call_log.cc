#include "server/telemetry/call_log.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
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

std::optional<std::string> Metadata(const grpc::ServerContextBase& context, const char* key) {
  const auto [begin, end] = context.client_metadata().equal_range(key);
  if (begin == end || std::next(begin) != end) return std::nullopt;
  return std::string(begin->second.data(), begin->second.size());
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

std::optional<TraceContext> OwnSpan(const grpc::ServerContextBase& context, absl::BitGenRef random) {
  std::optional<TraceContext> trace = ParseTraceparent(Metadata(context, kTraceparent).value_or(""));
  if (trace.has_value()) trace->span_id = HexId(absl::Uniform<uint64_t>(absl::IntervalClosed, random, 1, ~uint64_t{0}));
  return trace;
}

// "GenerateDigit" of "/denoised.v1.DigitService/GenerateDigit".
std::string ShortMethod(const std::string& method) { return method.substr(method.rfind('/') + 1); }

// Of health and reflection: probes ask all the time.
bool IsHousekeeping(const std::string& method) { return absl::StartsWith(method, "/grpc."); }

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

CallRecord::CallRecord(std::string method, const grpc::ServerContextBase& context, absl::BitGenRef random)
    : method_(std::move(method)),
      peer_(PeerText(CallerOf(context))),
      request_id_(RequestId(context, random)),
      trace_(OwnSpan(context, random)) {}

void CallRecord::SetClient(const std::string& client) {
  const absl::MutexLock lock(&mu_);
  client_ = absl::StartsWith(client, "address:") ? "" : client;
}

void CallRecord::Describe(const std::string& subject, const LogFields& fields) {
  const absl::MutexLock lock(&mu_);
  subject_ = subject;
  fields_ = fields;
}

void CallRecord::TellBack(grpc::CallbackServerContext& context) const {
  context.AddInitialMetadata(kRequestId, request_id_);
  if (trace_.has_value()) context.AddInitialMetadata(kTraceparent, FormatTraceparent(*trace_));
}

LogFields CallRecord::Identity() const {
  LogFields fields = {{"method", method_}, {"peer", peer_}, {"request_id", request_id_}};
  if (!client_.empty()) fields["client"] = client_;
  if (trace_.has_value()) {
    fields["trace_id"] = trace_->trace_id;
    fields["span_id"] = trace_->span_id;
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
  auto record = std::make_shared<CallRecord>(method, context, random_);
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
  return std::make_shared<CallRecord>("", context, random_);
}

}  // namespace denoised
