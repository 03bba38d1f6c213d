// Clients that read slowly, not at all, or leave: what they cost themselves and others.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "server/service/digit_stream.h"
#include "tests/server/puppet_server.h"
#include "tests/testing/http2.h"
#include "tests/testing/raw_connection.h"

namespace denoised {
namespace {

using std::chrono::milliseconds;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

constexpr uint32_t kSteps = 1000;  // as many as a request may have

constexpr int kSlots = 8;

class ReadersTest : public PuppetServer {
 protected:
  ReadersTest() : PuppetServer(kSlots, /*max_queued_images=*/8) { keeps_batches_ = false; }

  // Big pictures of noise, a frame of each step.
  static v1::GenerateDigitRequest EveryFrame(uint32_t steps) {
    v1::GenerateDigitRequest request = Request(3, steps);
    request.mutable_preview()->set_every_steps(1);
    request.mutable_image()->set_size(1024);
    return request;
  }

  // Calls that ask for every frame and never read.
  struct Stalled {
    grpc::ClientContext context;
    std::unique_ptr<v1::DigitService::Stub> stub;
    Reader reader;
  };
  std::vector<std::unique_ptr<Stalled>> StartStalled(int calls, uint32_t steps) {
    std::vector<std::unique_ptr<Stalled>> stalled;
    for (int i = 0; i < calls; ++i) {
      stalled.push_back(std::make_unique<Stalled>());
      stalled.back()->stub = NarrowStub();
      stalled.back()->reader = stalled.back()->stub->GenerateDigit(&stalled.back()->context, EveryFrame(steps));
    }
    AwaitMetric("denoised_requests_in_flight", std::to_string(calls));
    return stalled;
  }

  // Whether a request that takes all of them is admitted, soon: who leaves keeps its places until the next step.
  bool EveryPlaceIsFree() {
    v1::GenerateDigitRequest request = Request(1);
    request.set_count(kSlots + 8);
    for (int i = 0; i < 100; ++i) {
      if (Generate(request).status.ok()) return true;
      std::this_thread::sleep_for(milliseconds(10));
    }
    return false;
  }
};

// Reported of gRPC's callbacks: four clients that ask for every frame and read none held all of its threads, so that
// nobody was served and health was silent.
TEST_F(ReadersTest, ClientsThatNeverReadHoldUpNobody) {
  Start();
  engine_->DrawNoise();
  const auto stalled = StartStalled(4, kSteps);
  const auto health = grpc::health::v1::Health::NewStub(channel_);
  for (int i = 0; i < 20; ++i) {
    grpc::ClientContext context;
    grpc::health::v1::HealthCheckResponse response;
    EXPECT_TRUE(health->Check(&context, {}, &response).ok());
    EXPECT_TRUE(Generate(Request(5, 20)).status.ok());
  }
  AwaitMetric("denoised_requests_in_flight", "4");  // the stalled ones, which must still be there
  for (const auto& call : stalled) call->context.TryCancel();
  AwaitMetric("denoised_requests_in_flight", "0");
  AwaitMetric("denoised_output_bytes", "0");
}

// Seen on a busy machine: a server that had drawn everything closed its connections, a client said that it could take
// more, was reset, and lost what it had not read.
TEST_F(ReadersTest, WhoReadsSlowlyGetsAllOfADrain) {
  constexpr uint32_t kWindow = 4 << 20, kStream = 1, kConnection = 0;
  constexpr int kReceiveBytes = 32 << 10;
  Start();
  engine_->DrawNoise();
  engine_->HoldSteps();
  v1::GenerateDigitRequest request = Request(3, 10);
  request.set_count(kSlots);
  request.mutable_preview()->set_every_steps(1);
  request.mutable_image()->set_size(128);
  const RawConnection client(server_->port());
  setsockopt(client.descriptor(), SOL_SOCKET, SO_RCVBUF, &kReceiveBytes, sizeof kReceiveBytes);
  client.Send(http2::Preface() + http2::WindowUpdate(kConnection, kWindow) +
              http2::Headers(kStream, http2::CallHeaders("/denoised.v1.DigitService/GenerateDigit")) +
              http2::WindowUpdate(kStream, kWindow) +
              http2::Data(kStream, http2::Message(request.SerializeAsString())));
  AwaitMetric("denoised_requests_in_flight", "1");
  std::thread drain([this] { server_->Drain(); });
  http2::FrameReader frames(client);
  EXPECT_TRUE(frames.Await(http2::kGoaway));
  EXPECT_TRUE(frames.Await(http2::kPing));
  EXPECT_TRUE(frames.Await(http2::kGoaway)) << "the last one, after which gRPC closes when no call is left";
  engine_->LetGo();
  AwaitMetric("denoised_requests_in_flight", "0");
  std::this_thread::sleep_for(milliseconds(100));  // in which it closes
  for (int i = 0; i < 3; ++i) {
    client.Send(http2::WindowUpdate(kConnection, 1));
    std::this_thread::sleep_for(milliseconds(10));
  }
  EXPECT_THAT(frames.Stream(kStream), Not(IsEmpty()));
  drain.join();
}

TEST_F(ReadersTest, FramesThatNobodyReadsAreHardlyTakenFromTheEngine) {
  Start();
  engine_->DrawNoise();
  const auto start = std::chrono::steady_clock::now();
  const auto stalled = StartStalled(1, kSteps);
  AwaitMetric("denoised_images_total{sampler=\"ddpm\"}", "1");
  const auto tenths = (std::chrono::steady_clock::now() - start) / milliseconds(100);
  // What may wait for the encoders, and, as it turns out to wait for the reader, is renewed ten times a second; beside
  // that, the one that is being written, and the image.
  constexpr int64_t kForTheEncoders = DigitStream::kMaxWaitingPixels / (1024 * 1024);
  EXPECT_LE(engine_->reads(), std::min<int64_t>(kForTheEncoders * (1 + tenths) + 4, kSteps - 1)) << "of 1000 frames";
}

TEST_F(ReadersTest, BytesThatWaitAreBoundedOverAllCalls) {
  constexpr int64_t kLimit = 4 << 20, kFrame = 3 << 20;
  options_.service.max_output_bytes = kLimit;
  options_.service.encoder_threads = 1;
  Start();
  engine_->DrawNoise();
  engine_->HoldSteps();
  const auto stalled = StartStalled(kSlots, kSteps);
  const auto waiting = [this] { return std::stod(Metric("denoised_output_bytes")); };
  int64_t step = engine_->steps();
  while (waiting() < kLimit) {  // slowly, so that there are no images yet, only previews
    engine_->AllowSteps(1);
    while (engine_->steps() == step) std::this_thread::yield();
    ++step;
    std::this_thread::sleep_for(milliseconds(1));
    ASSERT_LT(step, kSteps - 200) << "eight clients that do not read must reach the limit";
  }
  engine_->AllowSteps(100);
  while (engine_->steps() < step + 100) {
    // The limit, and what the encoder was at when it was reached.
    ASSERT_LE(waiting(), kLimit + kFrame);
    std::this_thread::yield();
  }
  ASSERT_LE(waiting(), kLimit + kFrame);
}

// So many big pictures that nobody reads could take more memory than there is; small ones fit beside them.
TEST_F(ReadersTest, RequestsAreRefusedWhoseImagesCouldTakeTooMuch) {
  options_.service.max_output_bytes = 0;  // for images that is 32 MiB
  Start();
  engine_->HoldSteps();
  v1::GenerateDigitRequest big = Request(3);
  big.mutable_image()->set_size(1024);
  ValidRequest valid;
  valid.draw.count = 1;
  valid.format.size = 1024;
  const int64_t most = OutputBudget::kLeastForImages / DigitStream::MostImageBytes(valid);
  ASSERT_LT(most, kSlots + 8);
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<Reader> readers;
  for (int i = 0; i < most; ++i) {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    readers.push_back(stub_->GenerateDigit(contexts.back().get(), big));
    v1::GenerateDigitResponse accepted;
    ASSERT_TRUE(readers.back()->Read(&accepted));
  }
  grpc::ClientContext refused;
  const grpc::Status status = Generate(refused, big).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(
      status.error_message(),
      "too much could wait for readers: the images of this request take up to 2.1 MiB, those that were admitted up "
      "to 29.9 of 32 MiB (--max_output_bytes); try again in about 1 s, or ask for smaller pictures");
  EXPECT_EQ(refused.GetServerTrailingMetadata().count("grpc-retry-pushback-ms"), 1u);
  EXPECT_EQ(Metric("denoised_rejected_total{reason=\"queue_full\"}"), "1");
  grpc::ClientContext small;
  const Reader beside = stub_->GenerateDigit(&small, Request(4));
  v1::GenerateDigitResponse event;
  EXPECT_TRUE(beside->Read(&event));
  engine_->LetGo();
  for (const Reader& reader : readers) {
    while (reader->Read(&event)) continue;
    EXPECT_TRUE(reader->Finish().ok());
  }
  EXPECT_TRUE(Generate(big).status.ok()) << "the room must have come back";
}

TEST_F(ReadersTest, ImagesAreSentWhenThereIsNoRoomForPreviews) {
  options_.service.max_output_bytes = 0;
  Start();
  const auto [events, status] = Generate(EveryFrame(5));
  EXPECT_TRUE(status.ok()) << status.error_message();
  ASSERT_THAT(events, SizeIs(2));
  EXPECT_TRUE(events[1].has_image());
  EXPECT_EQ(Metric("denoised_previews_dropped_total"), "5");
}

TEST_F(ReadersTest, ReaderThatKeepsUpGetsEveryFrameBesideStalledOnes) {
  Start();
  engine_->HoldSteps();
  const auto stalled = StartStalled(2, kSteps);
  engine_->WaitForHeldStep();
  v1::GenerateDigitRequest request = Request(5, 30);
  request.mutable_preview()->set_every_steps(1);
  grpc::ClientContext context;
  const Reader reader = stub_->GenerateDigit(&context, request);
  v1::GenerateDigitResponse event;
  ASSERT_TRUE(reader->Read(&event));
  engine_->AllowSteps(1);  // the one that was held has none of it
  for (uint32_t step = 1; step <= 30; ++step) {
    engine_->AllowSteps(1);
    ASSERT_TRUE(reader->Read(&event));
    EXPECT_EQ(event.preview().step(), step);
  }
  ASSERT_TRUE(reader->Read(&event));
  EXPECT_TRUE(event.has_image());
  engine_->LetGo();
}

// Reported: a client that read as fast as it could got 10 to 20 of 20 frames and 354 of 1000, as steps are faster than
// encoders.
TEST_F(ReadersTest, ReaderThatKeepsUpGetsEveryFrameHoweverFastTheStepsAre) {
  options_.service.encoder_threads = 1;
  Start();
  v1::GenerateDigitRequest request = Request(5, kSteps);
  request.set_count(2);
  request.mutable_preview()->set_every_steps(10);
  request.mutable_image()->set_size(64);
  const auto [events, status] = Generate(request);
  EXPECT_TRUE(status.ok()) << status.error_message();
  std::map<uint32_t, uint32_t> last_step;
  for (const v1::GenerateDigitResponse& event : events) {
    if (event.has_preview()) {
      EXPECT_EQ(event.preview().step(), last_step[event.preview().image_index()] += 10);
    }
    if (event.has_image()) {
      EXPECT_EQ(last_step[event.image().image_index()], kSteps) << "frames come before the image";
    }
  }
  EXPECT_EQ(Metric("denoised_previews_dropped_total"), "0");
}

// What a stalled neighbour or one's own previews do to the timing must not show in the picture.
TEST_F(ReadersTest, BytesAreTheSameBesideStalledReaders) {
  Start();
  const auto alone = Generate(Request(7, 20));
  const auto stalled = StartStalled(3, kSteps);
  v1::GenerateDigitRequest with_previews = Request(7, 20);
  with_previews.mutable_preview()->set_every_steps(3);
  EXPECT_EQ(Generate(Request(7, 20)).images().back().png(), alone.images().back().png());
  EXPECT_EQ(Generate(with_previews).images().back().png(), alone.images().back().png());
}

// A client that reads an event just within the limit for one, again and again, held all places for as long as it liked.
TEST_F(ReadersTest, TrickleReaderLosesItsCallThoughEachReadIsInTime) {
  options_.write_timeout_seconds = 1;
  options_.service.read_limits.bytes_per_second = 1e9;
  Start();
  engine_->DrawNoise();
  v1::GenerateDigitRequest request = Request(3);
  request.mutable_image()->set_size(1024);
  request.set_count(8);
  grpc::ClientContext context;
  const auto narrow = NarrowStub();
  const Reader reader = narrow->GenerateDigit(&context, request);
  int images = 0;
  for (v1::GenerateDigitResponse event; reader->Read(&event);) {
    images += event.has_image() ? 1 : 0;
    std::this_thread::sleep_for(milliseconds(1000));
  }
  EXPECT_LT(images, 8);
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(status.error_message(), "Cancelled on the server side");  // docs/faults.md says so
  AwaitMetric("denoised_requests_in_flight", "0");
  EXPECT_NE(Metric("denoised_wasted_steps_total{reason=\"slow_reader\"}"), "0");
  EXPECT_TRUE(EveryPlaceIsFree());
}

TEST_F(ReadersTest, ImageThatItsReaderDidNotTakeIsWaste) {
  options_.write_timeout_seconds = 0.05;
  options_.service.read_limits.bytes_per_second = 1e9;
  Start();
  engine_->DrawNoise();
  v1::GenerateDigitRequest request = Request(3, 2);
  request.mutable_image()->set_size(1024);
  request.set_count(8);
  grpc::ClientContext context;
  const auto narrow = NarrowStub();
  const Reader reader = narrow->GenerateDigit(&context, request);  // and never reads
  while (Metric("denoised_wasted_steps_total{reason=\"slow_reader\"}") == "0") std::this_thread::yield();
  AwaitMetric("denoised_requests_in_flight", "0");
  int images = 0;
  for (v1::GenerateDigitResponse event; reader->Read(&event);) images += event.has_image() ? 1 : 0;
  const int lost_steps = std::stoi(Metric("denoised_wasted_steps_total{reason=\"slow_reader\"}"));
  EXPECT_LT(images, 8);
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_LE(lost_steps, 2 * (8 - images));
  AwaitMetric("denoised_output_bytes", "0");
}

// Reported of many servers: calls that are cancelled or late at any moment, queued ones too, left rows, memory or a
// stall behind.
TEST_F(ReadersTest, ThousandCallsThatLeaveAtAnyMomentLeaveNothingBehind) {
  Start();
  const auto alone = Generate(Request(7, 20));
  constexpr int kThreads = 8, kCallsEach = 125;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([this, thread] {
      std::minstd_rand random(static_cast<uint32_t>(thread) + 1);
      const auto stub = NarrowStub();
      for (int i = 0; i < kCallsEach; ++i) {
        v1::GenerateDigitRequest request = i % 3 == 0 ? EveryFrame(kSteps) : Request(1, kSteps);
        request.mutable_image()->set_size(32);
        request.set_count(static_cast<uint32_t>(1 + random() % 3));
        const milliseconds patience(random() % 10);
        grpc::ClientContext context;
        if (i % 2 == 0) context.set_deadline(std::chrono::system_clock::now() + patience);
        const Reader reader = stub->GenerateDigit(&context, request);
        v1::GenerateDigitResponse event;
        if (i % 5 == 0) reader->Read(&event);
        if (i % 2 == 1) std::this_thread::sleep_for(patience);
        context.TryCancel();
        reader->Finish();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  AwaitMetric("denoised_requests_in_flight", "0");
  EXPECT_TRUE(EveryPlaceIsFree());
  AwaitMetric("denoised_output_bytes", "0");
  const int64_t steps = engine_->steps();
  EXPECT_EQ(Generate(Request(7, 20)).images().back().png(), alone.images().back().png());
  EXPECT_EQ(engine_->steps(), steps + 20) << "steps that are nobody's";
}

}  // namespace
}  // namespace denoised
