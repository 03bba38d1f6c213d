// The shape of the messages on the wire.
#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <sstream>

#include "denoised/v1/digit_service.pb.h"
#include "grpc/health/v1/health.pb.h"

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

}  // namespace
}  // namespace denoised
