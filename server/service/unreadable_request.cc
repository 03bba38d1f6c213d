#include "server/service/unreadable_request.h"

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/service/grpc_status.h"

namespace denoised {
namespace {

using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::InterceptorBatchMethods;
using grpc::experimental::ServerRpcInfo;

class UnreadableRequest : public grpc::experimental::Interceptor {
 public:
  explicit UnreadableRequest(std::string method) : method_(std::move(method)) {}

  void Intercept(InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_MESSAGE)) {
      unreadable_ = methods->GetRecvMessage() == nullptr;
    }
    if (unreadable_ && methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) {
      methods->ModifySendStatus(ToGrpcStatus(absl::InvalidArgumentError(absl::StrCat(
          "the request of ", method_,
          " did not come whole, or does not parse as Protobuf; build it from this method's .proto file"))));
    }
    methods->Proceed();
  }

 private:
  const std::string method_;
  bool unreadable_ = false;
};

class Factory : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  grpc::experimental::Interceptor* CreateServerInterceptor(ServerRpcInfo* info) override {
    const bool one_request =
        info->type() == ServerRpcInfo::Type::UNARY || info->type() == ServerRpcInfo::Type::SERVER_STREAMING;
    return one_request ? new UnreadableRequest(info->method()) : nullptr;  // NOTE: gRPC takes ownership
  }
};

}  // namespace

std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> UnreadableRequestInterceptor() {
  return std::make_unique<Factory>();
}

}  // namespace denoised
