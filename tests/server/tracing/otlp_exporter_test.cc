#include "server/tracing/otlp_exporter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "tests/testing/captured_log.h"
#include "tests/testing/fake_collector.h"
#include "tests/testing/free_port.h"
#include "tests/testing/program.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/test_certificates.h"

namespace denoised {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;
using testing::Pair;
using testing::UnorderedElementsAre;

Span TestSpan(const std::string& name = "work") {
  return {.trace_id = "0af7651916cd43dd8448eb211c80319c",
          .span_id = "b7ad6b7169203331",
          .parent_span_id = "00f067aa0ba902b7",
          .name = name,
          .start = std::chrono::system_clock::time_point(seconds(1000)),
          .end = std::chrono::system_clock::time_point(milliseconds(1000500))};
}

std::unique_ptr<OtlpExporter> ExporterTo(const std::string& address) {
  absl::StatusOr<std::unique_ptr<OtlpExporter>> exporter = OtlpExporter::Start({.endpoint = address});
  EXPECT_THAT(exporter, IsOk());
  return *std::move(exporter);
}

void ExpectCounts(const OtlpExporter& exporter, int64_t exported, int64_t queue_full, int64_t failed) {
  const SpanCounts counts = exporter.counts();
  EXPECT_EQ(counts.exported, exported);
  EXPECT_EQ(counts.queue_full, queue_full);
  EXPECT_EQ(counts.failed, failed);
}

// A span with all that one can have.
Span FailedCall() {
  Span call = TestSpan("denoised.v1.DigitService/GenerateDigit");
  call.serves_call = true;
  call.parent_is_remote = true;
  call.attributes = {{"rpc.system", "grpc"}, {"denoised.digit", int64_t{7}}, {"denoised.seconds", 0.5}};
  call.failed = true;
  call.error = "the engine failed";
  return call;
}

TEST(OtlpExporterTest, WithoutAnEndpointThereIsNone) { EXPECT_EQ(*OtlpExporter::Start({}), nullptr); }

TEST(OtlpExporterTest, ASpanArrivesAsItIs) {
  const FakeCollector collector;
  const auto exporter = ExporterTo(collector.address());
  exporter->Add({FailedCall(), TestSpan("denoise")});
  exporter->Flush(seconds(60));
  ExpectCounts(*exporter, 2, 0, 0);
  const std::vector<OtlpSpan> spans = collector.AwaitSpans(2);
  const OtlpSpan& span = spans[0];
  EXPECT_EQ(absl::BytesToHexString(span.trace_id()), "0af7651916cd43dd8448eb211c80319c");
  EXPECT_EQ(absl::BytesToHexString(span.span_id()), "b7ad6b7169203331");
  EXPECT_EQ(absl::BytesToHexString(span.parent_span_id()), "00f067aa0ba902b7");
  EXPECT_EQ(span.name(), "denoised.v1.DigitService/GenerateDigit");
  EXPECT_EQ(span.kind(), OtlpSpan::SPAN_KIND_SERVER);
  EXPECT_EQ(span.flags(), 0x301u) << "sampled, and the parent is known to be in another process";
  EXPECT_EQ(span.start_time_unix_nano(), 1'000'000'000'000u);
  EXPECT_EQ(span.end_time_unix_nano(), 1'000'500'000'000u);
  EXPECT_THAT(
      AttributesOf(span.attributes()),
      UnorderedElementsAre(Pair("rpc.system", "grpc"), Pair("denoised.digit", "7"), Pair("denoised.seconds", "0.5")));
  EXPECT_EQ(span.status().code(), opentelemetry::proto::trace::v1::Status::STATUS_CODE_ERROR);
  EXPECT_EQ(span.status().message(), "the engine failed");
  EXPECT_EQ(spans[1].kind(), OtlpSpan::SPAN_KIND_INTERNAL);
  EXPECT_EQ(spans[1].flags(), 0x101u);
  EXPECT_EQ(spans[1].status().code(), opentelemetry::proto::trace::v1::Status::STATUS_CODE_UNSET);
}

// OpenTelemetry's own messages, in another language. scripts/setup.sh --opentelemetry installs them.
TEST(OtlpExporterTest, OpenTelemetrysOwnMessagesReadASpan) {
  const std::string python = DENOISED_SOURCE_DIR "/build/opentelemetry/bin/python";
  if (!std::filesystem::exists(python)) GTEST_SKIP() << "needs Python's messages: scripts/setup.sh --opentelemetry";
  const FakeCollector collector;
  const auto exporter = ExporterTo(collector.address());
  exporter->Add({FailedCall()});
  exporter->Flush(seconds(60));
  collector.AwaitSpans(1);
  const TempFolder folder;
  constexpr char kRead[] = R"(
import sys
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
request = ExportTraceServiceRequest.FromString(open(sys.argv[1], "rb").read())
[spans] = request.resource_spans
[scope] = spans.scope_spans
[span] = scope.spans
print([a.value.string_value for a in spans.resource.attributes if a.key == "service.name"], scope.scope.name)
print(span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(), hex(span.flags))
print(span.name, span.SpanKind.Name(span.kind), span.start_time_unix_nano, span.end_time_unix_nano)
print([(a.key, getattr(a.value, a.value.WhichOneof("value"))) for a in span.attributes])
print(span.status.StatusCode.Name(span.status.code), span.status.message)

def unknown(message):
    known = sum(unknown(v) for f, v in message.ListFields() if f.message_type for v in (v if f.is_repeated else [v]))
    return known + len(UnknownFieldSet(message))
from google.protobuf.unknown_fields import UnknownFieldSet
print("unknown fields:", unknown(request))
)";
  const ProgramResult result =
      RunProgram({python, "-c", kRead, folder.Write("request", collector.requests().at(0).SerializeAsString())});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out,
            "['denoised'] denoised\n"
            "0af7651916cd43dd8448eb211c80319c b7ad6b7169203331 00f067aa0ba902b7 0x301\n"
            "denoised.v1.DigitService/GenerateDigit SPAN_KIND_SERVER 1000000000000 1000500000000\n"
            "[('rpc.system', 'grpc'), ('denoised.digit', 7), ('denoised.seconds', 0.5)]\n"
            "STATUS_CODE_ERROR the engine failed\n"
            "unknown fields: 0\n");
}

TEST(OtlpExporterTest, EachRequestSaysWhoSends) {
  const FakeCollector collector;
  const auto exporter = ExporterTo(collector.address());
  exporter->Add({TestSpan()});
  exporter->Flush(seconds(60));
  collector.AwaitSpans(1);
  const OtlpRequest request = collector.requests().at(0);
  const auto& from = request.resource_spans(0);
  std::map<std::string, std::string> resource = AttributesOf(from.resource().attributes());
  EXPECT_EQ(resource["service.name"], "denoised");
  EXPECT_EQ(resource["service.instance.id"].size(), 32u);
  EXPECT_EQ(from.scope_spans(0).scope().name(), "denoised");
}

// Long before the five seconds are over that fewer would wait.
TEST(OtlpExporterTest, AFullBatchGoesAtOnceAndTheRestAtTheEnd) {
  const FakeCollector collector;
  const auto exporter = ExporterTo(collector.address());
  exporter->Add(std::vector<Span>(OtlpExporter::kBatchSpans + 1, TestSpan()));
  collector.AwaitSpans(OtlpExporter::kBatchSpans);
  exporter->Flush(seconds(60));
  ASSERT_EQ(collector.requests().size(), 2u);
  EXPECT_EQ(collector.requests()[0].resource_spans(0).scope_spans(0).spans_size(), 512);
  EXPECT_EQ(collector.requests()[1].resource_spans(0).scope_spans(0).spans_size(), 1);
}

TEST(OtlpExporterTest, FewSpansGoAfterAWhile) {
  const FakeCollector collector;
  const auto exporter = ExporterTo(collector.address());
  exporter->Add({TestSpan()});
  EXPECT_EQ(collector.AwaitSpans(1).size(), 1u);
}

TEST(OtlpExporterTest, WhatASlowCollectorLeavesNoRoomForIsLostAndCounted) {
  FakeCollector collector;
  collector.Hold();
  const auto exporter = ExporterTo(collector.address());
  exporter->Add(std::vector<Span>(OtlpExporter::kBatchSpans, TestSpan()));
  collector.AwaitRequests(1);
  exporter->Add(std::vector<Span>(OtlpExporter::kQueuedSpans - 1, TestSpan()));
  exporter->Add({TestSpan(), TestSpan()});  // go together or not at all
  exporter->Add({TestSpan()});
  exporter->Add({TestSpan()});
  ExpectCounts(*exporter, 0, /*queue_full=*/3, 0);
  collector.LetGo();
  exporter->Flush(seconds(60));
  ExpectCounts(*exporter, OtlpExporter::kBatchSpans + OtlpExporter::kQueuedSpans, 3, 0);
}

TEST(OtlpExporterTest, ADeadCollectorCostsItsSpansAndOneLine) {
  const CapturedLog log;
  const std::string address = absl::StrCat("127.0.0.1:", FreePort());
  const auto exporter = ExporterTo(address);
  exporter->Add(std::vector<Span>(OtlpExporter::kBatchSpans + 1, TestSpan()));
  exporter->Flush(seconds(60));
  ExpectCounts(*exporter, 0, 0, /*failed=*/513);
  EXPECT_THAT(log.text(), HasSubstr(absl::StrCat("warning 512 spans are lost, 512 so far: the collector at "
                                                 "--otlp_endpoint=",
                                                 address, " did not take them: ")));
  EXPECT_EQ(log.text().find("spans are lost"), log.text().rfind("spans are lost")) << "one line for both batches";
}

TEST(OtlpExporterTest, ACollectorThatStartsAnewLosesNothing) {
  FakeCollector collector;
  collector.Answer({grpc::StatusCode::UNAVAILABLE, "starting"});
  const auto exporter = ExporterTo(collector.address());
  exporter->Add(std::vector<Span>(OtlpExporter::kBatchSpans, TestSpan()));
  collector.AwaitRequests(2);
  collector.Answer(grpc::Status::OK);
  exporter->Flush(seconds(60));
  ExpectCounts(*exporter, OtlpExporter::kBatchSpans, 0, 0);
}

TEST(OtlpExporterTest, WhatNoOtherTryMendsIsTriedOnce) {
  FakeCollector collector;
  collector.Answer({grpc::StatusCode::INVALID_ARGUMENT, "no such thing"});
  const auto exporter = ExporterTo(collector.address());
  exporter->Add({TestSpan()});
  exporter->Flush(seconds(60));
  ExpectCounts(*exporter, 0, 0, /*failed=*/1);
  EXPECT_EQ(collector.requests().size(), 1u);
}

TEST(OtlpExporterTest, WhatACollectorRefusesIsCounted) {
  const CapturedLog log;
  FakeCollector collector;
  OtlpResponse response;
  response.mutable_partial_success()->set_rejected_spans(2);
  response.mutable_partial_success()->set_error_message("too old");
  collector.Answer(grpc::Status::OK, response);
  const auto exporter = ExporterTo(collector.address());
  exporter->Add(std::vector<Span>(5, TestSpan()));
  exporter->Flush(seconds(60));
  ExpectCounts(*exporter, 3, 0, 2);
  EXPECT_THAT(log.text(), HasSubstr("warning 2 spans are lost, 2 so far: "));
  EXPECT_THAT(log.text(), HasSubstr("did not take them: too old"));
}

// However long it would take, and nothing is taken afterwards.
TEST(OtlpExporterTest, AFlushEndsWhenItsTimeIsOver) {
  FakeCollector collector;
  collector.Hold();
  const auto exporter = ExporterTo(collector.address());
  exporter->Add(std::vector<Span>(OtlpExporter::kBatchSpans + 1, TestSpan()));
  collector.AwaitRequests(1);
  exporter->Flush(milliseconds(50));
  ExpectCounts(*exporter, 0, 0, /*failed=*/513);
  exporter->Add({TestSpan()});
  ExpectCounts(*exporter, 0, /*queue_full=*/1, 513);
}

TEST(OtlpExporterTest, TlsIsCheckedAgainstTheGivenCa) {
  const TempFolder folder;
  const TestAuthority authority, stranger;
  const TestIdentity identity = authority.Issue("collector");
  grpc::SslServerCredentialsOptions tls;
  tls.pem_key_cert_pairs.push_back({.private_key = identity.key, .cert_chain = identity.cert});
  const FakeCollector collector(grpc::SslServerCredentials(tls));
  const std::string endpoint = absl::StrCat("https://127.0.0.1:", collector.port());
  for (const bool right : {true, false}) {
    const std::string ca = folder.Write("ca.pem", (right ? authority : stranger).pem());
    const auto exporter = OtlpExporter::Start({.endpoint = endpoint, .ca = ca});
    ASSERT_THAT(exporter, IsOk());
    (*exporter)->Add({TestSpan()});
    (*exporter)->Flush(seconds(10));
    ExpectCounts(**exporter, right ? 1 : 0, 0, right ? 0 : 1);
  }
}

}  // namespace
}  // namespace denoised
