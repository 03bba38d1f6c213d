// File: generic_call.h
//
// A gRPC server that answers any call of any service at once, for tests of what surrounds services, and calls to it.
//
//   GenericServer server(credentials, [](const grpc::CallbackServerContext& context) { return grpc::Status::OK; });
//   EXPECT_EQ(server.Call(channel_credentials).error_code(), grpc::StatusCode::OK);
#ifndef DENOISED_TESTS_TESTING_GENERIC_CALL_H_
#define DENOISED_TESTS_TESTING_GENERIC_CALL_H_

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace denoised {

using CallMetadata = std::vector<std::pair<std::string, std::string>>;

// One call, by default of a method that nobody knows and without a message. `request` is sent as it is.
inline grpc::Status CallOver(const std::shared_ptr<grpc::Channel>& channel, const CallMetadata& metadata = {},
                             const std::string& method = "/any.Service/Method",
                             const grpc::ByteBuffer& request = grpc::ByteBuffer(nullptr, 0)) {
  grpc::ClientContext context;
  for (const auto& [key, value] : metadata) context.AddMetadata(key, value);
  grpc::CompletionQueue queue;
  grpc::GenericStub stub(channel);
  const auto call = stub.PrepareUnaryCall(&context, method, request, &queue);
  call->StartCall();
  grpc::ByteBuffer response;
  grpc::Status status;
  call->Finish(&response, &status, &status);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  return status;
}

class GenericServer {
 public:
  using Answerer = std::function<grpc::Status(const grpc::CallbackServerContext& context)>;

  GenericServer(std::shared_ptr<grpc::ServerCredentials> credentials, Answerer answerer)
      : credentials_(std::move(credentials)), service_(std::move(answerer)) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", credentials_, &port_);
    builder.RegisterCallbackGenericService(&service_);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr) throw std::runtime_error("the server does not start");
  }
  ~GenericServer() { server_->Shutdown(); }
  GenericServer(const GenericServer&) = delete;
  GenericServer& operator=(const GenericServer&) = delete;

  // A connection of its own.
  std::shared_ptr<grpc::Channel> Connect(const std::shared_ptr<grpc::ChannelCredentials>& credentials) const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(port_), credentials, arguments);
  }

  grpc::Status Call(const std::shared_ptr<grpc::ChannelCredentials>& credentials,
                    const CallMetadata& metadata = {}) const {
    return CallOver(Connect(credentials), metadata);
  }

 private:
  class Service : public grpc::CallbackGenericService {
   public:
    explicit Service(Answerer answerer) : answerer_(std::move(answerer)) {}

   private:
    // A unary answer needs a message, an error does not.
    class Answer : public grpc::ServerGenericBidiReactor {
     public:
      explicit Answer(const grpc::Status& status) {
        if (status.ok()) {
          StartWriteAndFinish(&empty_, grpc::WriteOptions(), status);
        } else {
          Finish(status);
        }
      }
      void OnDone() override { delete this; }

     private:
      const grpc::ByteBuffer empty_{nullptr, 0};
    };

    grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context) override {
      return new Answer(answerer_(*context));
    }

    const Answerer answerer_;
  };

  const std::shared_ptr<grpc::ServerCredentials> credentials_;  // NOTE: must outlive the server
  Service service_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace denoised

#endif  // DENOISED_TESTS_TESTING_GENERIC_CALL_H_
