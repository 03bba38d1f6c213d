#include "server/metrics/call_metrics.h"

#include <google/protobuf/descriptor.h>

#include <chrono>
#include <iterator>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"

namespace denoised {
namespace {

using Clock = std::chrono::steady_clock;
using google::protobuf::DescriptorPool;
using google::protobuf::MethodDescriptor;
using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::InterceptorBatchMethods;
using grpc::experimental::ServerRpcInfo;

// By gRPC's numbers.
constexpr const char* kCodeLabels[] = {
    "OK",       "Canceled",       "Unknown",          "InvalidArgument",   "DeadlineExceeded",
    "NotFound", "AlreadyExists",  "PermissionDenied", "ResourceExhausted", "FailedPrecondition",
    "Aborted",  "OutOfRange",     "Unimplemented",    "Internal",          "Unavailable",
    "DataLoss", "Unauthenticated"};

const char* TypeLabel(ServerRpcInfo::Type type) {
  switch (type) {
    case ServerRpcInfo::Type::UNARY:
      return "unary";
    case ServerRpcInfo::Type::CLIENT_STREAMING:
      return "client_stream";
    case ServerRpcInfo::Type::SERVER_STREAMING:
      return "server_stream";
    case ServerRpcInfo::Type::BIDI_STREAMING:
      return "bidi_stream";
  }
  return "unknown";
}

// As gRPC's generated code has it.
ServerRpcInfo::Type TypeOf(const MethodDescriptor& method) {
  if (method.client_streaming()) {
    return method.server_streaming() ? ServerRpcInfo::Type::BIDI_STREAMING : ServerRpcInfo::Type::CLIENT_STREAMING;
  }
  return method.server_streaming() ? ServerRpcInfo::Type::SERVER_STREAMING : ServerRpcInfo::Type::UNARY;
}

// By path, as "/denoised.v1.DigitService/GenerateDigit".
using Calls = std::map<std::string, Metrics::Call>;

// Of these services, as far as this program has their descriptors.
Calls CallsOf(const std::vector<std::string>& services) {
  Calls calls;
  for (const std::string& name : services) {
    const auto* service = DescriptorPool::generated_pool()->FindServiceByName(name);
    for (int i = 0; service != nullptr && i < service->method_count(); ++i) {
      const MethodDescriptor& method = *service->method(i);
      calls[absl::StrCat("/", name, "/", method.name())] = {TypeLabel(TypeOf(method)), name, method.name()};
    }
  }
  return calls;
}

class CallMetricsCounter : public grpc::experimental::Interceptor {
 public:
  CallMetricsCounter(Metrics& metrics, Metrics::Call call) : metrics_(metrics), call_(std::move(call)) {
    metrics_.OnCallStarted(call_);
  }

  void Intercept(InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) {
      const grpc::StatusCode code = methods->GetSendStatus().error_code();
      metrics_.OnCallFinished(call_, StatusCodeLabel(code), Clock::now() - start_);
    }
    methods->Proceed();
  }

 private:
  Metrics& metrics_;
  const Metrics::Call call_;
  const Clock::time_point start_ = Clock::now();
};

class CallMetricsFactory : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  CallMetricsFactory(Calls calls, Metrics& metrics) : calls_(std::move(calls)), metrics_(metrics) {}

  grpc::experimental::Interceptor* CreateServerInterceptor(ServerRpcInfo* info) override {
    const auto known = calls_.find(info->method());
    return new CallMetricsCounter(metrics_, known == calls_.end()  // NOTE: gRPC takes ownership
                                                ? Metrics::Call{TypeLabel(info->type()), "unknown", "unknown"}
                                                : known->second);
  }

 private:
  const Calls calls_;
  Metrics& metrics_;
};

}  // namespace

std::string StatusCodeLabel(grpc::StatusCode code) {
  const size_t index = static_cast<size_t>(code);
  return index < std::size(kCodeLabels) ? kCodeLabels[index] : "Unknown";
}

void DeclareCallMetrics(const std::vector<std::string>& services, Metrics& metrics) {
  const std::vector<std::string> codes(std::begin(kCodeLabels), std::end(kCodeLabels));
  for (const auto& [path, call] : CallsOf(services)) metrics.DeclareCall(call, codes);
}

std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> CallMetricsInterceptor(
    const std::vector<std::string>& services, Metrics& metrics) {
  return std::make_unique<CallMetricsFactory>(CallsOf(services), metrics);
}

}  // namespace denoised
