// Each call is a span at an OpenTelemetry collector.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "tests/server/puppet_server.h"
#include "tests/testing/captured_log.h"
#include "tests/testing/fake_collector.h"
#include "tests/testing/free_port.h"
#include "tests/testing/http2.h"
#include "tests/testing/http_client.h"
#include "tests/testing/raw_connection.h"

namespace denoised {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr char kTrace[] = "0af7651916cd43dd8448eb211c80319c";
constexpr char kClientsSpan[] = "b7ad6b7169203331";
using OtlpStatus = opentelemetry::proto::trace::v1::Status;

std::string Hex(const std::string& id) { return absl::BytesToHexString(id); }

std::string Traceparent(const char* flags) { return absl::StrCat("00-", kTrace, "-", kClientsSpan, "-", flags); }

class TracesTest : public PuppetServer {
 protected:
  TracesTest() : PuppetServer(/*slots=*/2, /*max_queued_images=*/2) { options_.otlp.endpoint = collector_.address(); }

  Answer Draw(const std::string& traceparent, const v1::GenerateDigitRequest& request = Request(7, 3)) {
    context_ = std::make_unique<grpc::ClientContext>();
    context_->AddMetadata("x-request-id", "order:17");
    if (!traceparent.empty()) context_->AddMetadata("traceparent", traceparent);
    return Generate(*context_, request);
  }

  std::string Told() const {
    const auto& metadata = context_->GetServerTrailingMetadata();
    const auto found = metadata.find("traceparent");
    return found == metadata.end() ? "" : std::string(found->second.data(), found->second.size());
  }

  // All, by sending what waits.
  std::vector<OtlpSpan> Spans() {
    server_->Drain();
    return collector_.AwaitSpans(0);
  }

  FakeCollector collector_;
  std::unique_ptr<grpc::ClientContext> context_;
};

TEST_F(TracesTest, ADrawIsASpanBelowTheClientsWithOneForEachPhase) {
  Start();
  const auto before = std::chrono::system_clock::now();
  ASSERT_TRUE(Draw(Traceparent("01")).status.ok());
  const std::vector<OtlpSpan> spans = Spans();
  ASSERT_EQ(spans.size(), 5u);
  const OtlpSpan& call = spans[0];
  EXPECT_EQ(Hex(call.trace_id()), kTrace);
  EXPECT_EQ(Hex(call.parent_span_id()), kClientsSpan);
  EXPECT_EQ(Told(), absl::StrCat("00-", kTrace, "-", Hex(call.span_id()), "-01"));
  EXPECT_EQ(call.name(), "denoised.v1.DigitService/GenerateDigit");
  EXPECT_EQ(call.kind(), OtlpSpan::SPAN_KIND_SERVER);
  EXPECT_EQ(call.flags(), 0x301u);
  EXPECT_EQ(call.status().code(), OtlpStatus::STATUS_CODE_UNSET);
  std::map<std::string, std::string> attributes = AttributesOf(call.attributes());
  EXPECT_FALSE(attributes["client.port"].empty());
  attributes.erase("client.port");
  EXPECT_EQ(attributes, (std::map<std::string, std::string>{{"rpc.system", "grpc"},
                                                            {"rpc.service", "denoised.v1.DigitService"},
                                                            {"rpc.method", "GenerateDigit"},
                                                            {"rpc.grpc.status_code", "0"},
                                                            {"server.address", "127.0.0.1"},
                                                            {"server.port", absl::StrCat(server_->port())},
                                                            {"client.address", "127.0.0.1"},
                                                            {"denoised.request_id", "order:17"},
                                                            {"denoised.digit", "7"},
                                                            {"denoised.images", "1"},
                                                            {"denoised.sampler", "ddpm"},
                                                            {"denoised.steps", "3"},
                                                            {"denoised.seed", "42"}}));
  const auto start = std::chrono::nanoseconds(before.time_since_epoch()).count();
  EXPECT_GE(call.start_time_unix_nano(), static_cast<uint64_t>(start));
  std::vector<std::string> phases;
  for (auto phase = spans.begin() + 1; phase != spans.end(); ++phase) {
    phases.push_back(phase->name());
    EXPECT_EQ(Hex(phase->trace_id()), kTrace);
    EXPECT_EQ(phase->parent_span_id(), call.span_id());
    EXPECT_NE(phase->span_id(), call.span_id());
    EXPECT_EQ(phase->kind(), OtlpSpan::SPAN_KIND_INTERNAL);
    EXPECT_EQ(phase->flags(), 0x101u);
    EXPECT_EQ(AttributesOf(phase->attributes()).count("denoised.seconds"), 1u);
    EXPECT_LE(call.start_time_unix_nano(), phase->start_time_unix_nano()) << phase->name();
    EXPECT_LE(phase->start_time_unix_nano(), phase->end_time_unix_nano()) << phase->name();
    EXPECT_LE(phase->end_time_unix_nano(), call.end_time_unix_nano()) << phase->name();
  }
  EXPECT_THAT(phases, ElementsAre("queue", "denoise", "encode", "write"));
  EXPECT_EQ(spans[1].end_time_unix_nano(), spans[2].start_time_unix_nano()) << "the first step ends the wait";
}

TEST_F(TracesTest, AClientThatDoesNotSampleIsLeftAlone) {
  Start();
  ASSERT_TRUE(Draw(Traceparent("00")).status.ok());
  EXPECT_THAT(Told(), HasSubstr("-00"));
  EXPECT_THAT(Spans(), IsEmpty());
}

TEST_F(TracesTest, ACallWithoutATraceBeginsOneThatItsLineNames) {
  const CapturedLog log(LogFormat::kJson);
  Start();
  ASSERT_TRUE(Draw("").status.ok());
  EXPECT_EQ(Told(), "") << "the client takes part in none";
  const std::vector<OtlpSpan> spans = Spans();
  ASSERT_EQ(spans.size(), 5u);
  EXPECT_EQ(spans[0].trace_id().size(), 16u);
  EXPECT_EQ(spans[0].parent_span_id(), "");
  EXPECT_EQ(spans[0].flags(), 0x101u);
  EXPECT_THAT(log.text(), HasSubstr(absl::StrCat("\"trace_id\":\"", Hex(spans[0].trace_id()), "\"")));
}

TEST_F(TracesTest, TheRatioIsForCallsWithoutATrace) {
  options_.otlp.sample_ratio = 0;
  Start();
  ASSERT_TRUE(Draw("").status.ok());
  ASSERT_TRUE(Draw(Traceparent("01")).status.ok());
  const std::vector<OtlpSpan> spans = Spans();
  ASSERT_EQ(spans.size(), 5u);
  EXPECT_EQ(Hex(spans[0].trace_id()), kTrace);
}

TEST_F(TracesTest, ARefusedCallIsASpanWithoutPhasesAndNotTheServersError) {
  Start();
  EXPECT_EQ(Draw(Traceparent("01"), Request(10)).status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  const std::vector<OtlpSpan> spans = Spans();
  ASSERT_EQ(spans.size(), 1u);
  EXPECT_EQ(AttributesOf(spans[0].attributes())["rpc.grpc.status_code"], "3");
  EXPECT_EQ(spans[0].status().code(), OtlpStatus::STATUS_CODE_UNSET);
}

TEST_F(TracesTest, AnEnginesFailureIsTheServersError) {
  Start();
  engine_->FailNextStep(absl::InternalError("the device is lost"));
  const grpc::Status status = Draw(Traceparent("01")).status;
  ASSERT_EQ(status.error_code(), grpc::StatusCode::INTERNAL);
  const std::vector<OtlpSpan> spans = Spans();
  ASSERT_FALSE(spans.empty());
  EXPECT_EQ(spans[0].status().code(), OtlpStatus::STATUS_CODE_ERROR);
  EXPECT_EQ(spans[0].status().message(), status.error_message());
}

// Some are no methods, one is long, and one is no text.
TEST_F(TracesTest, WhateverStrangersCallIsASpan) {
  Start();
  const std::vector<std::string> paths = {"/", "//", "/a", "/" + std::string(3000, 'b'), "/\xff"};
  const RawConnection connection(server_->port());
  http2::FrameReader frames(connection);
  connection.Send(http2::Preface());
  for (uint32_t i = 0; i < paths.size(); ++i) {
    connection.Send(http2::Headers(2 * i + 1, http2::CallHeaders(paths[i])) +
                    http2::Data(2 * i + 1, http2::Message("")));
    EXPECT_FALSE(frames.Stream(2 * i + 1).empty());
  }
  std::vector<std::string> called;
  for (const OtlpSpan& span : Spans()) {
    std::map<std::string, std::string> attributes = AttributesOf(span.attributes());
    called.push_back(attributes["denoised.path"]);
    EXPECT_EQ(span.name(), "unknown");
    EXPECT_EQ(attributes["rpc.service"], "unknown");
    EXPECT_EQ(attributes["rpc.method"], "unknown");
  }
  EXPECT_THAT(called, ElementsAre("/", "//", "/a", "/" + std::string(255, 'b'), "/?"));
}

// Their calls come from within this process: what gRPC calls it there is no address.
TEST_F(TracesTest, ADrawByHttpIsASpanThatNamesNoServer) {
  options_.http_listen = "127.0.0.1:0";
  Start();
  ASSERT_EQ(HttpGet(server_->http_port(), "/v1/digits/7.png?steps=2").status, 200);
  const std::vector<OtlpSpan> spans = Spans();
  ASSERT_EQ(spans.size(), 5u);
  std::map<std::string, std::string> attributes = AttributesOf(spans[0].attributes());
  EXPECT_EQ(attributes["rpc.method"], "GenerateDigit");
  EXPECT_EQ(attributes["client.address"], "127.0.0.1");
  EXPECT_EQ(attributes.count("server.address"), 0u) << attributes["server.address"];
  EXPECT_EQ(attributes.count("server.port"), 0u);
}

// Or there would be more of probes than of anything else.
TEST_F(TracesTest, ProbesAreNone) {
  Start();
  grpc::health::v1::HealthCheckResponse response;
  ASSERT_TRUE(Check("", &response).ok());
  EXPECT_THAT(Spans(), IsEmpty());
}

TEST_F(TracesTest, ADeadCollectorHindersNobodyAndIsCounted) {
  options_.otlp.endpoint = absl::StrCat("127.0.0.1:", FreePort());
  Start();
  EXPECT_TRUE(Draw("").status.ok());
  server_->Drain();
  EXPECT_EQ(Metric("denoised_spans_total{result=\"failed\"}"), "5");
  EXPECT_EQ(Metric("denoised_spans_total{result=\"exported\"}"), "0");
}

TEST_F(TracesTest, ACollectorThatHangsHoldsUpNoDrain) {
  collector_.Hold();
  Start();
  EXPECT_TRUE(Draw("").status.ok());
  EXPECT_TRUE(server_->Drain().closed);
  EXPECT_EQ(Metric("denoised_spans_total{result=\"failed\"}"), "5");
}

TEST_F(TracesTest, WhatWentOutIsCounted) {
  Start();
  EXPECT_TRUE(Draw("").status.ok());
  server_->Drain();
  EXPECT_EQ(Metric("denoised_spans_total{result=\"exported\"}"), "5");
}

TEST_F(TracesTest, AnEndpointThatIsNoneIsSaidAtTheStart) {
  options_.otlp.endpoint = "collector";
  EXPECT_THAT(Server::Start(options_, PuppetLoader()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "--otlp_endpoint must be the host and port where a collector takes OTLP by gRPC, such as "
                       "localhost:4317, or https://collector.example:4317 with TLS, got collector"));
}

}  // namespace
}  // namespace denoised
