// File: puppet_server.h
//
// A test fixture: the whole server in this process, over a real socket, with a puppet in the engine's place.
//
//   class ReadersTest : public PuppetServer {};
//   TEST_F(ReadersTest, ...) { Start(); engine_->HoldSteps(); ... Generate(Request(7)).status ... }
#ifndef DENOISED_TESTS_SERVER_PUPPET_SERVER_H_
#define DENOISED_TESTS_SERVER_PUPPET_SERVER_H_

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "denoised/v1/digit_service.grpc.pb.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "server/server.h"
#include "tests/testing/http_client.h"
#include "tests/testing/puppet_engine.h"
#include "tests/testing/status_matchers.h"

namespace denoised {

// What a client saw of one call.
struct Answer {
  std::vector<v1::GenerateDigitResponse> events;
  grpc::Status status;

  std::vector<v1::GenerateDigitResponse::Image> images() const {
    std::vector<v1::GenerateDigitResponse::Image> found;
    for (const auto& event : events) {
      if (event.has_image()) found.push_back(event.image());
    }
    return found;
  }
  std::vector<v1::GenerateDigitResponse::Preview> previews() const {
    std::vector<v1::GenerateDigitResponse::Preview> found;
    for (const auto& event : events) {
      if (event.has_preview()) found.push_back(event.preview());
    }
    return found;
  }
};

inline v1::GenerateDigitRequest Request(int digit, uint32_t steps = 1) {
  v1::GenerateDigitRequest request;
  request.set_digit(digit);
  request.set_seed(42);
  request.set_steps(steps);
  request.mutable_image()->set_size(32);
  return request;
}

class PuppetServer : public testing::Test {
 protected:
  using Reader = std::unique_ptr<grpc::ClientReader<v1::GenerateDigitResponse>>;

  // With so many slots and rows, and room for so many more images.
  PuppetServer(int slots, int max_queued_images) : slots_(slots) {
    options_.listen = "127.0.0.1:0";
    options_.metrics_listen = "127.0.0.1:0";
    options_.lame_duck_seconds = 0;
    options_.drain_timeout_seconds = 60;
    options_.probe.interval_seconds = 0;
    options_.model.max_queued_images = max_queued_images;
    info_.sha256 = std::string(64, 'c');
    info_.parameter_count = 123;
    info_.device = "cpu";
    info_.metadata.null_label = 10;
  }

  void TearDown() override {
    const std::shared_ptr<ServingModel> model = model_.lock();  // its engine is gone with it
    if (model != nullptr) engine_->LetGo();
  }

  Server::ModelLoader PuppetLoader() {
    return [this](const ServingModelOptions& options, SchedulerObserver* observer) {
      if (before_loading_) before_loading_();
      PuppetEngine* made = nullptr;
      const auto make_engine = [&]() -> absl::StatusOr<std::unique_ptr<Engine>> {
        auto engine = std::make_unique<PuppetEngine>(slots_);
        made = engine.get();
        return engine;
      };
      absl::StatusOr<std::shared_ptr<ServingModel>> model =
          ServingModel::Start(info_, make_engine,
                              {.max_batch_rows = slots_,
                               .max_queued_images = options.max_queued_images,
                               .max_client_images = options.max_client_images},
                              observer);
      if (model.ok()) {
        model_ = *model;
        engine_ = made;
      }
      return model;
    };
  }

  void Start() {
    absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(options_, PuppetLoader());
    ASSERT_THAT(server, IsOk());
    server_ = *std::move(server);
    engine_->ForgetBatches();  // those of the warm-up
    if (!keeps_batches_) engine_->KeepNoBatches();
    Connect(address(), grpc::InsecureChannelCredentials());
  }

  std::string address() const { return "127.0.0.1:" + std::to_string(server_->port()); }

  void Connect(const std::string& address, const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
    channel_ = grpc::CreateChannel(address, credentials);
    stub_ = v1::DigitService::NewStub(channel_);
    health_ = grpc::health::v1::Health::NewStub(channel_);
  }

  // On a connection of its own, which takes little more than it reads.
  std::unique_ptr<v1::DigitService::Stub> NarrowStub() const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 1024);
    arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return v1::DigitService::NewStub(
        grpc::CreateCustomChannel(address(), grpc::InsecureChannelCredentials(), arguments));
  }

  Answer Generate(const v1::GenerateDigitRequest& request) {
    grpc::ClientContext context;
    return Generate(context, request);
  }

  Answer Generate(grpc::ClientContext& context, const v1::GenerateDigitRequest& request) {
    Answer answer;
    const Reader reader = stub_->GenerateDigit(&context, request);
    for (v1::GenerateDigitResponse event; reader->Read(&event);) answer.events.push_back(event);
    answer.status = reader->Finish();
    return answer;
  }

  std::string MetricsPage() const { return HttpGet(server_->metrics_port(), "/metrics").body; }

  std::string Metric(const std::string& name) const {
    const std::string page = MetricsPage();
    const size_t at = page.find("\n" + name + " ");
    if (at == std::string::npos) return "no such metric";
    const size_t begin = at + name.size() + 2;
    return page.substr(begin, page.find('\n', begin) - begin);
  }

  // For what another thread does soon: no deadline of its own, the test's timeout ends it.
  void AwaitMetric(const std::string& name, const std::string& value) const {
    while (Metric(name) != value) std::this_thread::yield();
  }

  grpc::Status Check(const std::string& service, grpc::health::v1::HealthCheckResponse* response) {
    grpc::ClientContext context;
    grpc::health::v1::HealthCheckRequest request;
    request.set_service(service);
    return health_->Check(&context, request, response);
  }

  const int slots_;
  std::function<void()> before_loading_;  // called for each model; to be set while none is being loaded
  bool keeps_batches_ = true;             // those of the first engine
  ServerOptions options_;
  ModelInfo info_;
  PuppetEngine* engine_ = nullptr;     // of the model that was loaded last
  std::weak_ptr<ServingModel> model_;  // that one
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::DigitService::Stub> stub_;
  std::unique_ptr<grpc::health::v1::Health::Stub> health_;
};

}  // namespace denoised

#endif  // DENOISED_TESTS_SERVER_PUPPET_SERVER_H_
