// File: puppet_server.h
//
// A test fixture: the whole server in this process, over a real socket, with a puppet in the engine's place.
//
//   class ReadersTest : public PuppetServer {};
//   TEST_F(ReadersTest, ...) { Start(); engine_->HoldSteps(); ... Generate(Request(7)) ... }
#ifndef DENOISED_TESTS_SERVER_PUPPET_SERVER_H_
#define DENOISED_TESTS_SERVER_PUPPET_SERVER_H_

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "denoised/v1/digit_service.grpc.pb.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "server/server.h"
#include "tests/testing/puppet_engine.h"
#include "tests/testing/status_matchers.h"

namespace denoised {

class PuppetServer : public testing::Test {
 protected:
  using Reader = std::unique_ptr<grpc::ClientReader<v1::GenerateDigitResponse>>;

  static constexpr int kSlots = 8;

  PuppetServer() {
    options_.listen = "127.0.0.1:0";
    options_.metrics_listen = "off";
    options_.lame_duck_seconds = 0;
    options_.model.max_queued_images = 8;
    info_.sha256 = std::string(64, 'c');
    info_.device = "cpu";
  }

  void TearDown() override {
    if (engine_ != nullptr) engine_->LetGo();
  }

  void Start() {
    const auto load = [this](const ServingModelOptions& options, SchedulerObserver* observer) {
      const auto make_engine = [this]() -> absl::StatusOr<std::unique_ptr<Engine>> {
        auto engine = std::make_unique<PuppetEngine>(kSlots);
        engine_ = engine.get();
        return engine;
      };
      return ServingModel::Start(info_, make_engine,
                                 {.max_batch_rows = kSlots, .max_queued_images = options.max_queued_images}, observer);
    };
    absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(options_, load);
    ASSERT_THAT(server, IsOk());
    server_ = *std::move(server);
    engine_->KeepNoBatches();
    stub_ = v1::DigitService::NewStub(Channel({}));
  }

  std::shared_ptr<grpc::Channel> Channel(const grpc::ChannelArguments& arguments) const {
    return grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(server_->port()), grpc::InsecureChannelCredentials(),
                                     arguments);
  }

  // On a connection of its own, which takes little more than it reads.
  std::unique_ptr<v1::DigitService::Stub> NarrowStub() const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 1024);
    arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return v1::DigitService::NewStub(Channel(arguments));
  }

  static v1::GenerateDigitRequest Request(int digit, uint32_t steps = 1) {
    v1::GenerateDigitRequest request;
    request.set_digit(digit);
    request.set_seed(42);
    request.set_steps(steps);
    request.mutable_image()->set_size(32);
    return request;
  }

  // All events of a call, and its status.
  std::pair<std::vector<v1::GenerateDigitResponse>, grpc::Status> Generate(const v1::GenerateDigitRequest& request) {
    grpc::ClientContext context;
    const Reader reader = stub_->GenerateDigit(&context, request);
    std::vector<v1::GenerateDigitResponse> events;
    for (v1::GenerateDigitResponse event; reader->Read(&event);) events.push_back(event);
    return {events, reader->Finish()};
  }

  std::string Metric(const std::string& name) {
    const std::string page = server_->ScrapeMetrics();
    const size_t at = page.find("\n" + name + " ");
    if (at == std::string::npos) return "no such metric";
    const size_t begin = at + name.size() + 2;
    return page.substr(begin, page.find('\n', begin) - begin);
  }

  // For what another thread does soon: no deadline of its own, the test's timeout ends it.
  void AwaitMetric(const std::string& name, const std::string& value) {
    while (Metric(name) != value) std::this_thread::yield();
  }

  ServerOptions options_;
  ModelInfo info_;
  PuppetEngine* engine_ = nullptr;
  std::unique_ptr<Server> server_;
  std::unique_ptr<v1::DigitService::Stub> stub_;
};

}  // namespace denoised

#endif  // DENOISED_TESTS_SERVER_PUPPET_SERVER_H_
