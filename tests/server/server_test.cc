// The whole server in one process, over a real socket, with a puppet in the engine's place.
#include "server/server.h"

#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "common/image/image.h"
#include "common/image/png.h"
#include "common/support/digest.h"
#include "denoised/v1/digit_service.grpc.pb.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "server/service/request_size.h"
#include "tests/server/puppet_server.h"
#include "tests/testing/captured_log.h"
#include "tests/testing/http2.h"
#include "tests/testing/http_client.h"
#include "tests/testing/puppet_engine.h"
#include "tests/testing/raw_connection.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/test_certificates.h"

namespace denoised {
namespace {

using grpc::health::v1::HealthCheckResponse;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;
using testing::StartsWith;
using testing::UnorderedElementsAre;

constexpr int kSlots = 4;
constexpr char kGenerateDigitLabels[] =
    "grpc_method=\"GenerateDigit\",grpc_service=\"denoised.v1.DigitService\",grpc_type=\"server_stream\"";

bool HasIpv6Loopback() {
  const int descriptor = socket(AF_INET6, SOCK_STREAM, 0);
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_addr = in6addr_loopback;
  const bool bound =
      descriptor >= 0 && bind(descriptor, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  if (descriptor >= 0) close(descriptor);
  return bound;
}

uint8_t GreyLevel(float pixel) { return FromModelPixels(std::vector<float>(1, pixel), 1, 1).pixels[0]; }

class ServerTest : public PuppetServer {
 protected:
  ServerTest() : PuppetServer(kSlots, /*max_queued_images=*/2) {}

  absl::Status Reload() { return server_->models().AwaitReload(server_->models().RequestReload("the test")); }

  // A request of five steps that takes every place there is, as far as its first event: it is accepted.
  Reader StartFullRequest(grpc::ClientContext& context) {
    v1::GenerateDigitRequest request = Request(1, 5);
    request.set_count(kSlots + 2);
    Reader reader = stub_->GenerateDigit(&context, request);
    v1::GenerateDigitResponse event;
    EXPECT_TRUE(reader->Read(&event));
    EXPECT_TRUE(event.has_accepted());
    return reader;
  }
};

TEST_F(ServerTest, AcceptedComesFirstThenTheImage) {
  Start();
  const Answer answer = Generate(Request(7, 3));
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  ASSERT_THAT(answer.events, SizeIs(2));
  const v1::GenerateDigitResponse::Accepted& accepted = answer.events[0].accepted();
  EXPECT_EQ(accepted.seed(), 42u);
  EXPECT_EQ(accepted.steps(), 3u);
  EXPECT_EQ(accepted.model_version(), "cccccccccccc");
  EXPECT_EQ(accepted.queue_position(), 0u);
  const v1::GenerateDigitResponse::Image& image = answer.events[1].image();
  EXPECT_EQ(image.seed(), 42u);
  EXPECT_EQ(image.width(), 32u);
  EXPECT_EQ(image.height(), 32u);
  EXPECT_TRUE(image.has_denoise_duration());
  const absl::StatusOr<GreyImage> decoded = DecodePng(image.png());
  ASSERT_THAT(decoded, IsOk());
  EXPECT_EQ(decoded->width, 32);
  EXPECT_EQ(decoded->pixels[0], GreyLevel(PuppetPixel(7, 42, 0, 3)));
}

TEST_F(ServerTest, WhatIsNearlyBlackIsDrawnBlackWhereTheModelSaysSo) {
  const int level = GreyLevel(PuppetPixel(7, 42, 0, 3));
  ASSERT_GT(level, 0);
  info_.metadata.black_below = level + 1;
  Start();
  v1::GenerateDigitRequest request = Request(7, 3);
  request.mutable_preview()->set_every_steps(3);
  const Answer answer = Generate(request);
  ASSERT_THAT(answer.events, SizeIs(3)) << "the last frame is the image";
  for (const std::string& png : {answer.events[1].preview().png(), answer.events[2].image().png()}) {
    const absl::StatusOr<GreyImage> decoded = DecodePng(png);
    ASSERT_THAT(decoded, IsOk());
    EXPECT_EQ(decoded->pixels[0], 0);
  }
}

TEST_F(ServerTest, EachImageAskedForComesOnce) {
  Start();
  v1::GenerateDigitRequest request = Request(1, 2);
  request.set_count(6);
  const Answer answer = Generate(request);
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  std::set<uint32_t> indices;
  for (const auto& image : answer.images()) {
    indices.insert(image.image_index());
    EXPECT_EQ(DecodePng(image.png())->pixels[0], GreyLevel(PuppetPixel(1, 42, image.image_index(), 2)));
  }
  EXPECT_THAT(indices, ElementsAre(0, 1, 2, 3, 4, 5));
}

TEST_F(ServerTest, AbsentSeedIsDrawnAndToldBack) {
  Start();
  v1::GenerateDigitRequest request = Request(1);
  request.clear_seed();
  const Answer first = Generate(request);
  const Answer second = Generate(request);
  EXPECT_NE(first.events.at(0).accepted().seed(), second.events.at(0).accepted().seed());
  EXPECT_EQ(first.images().at(0).seed(), first.events.at(0).accepted().seed());
}

TEST_F(ServerTest, PngHasTheSizeAskedFor) {
  Start();
  v1::GenerateDigitRequest request = Request(1);
  request.mutable_image()->set_size(100);
  const Answer answer = Generate(request);
  EXPECT_EQ(answer.images().at(0).width(), 100u);
  EXPECT_EQ(DecodePng(answer.images().at(0).png())->height, 100);
}

TEST_F(ServerTest, ReaderThatKeepsUpGetsEveryPreview) {
  Start();
  engine_->HoldSteps();
  v1::GenerateDigitRequest request = Request(3, 4);
  request.mutable_preview()->set_every_steps(2);
  grpc::ClientContext context;
  const auto reader = stub_->GenerateDigit(&context, request);
  v1::GenerateDigitResponse event;
  ASSERT_TRUE(reader->Read(&event));
  EXPECT_TRUE(event.has_accepted());
  engine_->AllowSteps(2);
  ASSERT_TRUE(reader->Read(&event));
  EXPECT_EQ(event.preview().step(), 2u);
  EXPECT_EQ(event.preview().total_steps(), 4u);
  EXPECT_EQ(DecodePng(event.preview().png())->pixels[0], GreyLevel(PuppetPixel(3, 42, 0, 2)));
  engine_->AllowSteps(2);
  ASSERT_TRUE(reader->Read(&event));
  EXPECT_EQ(event.preview().step(), 4u);
  ASSERT_TRUE(reader->Read(&event));
  EXPECT_TRUE(event.has_image());
  EXPECT_FALSE(reader->Read(&event));
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(Metric("denoised_time_to_first_preview_seconds_count"), "1");
}

// A reader that sleeps while big previews pile up: it loses previews, gets its image, and holds nobody up.
TEST_F(ServerTest, SlowReaderLosesPreviewsNeverTheImage) {
  Start();
  v1::GenerateDigitRequest request = Request(3, 1000);
  request.mutable_preview()->set_every_steps(1);
  request.mutable_image()->set_size(1024);
  grpc::ClientContext context;
  const auto reader = stub_->GenerateDigit(&context, request);
  const Answer other = Generate(Request(5, 1000));  // meanwhile the first one reads nothing
  ASSERT_TRUE(other.status.ok());
  AwaitMetric("denoised_images_total{sampler=\"ddpm\"}", "2");
  EXPECT_NE(Metric("denoised_previews_dropped_total"), "0");
  Answer slow;
  for (v1::GenerateDigitResponse event; reader->Read(&event);) slow.events.push_back(event);
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_THAT(slow.images(), SizeIs(1));
  EXPECT_LT(slow.previews().size(), 1000u);
  EXPECT_TRUE(slow.events.back().has_image());
}

TEST_F(ServerTest, BadRequestNamesTheFieldAndCostsNothing) {
  Start();
  const Answer answer = Generate(Request(10));
  EXPECT_THAT(answer.events, IsEmpty());
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(answer.status.error_message(), "digit must be 0 to 9, got 10");
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(answer.status.error_details()));
  google::rpc::BadRequest bad;
  ASSERT_TRUE(details.details(0).UnpackTo(&bad));
  EXPECT_EQ(bad.field_violations(0).field(), "digit");
  EXPECT_THAT(engine_->batches(), IsEmpty());
}

TEST_F(ServerTest, ClassesGoByNumberOrByName) {
  info_.metadata.class_names = {"cat", "dog", "bird"};
  Start();
  v1::GenerateDigitRequest request = Request(1);
  const Answer by_number = Generate(request);
  ASSERT_TRUE(by_number.status.ok()) << by_number.status.error_message();
  EXPECT_EQ(by_number.events[0].accepted().class_name(), "dog");
  request.clear_digit();
  request.set_class_name("Dog");
  const Answer by_name = Generate(request);
  ASSERT_TRUE(by_name.status.ok()) << by_name.status.error_message();
  EXPECT_EQ(by_name.events[0].accepted().digit(), 1);
  EXPECT_EQ(by_name.events[0].accepted().class_name(), "dog");
  EXPECT_EQ(by_name.images().at(0).png(), by_number.images().at(0).png());
}

TEST_F(ServerTest, NamesOfNoClassAreABadRequestOfAnyLength) {
  info_.metadata.class_names = {"cat", "dog", "bird"};
  Start();
  v1::GenerateDigitRequest request;
  for (const std::string& name : {std::string("horse"), std::string(10'000, 'x'), std::string("a\0\x1b\n", 4)}) {
    request.set_class_name(name);
    const grpc::Status status = Generate(request).status;
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), StartsWith("class_name must be one of \"cat\", \"dog\" and \"bird\", got \""));
  }
  request.set_class_name("dog");
  EXPECT_TRUE(Generate(request).status.ok());
}

TEST_F(ServerTest, CountThatNeverFitsIsABadRequest) {
  Start();
  v1::GenerateDigitRequest request = Request(1);
  request.set_count(kSlots + 3);
  const Answer answer = Generate(request);
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(answer.status.error_message(), "count must be at most 6 on this server, got 7");
  grpc::ClientContext context;
  v1::GetModelResponse model;
  ASSERT_TRUE(stub_->GetModel(&context, {}, &model).ok());
  EXPECT_EQ(model.max_images_per_request(), 6u);
}

TEST_F(ServerTest, FullQueueAnswersWithRetryInfo) {
  Start();
  engine_->HoldSteps();
  grpc::ClientContext context;
  const auto reader = StartFullRequest(context);
  v1::GenerateDigitResponse event;
  grpc::ClientContext refusal;
  const Answer refused = Generate(refusal, Request(2));
  EXPECT_EQ(refused.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(refused.status.error_message(),
              HasSubstr("the queue is full: images that wait, are being drawn or have not been read yet take 6 of 6 "
                        "places, and this request needs 1; try again in about "));
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(refused.status.error_details()));
  google::rpc::RetryInfo retry;
  ASSERT_TRUE(details.details(0).UnpackTo(&retry));
  const int64_t milliseconds = retry.retry_delay().seconds() * 1000 + retry.retry_delay().nanos() / 1'000'000;
  EXPECT_GT(milliseconds, 0);
  const auto& trailing = refusal.GetServerTrailingMetadata();
  ASSERT_EQ(trailing.count("grpc-retry-pushback-ms"), 1u);
  const grpc::string_ref pushback = trailing.find("grpc-retry-pushback-ms")->second;
  EXPECT_EQ(std::string(pushback.data(), pushback.size()), absl::StrCat(milliseconds)) << "one wait for all clients";
  EXPECT_EQ(Metric("denoised_rejected_total{reason=\"queue_full\"}"), "1");
  EXPECT_EQ(Metric("denoised_requests_in_flight"), "1") << "the refused one must not count";
  engine_->LetGo();
  int images = 0;
  while (reader->Read(&event)) images += event.has_image() ? 1 : 0;
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(images, kSlots + 2);
  EXPECT_TRUE(Generate(Request(2)).status.ok()) << "the places must have come back";
}

// Of 51 waits, as no step has been timed: who is refused together is not to come back together.
TEST_F(ServerTest, RefusalsAskForDifferentWaits) {
  Start();
  engine_->HoldSteps();
  grpc::ClientContext context;
  const auto reader = StartFullRequest(context);
  std::set<int> waits;
  for (int tries = 0; tries < 100 && waits.size() < 2; ++tries) {
    grpc::ClientContext refusal;
    ASSERT_EQ(Generate(refusal, Request(2)).status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
    const grpc::string_ref pushback = refusal.GetServerTrailingMetadata().find("grpc-retry-pushback-ms")->second;
    waits.insert(std::stoi(std::string(pushback.data(), pushback.size())));
  }
  EXPECT_THAT(waits, SizeIs(2));
  EXPECT_THAT(waits, testing::Each(testing::AllOf(testing::Ge(100), testing::Le(150))));
  context.TryCancel();
}

// The wait has to be where a standard retry policy looks for it: such clients gave up on a queue that was about to
// clear.
TEST_F(ServerTest, StandardRetryPolicyWaitsOutAFullQueue) {
  Start();
  engine_->HoldSteps();
  grpc::ClientContext context;
  const auto reader = StartFullRequest(context);
  grpc::ChannelArguments arguments;
  arguments.SetServiceConfigJSON(R"({"methodConfig": [{"name": [{"service": "denoised.v1.DigitService"}],
      "retryPolicy": {"maxAttempts": 5, "initialBackoff": "0.001s", "maxBackoff": "0.001s", "backoffMultiplier": 1,
                      "retryableStatusCodes": ["RESOURCE_EXHAUSTED"]}}]})");
  const auto patient = v1::DigitService::NewStub(grpc::CreateCustomChannel(
      "127.0.0.1:" + std::to_string(server_->port()), grpc::InsecureChannelCredentials(), arguments));
  std::thread clears([this] {
    while (Metric("denoised_rejected_total{reason=\"queue_full\"}") == "0") std::this_thread::yield();
    engine_->LetGo();
  });
  std::thread reads([&reader] {
    for (v1::GenerateDigitResponse event; reader->Read(&event);) continue;
  });
  grpc::ClientContext patient_context;
  const auto stream = patient->GenerateDigit(&patient_context, Request(2));
  for (v1::GenerateDigitResponse event; stream->Read(&event);) continue;
  EXPECT_TRUE(stream->Finish().ok());
  clears.join();
  reads.join();
}

TEST_F(ServerTest, ImageThatHasBeenReadMakesRoomWhileItsRequestGoesOn) {
  Start();
  engine_->HoldSteps();
  grpc::ClientContext context;
  const auto reader = StartFullRequest(context);
  v1::GenerateDigitResponse event;
  engine_->AllowSteps(5);  // the first round
  for (int i = 0; i < kSlots; ++i) ASSERT_TRUE(reader->Read(&event));
  const auto accepted = [this] {
    grpc::ClientContext other;
    const auto next = stub_->GenerateDigit(&other, Request(2));
    v1::GenerateDigitResponse first;
    return next->Read(&first);
  };
  while (!accepted()) std::this_thread::yield();  // the server may not have heard yet that the images were read
  engine_->LetGo();
  int images = 0;
  while (reader->Read(&event)) images += event.has_image() ? 1 : 0;
  EXPECT_EQ(images, 2);
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(ServerTest, ClientThatLeavesFreesItsRowAtTheNextStep) {
  Start();
  engine_->HoldSteps();
  grpc::ClientContext context;
  const auto reader = stub_->GenerateDigit(&context, Request(1, 1000));
  v1::GenerateDigitResponse event;
  ASSERT_TRUE(reader->Read(&event));
  engine_->AllowSteps(3);
  engine_->WaitForHeldStep();  // the fourth
  context.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  AwaitMetric("denoised_requests_in_flight", "0");
  engine_->AllowSteps(1);
  AwaitMetric("denoised_wasted_steps_total{reason=\"cancelled\"}", "4");
  EXPECT_EQ(Metric("denoised_images_total{sampler=\"ddpm\"}"), "0");
}

// The client itself sets no deadline, so the end of the call is the server's doing.
TEST_F(ServerTest, PassedDeadlineEndsTheCall) {
  Start();
  engine_->HoldSteps();
  grpc::ClientContext context;
  context.AddMetadata("grpc-timeout", "300m");
  const Answer answer = Generate(context, Request(1, 1000));
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  AwaitMetric(absl::StrCat("grpc_server_handled_total{grpc_code=\"DeadlineExceeded\",", kGenerateDigitLabels, "}"),
              "1");
  AwaitMetric("denoised_requests_in_flight", "0");
  engine_->LetGo();
}

TEST_F(ServerTest, EngineFailureIsInternalForThatBatchOnly) {
  Start();
  engine_->FailNextStep(absl::InternalError("the network failed: out of memory"));
  const Answer failed = Generate(Request(1, 5));
  EXPECT_EQ(failed.status.error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_EQ(failed.status.error_message(), "the network failed: out of memory");
  EXPECT_TRUE(Generate(Request(1, 5)).status.ok());
}

// The first engine hangs; so does the second, later.
TEST_F(ServerTest, HungEngineIsReplacedOnceAndThenTheProcessEnds) {
  options_.stall_timeout_seconds = 0.3;
  absl::Notification died;
  options_.die = [&died] { died.Notify(); };
  Start();
  PuppetEngine* const first = engine_;
  first->HoldSteps();
  const Answer ended = Generate(Request(1, 5));
  EXPECT_EQ(ended.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ended.status.error_message(),
            "the engine stopped answering in the middle of this image; try another replica");
  AwaitMetric("denoised_model_reloads_total{result=\"ok\"}", "1");
  HealthCheckResponse health;
  do {
    ASSERT_TRUE(Check("", &health).ok());
  } while (health.status() != HealthCheckResponse::SERVING);
  EXPECT_TRUE(Generate(Request(2, 5)).status.ok());
  engine_->HoldSteps();
  EXPECT_EQ(Generate(Request(3, 5)).status.error_code(), grpc::StatusCode::UNAVAILABLE);
  died.WaitForNotification();
  EXPECT_EQ(Metric("denoised_engine_troubles_total{cause=\"stalled\"}"), "2");
  ASSERT_TRUE(Check("", &health).ok());
  EXPECT_EQ(health.status(), HealthCheckResponse::NOT_SERVING);
  first->LetGo();
}

// Balancers that watch must hear of both; those that ask now and then may ask in between.
class WatchedServerTest : public ServerTest {
 protected:
  void StartWatching() {
    Start();
    before_loading_ = [this] { heard_.WaitForNotification(); };
    for (const char* service : {"", "denoised.v1.DigitService"}) {
      grpc::health::v1::HealthCheckRequest request;
      request.set_service(service);
      contexts_.push_back(std::make_unique<grpc::ClientContext>());
      watches_.push_back(health_->Watch(contexts_.back().get(), request));
    }
    ExpectToHear(HealthCheckResponse::SERVING);
  }

  void ExpectToHear(HealthCheckResponse::ServingStatus status) {
    for (const auto& watch : watches_) {
      HealthCheckResponse response;
      EXPECT_TRUE(watch->Read(&response));
      EXPECT_EQ(response.status(), status);
    }
  }

  // The new engine is not made before everybody has heard of the old one.
  void ExpectToHearOfAnEngineThatIsBuiltAnew() {
    ExpectToHear(HealthCheckResponse::NOT_SERVING);
    heard_.Notify();
    ExpectToHear(HealthCheckResponse::SERVING);
    EXPECT_TRUE(Generate(Request(2, 5)).status.ok());
    for (const auto& context : contexts_) context->TryCancel();
    for (const auto& watch : watches_) EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }

 private:
  absl::Notification heard_;
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts_;
  std::vector<std::unique_ptr<grpc::ClientReader<HealthCheckResponse>>> watches_;
};

TEST_F(WatchedServerTest, OpenWatchesHearThatAStepHangsAndThatThereIsANewEngine) {
  options_.stall_timeout_seconds = 0.3;
  StartWatching();
  PuppetEngine* const first = engine_;
  first->HoldSteps();
  EXPECT_EQ(Generate(Request(1, 5)).status.error_code(), grpc::StatusCode::UNAVAILABLE);
  ExpectToHearOfAnEngineThatIsBuiltAnew();
  first->LetGo();
}

TEST_F(WatchedServerTest, OpenWatchesHearThatStepsFailAndThatThereIsANewEngine) {
  StartWatching();
  engine_->FailEveryStep(absl::InternalError("the device is lost"));
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(Generate(Request(1, 5)).status.ok());
  ExpectToHearOfAnEngineThatIsBuiltAnew();
}

// A rollout that ends a replica in that moment.
TEST_F(ServerTest, DrainWhileTheEngineIsBuiltAnewIsADrain) {
  bool died = false;
  options_.die = [&died] { died = true; };
  Start();
  absl::Notification loading, drained;
  before_loading_ = [&] {
    loading.Notify();
    drained.WaitForNotification();
  };
  engine_->FailEveryStep(absl::InternalError("the device is lost"));
  while (!loading.HasBeenNotified()) Generate(Request(1, 5));
  EXPECT_TRUE(server_->Drain().closed);
  drained.Notify();
  server_.reset();
  EXPECT_FALSE(died);
}

// Not a second time as the model that was replaced.
TEST_F(ServerTest, FailingEngineIsCountedOnceAndBuiltAnew) {
  Start();
  const std::shared_ptr<ServingModel> failing = model_.lock();  // so that it goes on being looked at
  engine_->FailEveryStep(absl::InternalError("the device is lost"));
  while (Metric("denoised_model_reloads_total{result=\"ok\"}") != "1") Generate(Request(1, 5));
  while (!Generate(Request(2, 5)).status.ok()) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(500));  // some looks of both supervisors
  EXPECT_EQ(Metric("denoised_engine_troubles_total{cause=\"failing\"}"), "1");
}

// When the first step of the new one fails, that one stays.
TEST_F(ServerTest, EngineThatFailedIsNotGoneBackTo) {
  Start();
  engine_->FailEveryStep(absl::InternalError("the device is lost"));
  while (Metric("denoised_model_reloads_total{result=\"ok\"}") != "1") Generate(Request(1, 5));
  engine_->FailEveryStep(absl::InternalError("the device is lost again"));
  EXPECT_EQ(Generate(Request(2, 5)).status.error_message(), "the device is lost again");
  std::this_thread::sleep_for(std::chrono::milliseconds(300));  // some looks at its first steps
  engine_->FailEveryStep(absl::OkStatus());
  EXPECT_TRUE(Generate(Request(2, 5)).status.ok());
  EXPECT_EQ(Metric("denoised_model_reloads_total{result=\"rolled_back\"}"), "0");
  EXPECT_EQ(Metric("denoised_engine_troubles_total{cause=\"failing\"}"), "1");
}

TEST_F(ServerTest, ReplacedModelThatHangsLosesItsCallsAlone) {
  options_.stall_timeout_seconds = 1;
  bool died = false;
  options_.die = [&died] { died = true; };
  Start();
  PuppetEngine* const old_engine = engine_;
  old_engine->HoldSteps();
  grpc::ClientContext context;
  const auto reader = stub_->GenerateDigit(&context, Request(1, 5));
  v1::GenerateDigitResponse event;
  ASSERT_TRUE(reader->Read(&event));
  std::thread reload([this] { EXPECT_THAT(Reload(), IsOk()); });
  EXPECT_FALSE(reader->Read(&event));
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(status.error_message(), "the engine stopped answering in the middle of this image; try another replica");
  reload.join();
  EXPECT_TRUE(Generate(Request(2, 5)).status.ok());
  HealthCheckResponse health;
  ASSERT_TRUE(Check("", &health).ok());
  EXPECT_EQ(health.status(), HealthCheckResponse::SERVING);
  EXPECT_FALSE(died);
  EXPECT_EQ(Metric("denoised_engine_troubles_total{cause=\"stalled\"}"), "1");
  old_engine->LetGo();
}

// Its last client is gone, and nobody would have waited for it but a thread of gRPC's, for ever.
TEST_F(ServerTest, ReplacedModelThatHangsWithoutCallsIsFoundToo) {
  options_.stall_timeout_seconds = 1;
  Start();
  PuppetEngine* const old_engine = engine_;
  old_engine->HoldSteps();
  {
    grpc::ClientContext context;
    const auto reader = StartFullRequest(context);
    old_engine->WaitForHeldStep();
    ASSERT_THAT(Reload(), IsOk());
    context.TryCancel();
    EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  AwaitMetric("denoised_engine_troubles_total{cause=\"stalled\"}", "1");
  EXPECT_TRUE(Generate(Request(2, 5)).status.ok());
  EXPECT_THAT(Reload(), IsOk());
  EXPECT_TRUE(server_->Drain().closed);
  old_engine->LetGo();
}

TEST_F(ServerTest, EngineThatHangsDuringADrainEndsTheProcess) {
  options_.stall_timeout_seconds = 1;
  absl::Notification died;
  options_.die = [&died] { died.Notify(); };
  Start();
  ASSERT_THAT(Reload(), IsOk());
  engine_->HoldSteps();
  grpc::ClientContext context;
  const auto reader = StartFullRequest(context);
  std::thread drain([this] { server_->Drain(); });
  died.WaitForNotification();
  drain.join();
  HealthCheckResponse health;
  EXPECT_FALSE(Check("", &health).ok() && health.status() == HealthCheckResponse::SERVING);
}

// Nobody supervises any more then, or never did (--stall_timeout 0).
TEST_F(ServerTest, EngineThatHangsAfterADrainEndsTheProcess) {
  options_.stall_timeout_seconds = 0;
  options_.longest_end = std::chrono::milliseconds(200);
  absl::Notification died;
  options_.die = [&] {
    died.Notify();
    engine_->LetGo();
  };
  Start();
  engine_->HoldSteps();
  {
    grpc::ClientContext context;
    const auto reader = StartFullRequest(context);
    engine_->WaitForHeldStep();
    context.TryCancel();
    EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  EXPECT_EQ(server_->Drain().dropped_requests, 0);
  server_.reset();
  EXPECT_TRUE(died.HasBeenNotified());
}

TEST_F(ServerTest, GetModelDescribesModelAndLimits) {
  options_.service.max_images_per_request = 50;
  options_.model.max_queued_images = 60;
  Start();
  grpc::ClientContext context;
  v1::GetModelResponse model;
  ASSERT_TRUE(stub_->GetModel(&context, {}, &model).ok());
  EXPECT_EQ(model.model_version(), "cccccccccccc");
  EXPECT_EQ(model.sha256(), std::string(64, 'c'));
  EXPECT_EQ(model.architecture(), "compact");
  EXPECT_EQ(model.parameter_count(), 123u);
  EXPECT_EQ(model.noise_schedule().num_train_timesteps(), 1000u);
  EXPECT_EQ(model.noise_schedule().prediction_type(), "epsilon");
  EXPECT_EQ(model.class_names_size(), 10);
  EXPECT_TRUE(model.supports_guidance());
  EXPECT_EQ(model.device(), "cpu");
  EXPECT_EQ(model.engine(), "a puppet");
  EXPECT_EQ(model.max_images_per_request(), 50u);
  EXPECT_EQ(model.max_batch_rows(), 4u);
  EXPECT_EQ(model.max_queued_images(), 60u);
  EXPECT_THAT(model.metadata_json(), HasSubstr("\"beta_schedule\": \"linear\""));
}

TEST_F(ServerTest, UntilTheModelIsLoadedNothingIsServed) {
  const TempFolder folder;
  options_.listen = "unix:" + folder.File("socket") + ":1";  // NOTE: an address that is known before Start returns
  const auto load = [this](const ServingModelOptions& options, SchedulerObserver* observer) {
    Connect(options_.listen, grpc::InsecureChannelCredentials());
    HealthCheckResponse response;
    for (const char* service : {"", "denoised.v1.DigitService"}) {
      EXPECT_TRUE(Check(service, &response).ok());
      EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
    }
    grpc::ClientContext context;
    v1::GetModelResponse model;
    for (const grpc::Status& status : {Generate(Request(1)).status, stub_->GetModel(&context, {}, &model)}) {
      EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
      EXPECT_EQ(status.error_message(), "the model is still loading; try again in a few seconds");
    }
    return PuppetLoader()(options, observer);
  };
  absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(options_, load);
  ASSERT_THAT(server, IsOk());
  server_ = *std::move(server);
  HealthCheckResponse response;
  EXPECT_TRUE(Check("", &response).ok());
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
  EXPECT_TRUE(Generate(Request(1)).status.ok());
}

TEST_F(ServerTest, HealthKnowsTheServerAndTheService) {
  Start();
  HealthCheckResponse response;
  for (const char* service : {"", "denoised.v1.DigitService"}) {
    ASSERT_TRUE(Check(service, &response).ok());
    EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
  }
  const grpc::Status unknown = Check("nobody", &response);
  EXPECT_EQ(unknown.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(unknown.error_message(), "this server has no service \"nobody\" to report on");
}

TEST_F(ServerTest, HealthListsWhatItKnows) {
  Start();
  grpc::ClientContext context;
  grpc::health::v1::HealthListResponse list;
  ASSERT_TRUE(health_->List(&context, {}, &list).ok());
  EXPECT_THAT(list.statuses(), SizeIs(2));
  for (const char* service : {"", "denoised.v1.DigitService"}) {
    EXPECT_EQ(list.statuses().at(service).status(), HealthCheckResponse::SERVING) << service;
  }
}

// Each would cost memory for as long as its client likes.
TEST_F(ServerTest, WatchesAreLimited) {
  Start();
  constexpr int kMost = 100;
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReader<HealthCheckResponse>>> watches;
  HealthCheckResponse response;
  for (int i = 0; i < kMost; ++i) {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    watches.push_back(health_->Watch(contexts.back().get(), {}));
    ASSERT_TRUE(watches.back()->Read(&response)) << i;
  }
  grpc::ClientContext context;
  const auto refused = health_->Watch(&context, {});
  EXPECT_FALSE(refused->Read(&response));
  const grpc::Status status = refused->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(status.error_message(), "this connection has 100 open Watch calls, as many as a connection may; use Check");
  EXPECT_TRUE(Check("", &response).ok());
  grpc::ChannelArguments own;
  own.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  const auto others =
      grpc::health::v1::Health::NewStub(grpc::CreateCustomChannel(address(), grpc::InsecureChannelCredentials(), own));
  grpc::ClientContext others_context;
  const auto watched = others->Watch(&others_context, {});
  EXPECT_TRUE(watched->Read(&response)) << "another connection's are its own";
  others_context.TryCancel();
  watched->Finish();
  for (const auto& each : contexts) each->TryCancel();
  for (const auto& watch : watches) watch->Finish();
}

// Field report "the true code": what a client sends comes back in the text, cut, and not as RESOURCE_EXHAUSTED.
TEST_F(ServerTest, LongNamesOfServicesAreCutInErrors) {
  Start();
  HealthCheckResponse response;
  const grpc::Status unknown = Check(std::string(30'000, 'n'), &response);
  EXPECT_EQ(unknown.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(unknown.error_message().size(), 1000u);
}

// Field report "the true code": no reason to try again, and a line and a count like those of every other call.
TEST_F(ServerTest, RequestThatIsTooLongIsRefusedInWords) {
  Start();
  const CapturedLog log;
  v1::GenerateDigitRequest request;
  request.set_class_name(std::string(900'000, 'a'));
  const std::string why =
      "the request has 900004 bytes, and may have 65536 at most: shorten its texts, and leave out fields that "
      "denoised.v1.GenerateDigitRequest does not have";
  const grpc::Status refused = Generate(request).status;
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(refused.error_message(), why);
  EXPECT_THAT(log.text(), testing::HasSubstr("GenerateDigit: INVALID_ARGUMENT after 0"));
  EXPECT_THAT(log.text(), testing::HasSubstr(why));
  EXPECT_EQ(Metric("grpc_server_handled_total{grpc_code=\"InvalidArgument\",grpc_method=\"GenerateDigit\","
                   "grpc_service=\"denoised.v1.DigitService\",grpc_type=\"server_stream\"}"),
            "1");
  EXPECT_TRUE(Generate(Request(1)).status.ok());
}

// What a service would keep or send back.
TEST_F(ServerTest, EachServiceRefusesRequestsThatAreTooLong) {
  Start();
  const std::string name(kMaxRequestBytes, 'a');
  HealthCheckResponse response;
  EXPECT_EQ(Check(name, &response).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  grpc::ClientContext context;
  grpc::health::v1::HealthCheckRequest health;
  health.set_service(name);
  const auto watch = health_->Watch(&context, health);
  EXPECT_FALSE(watch->Read(&response));
  EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  grpc::ClientContext model_context;
  v1::GetModelRequest request;
  request.GetReflection()->MutableUnknownFields(&request)->AddLengthDelimited(99, name);
  v1::GetModelResponse model;
  EXPECT_EQ(stub_->GetModel(&model_context, request, &model).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

// Field report "an engine that throws a long backtrace".
TEST_F(ServerTest, LongErrorsOfTheEngineKeepTheirCode) {
  Start();
  engine_->FailNextStep(absl::InternalError(std::string(50'000, '\xff')));
  const Answer failed = Generate(Request(1, 5));
  EXPECT_EQ(failed.status.error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_EQ(failed.status.error_message(), std::string(997, '?') + "...");
}

// As systemd's watchdog hears it.
TEST_F(ServerTest, IsAliveAfterEachProbeButNotWithAStepThatHangs) {
  std::atomic<int> alive = 0;
  options_.probe.interval_seconds = 0.01;
  options_.stall_timeout_seconds = 0;
  options_.on_alive = [&alive] { ++alive; };
  Start();
  const auto await_probes = [this](int more) {
    const auto probes = [this] { return std::stoi(Metric("denoised_loopback_probes_total{result=\"ok\"}")); };
    for (const int end = probes() + more; probes() < end;) std::this_thread::yield();
  };
  while (alive == 0) std::this_thread::yield();
  engine_->HoldSteps();
  grpc::ClientContext context;
  const Reader reader = stub_->GenerateDigit(&context, Request(7));
  engine_->WaitForHeldStep();
  await_probes(3);  // the last one from before, and the one that first sees this step
  const int before = alive;
  await_probes(3);
  EXPECT_EQ(alive, before);
  engine_->LetGo();
  while (alive == before) std::this_thread::yield();
}

TEST_F(ServerTest, LivenessIsTheAnswerAtTheOwnPort) {
  options_.probe.interval_seconds = 0.01;
  Start();
  while (Metric("denoised_loopback_probes_total{result=\"ok\"}") == "0") std::this_thread::yield();
  EXPECT_EQ(Metric("denoised_loopback_probes_total{result=\"error\"}"), "0");
  const HttpAnswer page = HttpGet(server_->metrics_port(), "/livez");
  EXPECT_EQ(page.status, 200);
  EXPECT_EQ(page.body, "alive\n");
}

// Field report "too many pings": a client pings far more often than there are events, while it waits in the queue. The
// common setting is 10 s, and the server's limit 1 s: here both are shorter.
TEST_F(ServerTest, ClientMayPingThroughALongSilence) {
  options_.transport.min_ping_interval_seconds = 0.05;
  Start();
  engine_->HoldSteps();
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 100);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 60'000);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_HTTP2_MIN_SENT_PING_INTERVAL_WITHOUT_DATA_MS, 50);
  const auto pinging = v1::DigitService::NewStub(grpc::CreateCustomChannel(
      "127.0.0.1:" + std::to_string(server_->port()), grpc::InsecureChannelCredentials(), arguments));
  grpc::ClientContext context;
  const auto reader = pinging->GenerateDigit(&context, Request(1, 5));
  v1::GenerateDigitResponse event;
  ASSERT_TRUE(reader->Read(&event));
  std::this_thread::sleep_for(std::chrono::seconds(2));  // twenty pings; gRPC's own limit ends the call at the third
  engine_->LetGo();
  ASSERT_TRUE(reader->Read(&event));
  EXPECT_TRUE(event.has_image());
  EXPECT_FALSE(reader->Read(&event));
  EXPECT_TRUE(reader->Finish().ok());
}

// Field report "streams cut by connection age": the client is told to go elsewhere, and the chain goes on.
TEST_F(ServerTest, CallOutlivesTheAgeOfItsConnection) {
  options_.transport.max_connection_age_seconds = 1;
  Start();
  engine_->HoldSteps();
  const RawConnection connection(server_->port());
  connection.Send(http2::Preface());
  connection.Send(http2::Headers(1, http2::CallHeaders("/denoised.v1.DigitService/GenerateDigit")) +
                  http2::Data(1, http2::Message(Request(1, 5).SerializeAsString())));
  http2::FrameReader frames(connection);
  ASSERT_TRUE(frames.Await(http2::kGoaway));
  engine_->LetGo();
  const std::vector<http2::Frame> rest = frames.Stream(1);
  ASSERT_THAT(rest, Not(IsEmpty())) << "the connection was cut";
  EXPECT_EQ(rest.front().type, http2::kData) << "the image";
  EXPECT_EQ(rest.back().type, http2::kHeaders) << "the status";
  AwaitMetric(absl::StrCat("grpc_server_handled_total{grpc_code=\"OK\",", kGenerateDigitLabels, "}"), "1");
}

// Clients are moved to new connections; two seconds are some twenty ages. gRPC's own client of 1.51 may fail a call
// that it was about to send when it heard: before anything was sent, with the status that retry policies are for.
TEST_F(ServerTest, ShortCallsGoOnAcrossTheAgesOfConnections) {
  options_.transport.max_connection_age_seconds = 0.1;
  Start();
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  while (std::chrono::steady_clock::now() < end) {
    Answer answer = Generate(Request(1));
    if (answer.status.error_code() == grpc::StatusCode::UNAVAILABLE) {
      EXPECT_THAT(answer.events, IsEmpty());
      answer = Generate(Request(1));
    }
    ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  }
}

// Field report "calls beyond the stream limit wait in silence": one channel, more calls than places.
TEST_F(ServerTest, CallsBeyondTheQueueAreAnsweredAtOnceOnOneChannel) {
  Start();
  engine_->HoldSteps();
  constexpr int kCalls = 300;
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReader<v1::GenerateDigitResponse>>> readers;
  for (int i = 0; i < kCalls; ++i) {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    readers.push_back(stub_->GenerateDigit(contexts.back().get(), Request(1, 5)));
  }
  int accepted = 0;
  for (const auto& reader : readers) {
    v1::GenerateDigitResponse event;
    if (reader->Read(&event)) {
      ++accepted;
    } else {
      EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
    }
  }
  EXPECT_EQ(accepted, kSlots + 2);
  for (const auto& context : contexts) context->TryCancel();
  engine_->LetGo();
}

TEST_F(ServerTest, ConnectionsBeyondTheLimitAreClosedAtOnce) {
  options_.transport.max_connections = 1;
  Start();
  HealthCheckResponse response;
  ASSERT_TRUE(Check("", &response).ok());
  EXPECT_EQ(Metric("denoised_connections"), "1");
  EXPECT_EQ(RawConnection(server_->port()).ReceiveAll(), "");
  EXPECT_EQ(Metric("denoised_connections_refused_total"), "1");
  EXPECT_TRUE(Check("", &response).ok());
}

TEST_F(ServerTest, WatchOfAnUnknownServiceStaysOpen) {
  Start();
  grpc::ClientContext context;
  grpc::health::v1::HealthCheckRequest request;
  request.set_service("nobody");
  const auto watch = health_->Watch(&context, request);
  HealthCheckResponse response;
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVICE_UNKNOWN);
  context.TryCancel();
  EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(ServerTest, DrainFinishesWhatRunsAndRefusesWhatComes) {
  Start();
  engine_->HoldSteps();
  grpc::ClientContext context;
  const auto reader = stub_->GenerateDigit(&context, Request(1, 10));
  v1::GenerateDigitResponse event;
  ASSERT_TRUE(reader->Read(&event));
  grpc::ClientContext watch_context;
  const auto watch = health_->Watch(&watch_context, {});
  HealthCheckResponse health;
  ASSERT_TRUE(watch->Read(&health));
  EXPECT_EQ(health.status(), HealthCheckResponse::SERVING);

  DrainReport report;
  std::thread drain([&] { report = server_->Drain(); });
  ASSERT_TRUE(watch->Read(&health));
  EXPECT_EQ(health.status(), HealthCheckResponse::NOT_SERVING);
  EXPECT_FALSE(watch->Read(&health)) << "a watch must end, or it would hold up the shutdown";
  EXPECT_TRUE(watch->Finish().ok());
  const auto ask = [this] {
    grpc::ClientContext other;
    const auto next = stub_->GenerateDigit(&other, Request(2));
    v1::GenerateDigitResponse first;
    if (next->Read(&first)) other.TryCancel();
    return next->Finish();
  };
  grpc::Status late = ask();
  while (late.error_code() == grpc::StatusCode::CANCELLED ||  // the lame duck still serves, as long as it has places
         late.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED) {
    late = ask();
  }
  EXPECT_EQ(late.error_code(), grpc::StatusCode::UNAVAILABLE);
  engine_->LetGo();
  ASSERT_TRUE(reader->Read(&event));
  EXPECT_TRUE(event.has_image());
  EXPECT_FALSE(reader->Read(&event));
  EXPECT_TRUE(reader->Finish().ok());
  drain.join();
  EXPECT_EQ(report.dropped_requests, 0);
  EXPECT_TRUE(report.closed);
  EXPECT_EQ(Metric("denoised_drain_dropped_images_total"), "0");
}

TEST_F(ServerTest, DrainFinishesAFullQueue) {
  Start();
  engine_->HoldSteps();
  grpc::ClientContext context;
  const auto reader = StartFullRequest(context);
  DrainReport report;
  std::thread drain([&] { report = server_->Drain(); });
  engine_->LetGo();
  int images = 0;
  for (v1::GenerateDigitResponse event; reader->Read(&event);) images += event.has_image() ? 1 : 0;
  EXPECT_EQ(images, kSlots + 2);
  EXPECT_TRUE(reader->Finish().ok());
  drain.join();
  EXPECT_EQ(report.dropped_requests, 0);
}

TEST_F(ServerTest, DrainThatIsOutOfTimeTellsWhatItDropped) {
  options_.drain_timeout_seconds = 0;
  Start();
  engine_->HoldSteps();
  grpc::ClientContext context;
  const auto reader = stub_->GenerateDigit(&context, Request(1, 1000));
  v1::GenerateDigitResponse event;
  ASSERT_TRUE(reader->Read(&event));
  DrainReport report;
  std::atomic<bool> drained = false;
  std::thread drain([&] {
    report = server_->Drain();
    drained = true;
  });
  while (!drained) {  // far slower than the drain is
    engine_->AllowSteps(1);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_FALSE(reader->Read(&event));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  drain.join();
  EXPECT_EQ(report.dropped_requests, 1);
  EXPECT_EQ(report.dropped_images, 1);
  EXPECT_TRUE(report.closed);
  EXPECT_EQ(Metric("denoised_drain_dropped_images_total"), "1");
}

// The scheduler's thread never comes back, so that only the transport can end the call.
TEST_F(ServerTest, DrainReturnsThoughAStepHangs) {
  options_.drain_timeout_seconds = 0;
  Start();
  engine_->HoldSteps();
  grpc::ClientContext context;
  const auto reader = stub_->GenerateDigit(&context, Request(1, 1000));
  v1::GenerateDigitResponse event;
  ASSERT_TRUE(reader->Read(&event));
  const DrainReport report = server_->Drain();
  EXPECT_EQ(report.dropped_requests, 1);
  EXPECT_TRUE(report.closed);
  EXPECT_FALSE(reader->Read(&event));
  EXPECT_FALSE(reader->Finish().ok());
}

// Such as those of reflection, which graphical clients keep open.
TEST_F(ServerTest, DrainWaitsForNoStreamButThoseOfRequests) {
  Start();
  grpc::GenericStub generic(channel_);
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  const auto call =
      generic.PrepareCall(&context, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &queue);
  call->StartCall(nullptr);
  void* tag = nullptr;
  bool ok = false;
  ASSERT_TRUE(queue.Next(&tag, &ok));
  AwaitMetric(
      "grpc_server_started_total{grpc_method=\"ServerReflectionInfo\",grpc_service=\"grpc.reflection.v1alpha."
      "ServerReflection\",grpc_type=\"bidi_stream\"}",
      "1");
  const DrainReport report = server_->Drain();
  EXPECT_EQ(report.dropped_requests, 0);
  EXPECT_TRUE(report.closed);
  grpc::Status status;
  call->Finish(&status, nullptr);
  ASSERT_TRUE(queue.Next(&tag, &ok));
}

TEST_F(ServerTest, DrainDropsCallsOfAReplacedModelToo) {
  options_.drain_timeout_seconds = 0;
  Start();
  engine_->HoldSteps();
  PuppetEngine* const old_engine = engine_;
  const std::shared_ptr<ServingModel> old_model = model_.lock();  // so that its engine lives as long as this test
  grpc::ClientContext context;
  const auto reader = stub_->GenerateDigit(&context, Request(1, 1000));
  v1::GenerateDigitResponse event;
  ASSERT_TRUE(reader->Read(&event));
  ASSERT_THAT(Reload(), IsOk());
  ASSERT_NE(engine_, old_engine);
  DrainReport report;
  std::atomic<bool> drained = false;
  std::thread drain([&] {
    report = server_->Drain();
    drained = true;
  });
  while (!drained) {  // far slower than the drain is
    old_engine->AllowSteps(1);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  drain.join();
  old_engine->LetGo();
  EXPECT_EQ(report.dropped_requests, 1);
  EXPECT_FALSE(reader->Read(&event));
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(status.error_message(), "the server is shutting down; try another replica");
}

TEST_F(ServerTest, ReloadServesTheNewModelAndKeepsTheOldOneOnAnError) {
  Start();
  info_.sha256 = std::string(64, 'd');
  ASSERT_THAT(Reload(), IsOk());
  EXPECT_EQ(Generate(Request(1)).events.at(0).accepted().model_version(), "dddddddddddd");
  info_.metadata.noise_schedule.num_train_timesteps = -1;
  EXPECT_EQ(Reload().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Generate(Request(1)).events.at(0).accepted().model_version(), "dddddddddddd");
  EXPECT_EQ(Metric("denoised_model_reloads_total{result=\"ok\"}"), "1");
  EXPECT_EQ(Metric("denoised_model_reloads_total{result=\"error\"}"), "1");
}

TEST_F(ServerTest, CallsAreCountedByCode) {
  Start();
  Generate(Request(1));
  Generate(Request(10));
  const std::string labels = kGenerateDigitLabels;
  AwaitMetric("grpc_server_handled_total{grpc_code=\"OK\"," + labels + "}", "1");
  AwaitMetric("grpc_server_handled_total{grpc_code=\"InvalidArgument\"," + labels + "}", "1");
  EXPECT_EQ(Metric("grpc_server_started_total{" + labels + "}"), "2");
  EXPECT_EQ(Metric("grpc_server_handling_seconds_count{" + labels + "}"), "2");
}

// rate() does not see the error that a series begins with.
TEST_F(ServerTest, EachCodeOfEachMethodIsCountedFromTheStart) {
  Start();
  const std::string page = MetricsPage();
  for (const char* method : {"GenerateDigit", "GetModel", "Check", "List", "Watch"}) {
    std::set<std::string> codes;
    const std::regex series(
        absl::StrCat("grpc_server_handled_total\\{grpc_code=\"([A-Za-z]+)\",grpc_method=\"", method, "\"[^}]*\\} 0\n"));
    for (std::sregex_iterator match(page.begin(), page.end(), series), end; match != end; ++match) {
      codes.insert((*match)[1]);
    }
    EXPECT_THAT(codes, UnorderedElementsAre("OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded",
                                            "NotFound", "AlreadyExists", "PermissionDenied", "ResourceExhausted",
                                            "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented", "Internal",
                                            "Unavailable", "DataLoss", "Unauthenticated"))
        << method;
  }
  const std::string labels = kGenerateDigitLabels;
  Generate(Request(1));
  AwaitMetric("grpc_server_handled_total{grpc_code=\"OK\"," + labels + "}", "1");
  EXPECT_THAT(MetricsPage(),
              Not(HasSubstr("GenerateDigit\",grpc_service=\"denoised.v1.DigitService\",grpc_type=\"unary")))
      << "declared and counted under the same labels";
}

TEST_F(ServerTest, OccupiedPortIsSaid) {
  Start();
  ServerOptions second = options_;
  second.listen = "127.0.0.1:" + std::to_string(server_->port());
  EXPECT_THAT(Server::Start(second, PuppetLoader()),
              StatusIs(absl::StatusCode::kUnavailable,
                       "cannot listen on " + second.listen +
                           ": the port is taken, or the address is not this machine's (Address already in use); choose "
                           "another with --listen"));
}

TEST_F(ServerTest, UnixAddressThatCannotBeHadIsSaid) {
  const TempFolder folder;
  options_.listen = "unix:" + folder.Write("model.pt", "weights");
  EXPECT_THAT(Server::Start(options_, PuppetLoader()),
              StatusIs(absl::StatusCode::kUnavailable,
                       "cannot listen on " + options_.listen +
                           ": another server has it, or what is there is no socket and is kept (Address already in "
                           "use); choose another with --listen"));
  options_.listen = "unix:" + folder.File("nowhere/socket");
  EXPECT_THAT(Server::Start(options_, PuppetLoader()),
              StatusIs(absl::StatusCode::kUnavailable,
                       "cannot listen on " + options_.listen +
                           ": no socket can be made there (No such file or directory); choose another with --listen"));
}

TEST_F(ServerTest, MalformedAddressIsSaid) {
  options_.listen = "localhost";
  EXPECT_THAT(Server::Start(options_, PuppetLoader()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "--listen must be an address and a port, such as 0.0.0.0:50051, got \"localhost\""));
}

TEST_F(ServerTest, DrawsOverMutualTls) {
  const TestAuthority authority;
  const TempFolder folder;
  const TestIdentity identity = authority.Issue("server");
  options_.tls = {.cert = folder.Write("server.pem", identity.cert),
                  .key = folder.Write("server.key", identity.key),
                  .client_ca = folder.Write("ca.pem", authority.pem())};
  options_.probe.interval_seconds = 3600;
  Start();
  EXPECT_EQ(Generate(Request(7)).status.error_code(), grpc::StatusCode::UNAVAILABLE) << "this was plain text";
  const std::string address = "127.0.0.1:" + std::to_string(server_->port());
  Connect(address, grpc::SslCredentials({authority.pem(), "", ""}));
  EXPECT_EQ(Generate(Request(7)).status.error_code(), grpc::StatusCode::UNAVAILABLE) << "this had no certificate";
  const TestIdentity client = authority.Issue("client");
  Connect(address, grpc::SslCredentials({authority.pem(), client.key, client.cert}));
  const Answer answer = Generate(Request(7));
  EXPECT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_THAT(answer.images(), SizeIs(1));
  AwaitMetric("denoised_loopback_probes_total{result=\"ok\"}", "1");  // though the probe has no certificate
}

TEST_F(ServerTest, UnusableTlsFilesEndTheStart) {
  options_.tls.cert = "/nowhere/cert.pem";
  options_.tls.key = "/nowhere/key.pem";
  EXPECT_THAT(Server::Start(options_, PuppetLoader()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("--tls_cert: cannot open /nowhere/cert.pem")));
}

// Expired certificates of servers that nobody restarts are a classic of outages.
TEST_F(ServerTest, CertificatesThatAreReplacedOnDiskReachNewConnections) {
  const TestAuthority before;
  const TestAuthority after;
  const TempFolder folder;
  const auto install = [&](const TestIdentity& identity) {
    options_.tls.cert = folder.Write("server.pem", identity.cert);
    options_.tls.key = folder.Write("server.key", identity.key);
  };
  install(before.Issue("server"));
  Start();
  const std::string address = "127.0.0.1:" + std::to_string(server_->port());
  Connect(address, grpc::SslCredentials({before.pem(), "", ""}));
  const std::shared_ptr<grpc::Channel> open = channel_;
  EXPECT_TRUE(Generate(Request(7)).status.ok());
  EXPECT_THAT(Metric("denoised_tls_certificate_expiry_seconds"), HasSubstr("86"));  // a day

  install(after.Issue("server"));
  do {  // the server looks once a second
    Connect(address, grpc::SslCredentials({after.pem(), "", ""}));
  } while (!Generate(Request(7)).status.ok());
  stub_ = v1::DigitService::NewStub(open);
  EXPECT_TRUE(Generate(Request(7)).status.ok()) << "the old connection was cut";
}

TEST_F(ServerTest, WithTokensOnlyTheirHoldersDrawAndHealthStaysOpen) {
  const TempFolder folder;
  options_.access.tokens = folder.Write("tokens", "lab " + Sha256Hex("secret"));
  Start();
  const grpc::Status refused = Generate(Request(7)).status;
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_THAT(refused.error_message(), HasSubstr("this server asks for a token"));
  grpc::ClientContext stranger;
  v1::GetModelResponse model;
  EXPECT_EQ(stub_->GetModel(&stranger, {}, &model).error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_FALSE(model.has_noise_schedule());

  grpc::ClientContext drawing;
  drawing.AddMetadata("authorization", "Bearer secret");
  EXPECT_TRUE(Generate(drawing, Request(7)).status.ok());
  grpc::ClientContext asking;
  asking.AddMetadata("authorization", "Bearer secret");
  EXPECT_TRUE(stub_->GetModel(&asking, {}, &model).ok());
  HealthCheckResponse response;
  EXPECT_TRUE(Check("", &response).ok());
}

TEST_F(ServerTest, BrokenTokenFilesAndTokensInPlainTextEndTheStart) {
  const TempFolder folder;
  options_.access.tokens = folder.Write("tokens", "");
  EXPECT_THAT(Server::Start(options_, PuppetLoader()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("there is no token in it")));
  options_.listen = "0.0.0.0:0";
  EXPECT_THAT(Server::Start(options_, PuppetLoader()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--tokens: without TLS, tokens would reach")));
}

TEST_F(ServerTest, MetricsListenOnAnIpv6AddressInBrackets) {
  if (!HasIpv6Loopback()) GTEST_SKIP() << "this machine has no ::1";
  options_.metrics_listen = "[::1]:0";
  Start();
  EXPECT_EQ(HttpGet(server_->metrics_port(), "/healthz", "::1").status, 200);
}

TEST_F(ServerTest, OneRowIsTooFew) {
  options_.model.max_batch_rows = 1;
  EXPECT_THAT(Server::Start(options_, PuppetLoader()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "--max_batch_rows must be at least 2, because a guided image takes two rows"));
}

}  // namespace
}  // namespace denoised
