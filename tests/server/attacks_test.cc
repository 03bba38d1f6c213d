// What strangers may send to the gRPC port: published holes of gRPC 1.51, tried on this server as bytes. After each
// attack, and beside it, others are served. SECURITY.md has the table.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "denoised/v1/digit_service.grpc.pb.h"
#include "tests/server/puppet_server.h"
#include "tests/testing/captured_log.h"
#include "tests/testing/http2.h"
#include "tests/testing/process_figures.h"
#include "tests/testing/raw_connection.h"

namespace denoised {
namespace {

using testing::Contains;
using testing::Field;
using testing::HasSubstr;
using testing::Not;

constexpr char kGetModel[] = "/denoised.v1.DigitService/GetModel";
constexpr char kGenerateDigit[] = "/denoised.v1.DigitService/GenerateDigit";

class AttackTest : public PuppetServer {
 protected:
  AttackTest() : PuppetServer(/*slots=*/4, /*max_queued_images=*/100) {
    keeps_batches_ = false;
    // Streams that are reset count until gRPC has heard of it.
    options_.transport.max_calls = 1'000'000;
    options_.transport.max_unheard_bytes = options_.transport.max_unheard_bytes_of_all = 64 << 20;
    Start();
  }

  // What an ordinary client gets.
  grpc::Status Draw() { return Generate(Request(7, 5)).status; }

  RawConnection Dial() const {
    RawConnection connection(server_->port());
    connection.Send(http2::Preface());
    return connection;
  }

  // One that has acknowledged the server's settings: only then does gRPC 1.51 hold it to the limit of metadata.
  RawConnection DialAndAcknowledge() const {
    RawConnection connection = Dial();
    http2::FrameReader frames(connection);
    while (frames.Next().type != http2::kSettings) continue;
    connection.Send(http2::FrameBytes(http2::kSettings, http2::kAck, 0, ""));
    return connection;
  }
};

std::string CallOf(uint32_t stream, const std::string& headers) {
  return http2::Headers(stream, headers) + http2::Data(stream, http2::Message(""));
}

auto HasType(uint8_t type) { return Contains(Field(&http2::Frame::type, type)); }

TEST_F(AttackTest, OrdinaryBytesAreServed) {
  const RawConnection connection = Dial();
  connection.Send(CallOf(1, http2::CallHeaders(kGetModel)));
  EXPECT_THAT(http2::FrameReader(connection).Stream(1), HasType(http2::kData));
}

// Each would be a time series for good.
TEST_F(AttackTest, MethodsThatThereAreNotAreOneInTheMetrics) {
  const RawConnection connection = Dial();
  http2::FrameReader frames(connection);
  for (uint32_t i = 0; i < 50; ++i) {
    connection.Send(CallOf(2 * i + 1, http2::CallHeaders(absl::StrCat("/made.Up", i, "/Method"))));
    frames.Stream(2 * i + 1);
  }
  // Those of a client, of a service that is off, and of another spelling are linked, too.
  uint32_t stream = 101;
  for (const char* path : {"/opentelemetry.proto.collector.trace.v1.TraceService/Export",
                           "/grpc.channelz.v1.Channelz/GetServers", "/denoised/v1.DigitService.GenerateDigit"}) {
    connection.Send(CallOf(stream, http2::CallHeaders(path)));
    frames.Stream(stream);
    stream += 2;
  }
  const std::string page = MetricsPage();
  EXPECT_THAT(page, Not(HasSubstr("made.Up")));
  EXPECT_THAT(page, Not(HasSubstr("Channelz")));
  EXPECT_THAT(page, Not(HasSubstr("TraceService")));
  EXPECT_THAT(page, Not(HasSubstr("\"denoised\"")));
  EXPECT_THAT(page, HasSubstr("grpc_method=\"unknown\""));
}

// CVE-2023-1428: a header that the library takes apart and finds wrong, then one by which the block is too long; some
// versions end the process by an assertion.
TEST_F(AttackTest, WrongHeaderBeforeATooLongOneEndsNoProcess) {
  for (const char* name : {"te", ":scheme", "grpclb_client_stats", "content-type", "grpc-timeout", ":status"}) {
    const RawConnection connection = DialAndAcknowledge();
    const std::string headers =
        http2::CallHeaders(kGetModel) + http2::Literal(name, "x") + http2::Literal("x-long", std::string(20'000, 'a'));
    // Longer than a frame may be: the rest follows in others.
    connection.Send(http2::Headers(1, headers.substr(0, 16'000), http2::kNone) +
                    http2::FrameBytes(http2::kContinuation, http2::kEndHeaders, 1, headers.substr(16'000)));
    connection.Send(http2::Data(1, http2::Message("")));
    http2::FrameReader(connection).Stream(1);
    EXPECT_TRUE(Draw().ok()) << name;
  }
}

// Of a client that has acknowledged the limit: gRPC's words, and no line, as no service hears of the call.
TEST_F(AttackTest, MetadataBeyondTheLimitAreRefusedByGrpcItself) {
  const CapturedLog log;
  const RawConnection connection = DialAndAcknowledge();
  const std::string headers = http2::CallHeaders(kGetModel) + http2::Literal("x-long", std::string(20'000, 'a'));
  connection.Send(http2::Headers(1, headers.substr(0, 16'000), http2::kNone) +
                  http2::FrameBytes(http2::kContinuation, http2::kEndHeaders, 1, headers.substr(16'000)));
  std::string answer;
  for (const http2::Frame& frame : http2::FrameReader(connection).Stream(1)) answer += frame.payload;
  EXPECT_THAT(answer, HasSubstr(http2::Text("grpc-status") + http2::Text("8")));
  EXPECT_THAT(answer, HasSubstr("received initial metadata size exceeds limit"));
  EXPECT_THAT(log.text(), Not(HasSubstr("GetModel")));
}

TEST_F(AttackTest, MetadataBeyondTheLimitAreToldAsSuch) {
  EXPECT_TRUE(Draw().ok());  // so that the client has acknowledged the limit
  grpc::ClientContext context;
  context.AddMetadata("x-long", std::string(20'000, 'a'));
  v1::GetModelResponse response;
  const grpc::Status status = stub_->GetModel(&context, {}, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("metadata size exceeds"));
}

// CVE-2023-32731: what stands behind a too long header is skipped, so that both sides' tables of headers are no longer
// the same, and headers of one call turn up in another that comes over the same connection, as from a proxy.
// gRPC 1.51.1 ends the connection.
TEST_F(AttackTest, TableOfHeadersSurvivesATooLongOne) {
  const RawConnection connection = DialAndAcknowledge();
  const std::string headers = http2::CallHeaders(kGetModel) + http2::Literal("x-long", std::string(20'000, 'a')) +
                              http2::Kept("x-second", "two") + http2::Kept(":path", kGetModel);
  connection.Send(http2::Headers(1, headers.substr(0, 16'000), http2::kNone) +
                  http2::FrameBytes(http2::kContinuation, http2::kEndHeaders, 1, headers.substr(16'000)));
  connection.Send(http2::Data(1, http2::Message("")));
  http2::FrameReader frames(connection);
  frames.Stream(1);
  connection.Send(CallOf(3, http2::Literal(":method", "POST") + http2::Literal(":scheme", "http") + http2::Indexed(62) +
                                http2::Literal(":authority", "localhost") + http2::Literal("te", "trailers") +
                                http2::Literal("content-type", "application/grpc")));
  EXPECT_THAT(frames.Stream(3), testing::AnyOf(testing::IsEmpty(), HasType(http2::kData)));
  EXPECT_TRUE(Draw().ok());
}

// CVE-2023-32732: a binary header that is no base64 ends its connection, and no other.
TEST_F(AttackTest, BadBase64CostsItsConnectionAtMost) {
  const RawConnection connection = Dial();
  connection.Send(CallOf(1, http2::CallHeaders(kGetModel) + http2::Literal("x-data-bin", "!!!")));
  http2::FrameReader(connection).Stream(1);
  EXPECT_TRUE(Draw().ok());
}

TEST_F(AttackTest, ResizesOfTheTableAreRefused) {
  const RawConnection connection = Dial();
  std::string resizes;
  while (resizes.size() < 16'000) resizes += http2::Integer(4096, 5, 0x20) + http2::Integer(0, 5, 0x20);
  connection.Send(http2::Headers(1, resizes + http2::CallHeaders(kGetModel)));
  EXPECT_THAT(http2::FrameReader(connection).Stream(1), Not(HasType(http2::kData)));
  EXPECT_TRUE(Draw().ok());
}

uint64_t ResidentBytes() { return static_cast<uint64_t>(FiguresOf(getpid()).resident_kib) << 10; }

// A header block without end, in continuations.
TEST_F(AttackTest, EndlessHeadersKeepNobodyWaiting) {
  const RawConnection connection = Dial();
  connection.Send(http2::Headers(1, http2::CallHeaders(kGetModel), http2::kNone));
  const std::string part = http2::Literal("x-more", std::string(16'000, 'a'));
  for (int i = 0; i < 1000; ++i) {
    if (!connection.Send(http2::FrameBytes(http2::kContinuation, http2::kNone, 1, part))) break;
  }
  EXPECT_TRUE(Draw().ok());
}

class CallLimitTest : public PuppetServer {
 protected:
  CallLimitTest() : PuppetServer(/*slots=*/4, /*max_queued_images=*/100) { options_.transport.max_calls = 1000; }
};

// Calls of which nothing but headers come, over several connections: no service hears of them, and they never end.
TEST_F(CallLimitTest, CallsBeyondAllThatMayBeOpenCostTheConnectionWithTheMost) {
  const CapturedLog log;
  Start();
  const auto dial = [this] {
    RawConnection connection(server_->port());
    connection.Send(http2::Preface());
    return connection;
  };
  const auto open = [](const RawConnection& connection, uint32_t calls) {
    std::string headers;
    for (uint32_t i = 0; i < calls; ++i) headers += http2::Headers(2 * i + 1, http2::CallHeaders(kGetModel));
    connection.Send(headers);
  };
  const RawConnection few = dial(), many = dial();
  open(few, 300);
  open(many, 900);
  many.ReceiveAll();  // until it is cut
  AwaitMetric("denoised_connections_cut_total", "1");
  while (!absl::StrContains(log.text(), "more than --max_calls=1000: ")) std::this_thread::yield();
  EXPECT_THAT(log.text(), testing::ContainsRegex("those with the most are cut: 127\\.0\\.0\\.1:[0-9]+ with [0-9]+"));
  few.Send(CallOf(601, http2::CallHeaders(kGetModel)));
  EXPECT_THAT(http2::FrameReader(few).Stream(601), HasType(http2::kData));
  EXPECT_TRUE(Generate(Request(7)).status.ok());
  EXPECT_EQ(Metric("denoised_connections_cut_total"), "1");
}

// CVE-2023-44487 and field report "20,000 streams opened and reset on one connection": each is a request, taken back at
// once. Others are served meanwhile, and all places come back.
TEST_F(AttackTest, StreamsOpenedAndResetLeaveNothing) {
  v1::GenerateDigitRequest request;
  request.set_digit(7);
  const std::string message = http2::Message(request.SerializeAsString());
  const RawConnection connection = Dial();
  std::thread reader([&connection] { connection.ReceiveAll(); });
  [[maybe_unused]] const uint64_t before = ResidentBytes();
  uint32_t sent = 0;
  for (uint32_t i = 0; i < 20'000; ++i) {
    if (i == 10'000) {
      EXPECT_TRUE(Draw().ok()) << "in the middle of it";
    }
    const uint32_t stream = 2 * i + 1;
    if (!connection.Send(http2::Headers(stream, http2::CallHeaders(kGenerateDigit)) + http2::Data(stream, message) +
                         http2::Reset(stream))) {
      break;
    }
    ++sent;
  }
  EXPECT_EQ(sent, 20'000u);
  EXPECT_TRUE(Draw().ok());
  const auto places = [this] {
    const SchedulerStats stats = model_.lock()->scheduler().stats();
    return stats.waiting_images + stats.denoising_images;
  };
  while (places() > 0) std::this_thread::yield();  // its end is that of the test's own timeout
  shutdown(connection.descriptor(), SHUT_RDWR);
  reader.join();
#ifndef __SANITIZE_ADDRESS__  // which keeps what is freed
  // Where the machine is busy, gRPC has yet to hear of streams that are reset already.
  for (int i = 0; i < 600 && ResidentBytes() >= before + (64u << 20); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    malloc_trim(0);
  }
  EXPECT_LT(ResidentBytes(), before + (64u << 20));
#endif
}

// Pings and settings that want an answer each, from a client that reads none.
TEST_F(AttackTest, AnswersThatNobodyReadsKeepNobodyWaiting) {
  for (const std::string& frame : {http2::FrameBytes(http2::kPing, http2::kNone, 0, "12345678"),
                                   http2::FrameBytes(http2::kSettings, http2::kNone, 0, "")}) {
    const RawConnection connection = Dial();
    std::string frames;
    for (int i = 0; i < 1000; ++i) frames += frame;
    const timeval patience{.tv_sec = 1, .tv_usec = 0};
    setsockopt(connection.descriptor(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    for (int i = 0; i < 200 && connection.Send(frames); ++i) continue;
    EXPECT_TRUE(Draw().ok());
  }
}

}  // namespace
}  // namespace denoised
