// The shape of the messages on the wire.
#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <sstream>

#include "denoised/v1/digit_service.pb.h"
#include "grpc/health/v1/health.pb.h"
#include "opentelemetry/proto/collector/trace/v1/trace_service.pb.h"

namespace denoised {
namespace {

void Describe(const google::protobuf::Descriptor& message, std::ostream& out) {
  out << message.full_name() << "\n";
  for (int i = 0; i < message.field_count(); ++i) {
    const google::protobuf::FieldDescriptor& field = *message.field(i);
    out << "  " << field.number() << " " << field.name() << " " << (field.is_repeated() ? "repeated " : "")
        << (field.has_optional_keyword() ? "optional " : "");
    if (field.message_type() != nullptr) {
      out << field.message_type()->full_name();
    } else if (field.enum_type() != nullptr) {
      out << field.enum_type()->full_name();
    } else {
      out << field.type_name();
    }
    out << "\n";
  }
  for (int i = 0; i < message.nested_type_count(); ++i) Describe(*message.nested_type(i), out);
}

std::string WireShape(const google::protobuf::FileDescriptor& file) {
  std::ostringstream out;
  for (int i = 0; i < file.service_count(); ++i) {
    const google::protobuf::ServiceDescriptor& service = *file.service(i);
    for (int j = 0; j < service.method_count(); ++j) {
      const google::protobuf::MethodDescriptor& method = *service.method(j);
      out << service.full_name() << "/" << method.name() << " " << method.input_type()->full_name() << " -> "
          << (method.server_streaming() ? "stream " : "") << method.output_type()->full_name() << "\n";
    }
  }
  for (int i = 0; i < file.enum_type_count(); ++i) {
    const google::protobuf::EnumDescriptor& type = *file.enum_type(i);
    out << type.full_name();
    for (int j = 0; j < type.value_count(); ++j) out << " " << type.value(j)->number() << "=" << type.value(j)->name();
    out << "\n";
  }
  for (int i = 0; i < file.message_type_count(); ++i) Describe(*file.message_type(i), out);
  return out.str();
}

// Released clients rely on numbers and types: fields may be added, and nothing else may change.
TEST(WireShapeTest, IsTheGoldenOne) {
  std::ifstream file(DENOISED_SOURCE_DIR "/tests/data/digit_service.wire.txt");
  const std::string golden{std::istreambuf_iterator<char>(file), {}};
  EXPECT_EQ(WireShape(*v1::GenerateDigitRequest::descriptor()->file()), golden);
}

// Load balancers and probes have this service compiled in: GRFC A17 and gRPC's health checking protocol.
TEST(WireShapeTest, HealthIsTheStandardOne) {
  EXPECT_EQ(
      WireShape(*grpc::health::v1::HealthCheckRequest::descriptor()->file()),
      "grpc.health.v1.Health/Check grpc.health.v1.HealthCheckRequest -> grpc.health.v1.HealthCheckResponse\n"
      "grpc.health.v1.Health/List grpc.health.v1.HealthListRequest -> grpc.health.v1.HealthListResponse\n"
      "grpc.health.v1.Health/Watch grpc.health.v1.HealthCheckRequest -> stream grpc.health.v1.HealthCheckResponse\n"
      "grpc.health.v1.HealthCheckRequest\n"
      "  1 service string\n"
      "grpc.health.v1.HealthCheckResponse\n"
      "  1 status grpc.health.v1.HealthCheckResponse.ServingStatus\n"
      "grpc.health.v1.HealthListRequest\n"
      "grpc.health.v1.HealthListResponse\n"
      "  1 statuses repeated grpc.health.v1.HealthListResponse.StatusesEntry\n"
      "grpc.health.v1.HealthListResponse.StatusesEntry\n"
      "  1 key string\n"
      "  2 value grpc.health.v1.HealthCheckResponse\n");
  using Response = grpc::health::v1::HealthCheckResponse;
  EXPECT_EQ(Response::UNKNOWN, 0);
  EXPECT_EQ(Response::SERVING, 1);
  EXPECT_EQ(Response::NOT_SERVING, 2);
  EXPECT_EQ(Response::SERVICE_UNKNOWN, 3);
}

// Collectors have these compiled in: opentelemetry-proto 1.x, of which links are not sent.
TEST(WireShapeTest, OpenTelemetrysIsTheStandardOne) {
  namespace otlp = opentelemetry::proto;
  EXPECT_EQ(WireShape(*otlp::collector::trace::v1::ExportTraceServiceRequest::descriptor()->file()),
            "opentelemetry.proto.collector.trace.v1.TraceService/Export "
            "opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest -> "
            "opentelemetry.proto.collector.trace.v1.ExportTraceServiceResponse\n"
            "opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest\n"
            "  1 resource_spans repeated opentelemetry.proto.trace.v1.ResourceSpans\n"
            "opentelemetry.proto.collector.trace.v1.ExportTraceServiceResponse\n"
            "  1 partial_success opentelemetry.proto.collector.trace.v1.ExportTracePartialSuccess\n"
            "opentelemetry.proto.collector.trace.v1.ExportTracePartialSuccess\n"
            "  1 rejected_spans int64\n"
            "  2 error_message string\n");
  EXPECT_EQ(WireShape(*otlp::trace::v1::Span::descriptor()->file()),
            "opentelemetry.proto.trace.v1.ResourceSpans\n"
            "  1 resource opentelemetry.proto.resource.v1.Resource\n"
            "  2 scope_spans repeated opentelemetry.proto.trace.v1.ScopeSpans\n"
            "  3 schema_url string\n"
            "opentelemetry.proto.trace.v1.ScopeSpans\n"
            "  1 scope opentelemetry.proto.common.v1.InstrumentationScope\n"
            "  2 spans repeated opentelemetry.proto.trace.v1.Span\n"
            "  3 schema_url string\n"
            "opentelemetry.proto.trace.v1.Span\n"
            "  1 trace_id bytes\n"
            "  2 span_id bytes\n"
            "  3 trace_state string\n"
            "  4 parent_span_id bytes\n"
            "  5 name string\n"
            "  6 kind opentelemetry.proto.trace.v1.Span.SpanKind\n"
            "  7 start_time_unix_nano fixed64\n"
            "  8 end_time_unix_nano fixed64\n"
            "  9 attributes repeated opentelemetry.proto.common.v1.KeyValue\n"
            "  10 dropped_attributes_count uint32\n"
            "  11 events repeated opentelemetry.proto.trace.v1.Span.Event\n"
            "  12 dropped_events_count uint32\n"
            "  14 dropped_links_count uint32\n"
            "  15 status opentelemetry.proto.trace.v1.Status\n"
            "  16 flags fixed32\n"
            "opentelemetry.proto.trace.v1.Span.Event\n"
            "  1 time_unix_nano fixed64\n"
            "  2 name string\n"
            "  3 attributes repeated opentelemetry.proto.common.v1.KeyValue\n"
            "  4 dropped_attributes_count uint32\n"
            "opentelemetry.proto.trace.v1.Status\n"
            "  2 message string\n"
            "  3 code opentelemetry.proto.trace.v1.Status.StatusCode\n");
  EXPECT_EQ(WireShape(*otlp::resource::v1::Resource::descriptor()->file()),
            "opentelemetry.proto.resource.v1.Resource\n"
            "  1 attributes repeated opentelemetry.proto.common.v1.KeyValue\n"
            "  2 dropped_attributes_count uint32\n");
  EXPECT_EQ(WireShape(*otlp::common::v1::KeyValue::descriptor()->file()),
            "opentelemetry.proto.common.v1.AnyValue\n"
            "  1 string_value string\n"
            "  2 bool_value bool\n"
            "  3 int_value int64\n"
            "  4 double_value double\n"
            "  5 array_value opentelemetry.proto.common.v1.ArrayValue\n"
            "  6 kvlist_value opentelemetry.proto.common.v1.KeyValueList\n"
            "  7 bytes_value bytes\n"
            "opentelemetry.proto.common.v1.ArrayValue\n"
            "  1 values repeated opentelemetry.proto.common.v1.AnyValue\n"
            "opentelemetry.proto.common.v1.KeyValueList\n"
            "  1 values repeated opentelemetry.proto.common.v1.KeyValue\n"
            "opentelemetry.proto.common.v1.KeyValue\n"
            "  1 key string\n"
            "  2 value opentelemetry.proto.common.v1.AnyValue\n"
            "opentelemetry.proto.common.v1.InstrumentationScope\n"
            "  1 name string\n"
            "  2 version string\n"
            "  3 attributes repeated opentelemetry.proto.common.v1.KeyValue\n"
            "  4 dropped_attributes_count uint32\n");
  EXPECT_EQ(otlp::trace::v1::Span::SPAN_KIND_INTERNAL, 1);
  EXPECT_EQ(otlp::trace::v1::Span::SPAN_KIND_SERVER, 2);
  EXPECT_EQ(otlp::trace::v1::Status::STATUS_CODE_UNSET, 0);
  EXPECT_EQ(otlp::trace::v1::Status::STATUS_CODE_ERROR, 2);
}

}  // namespace
}  // namespace denoised
