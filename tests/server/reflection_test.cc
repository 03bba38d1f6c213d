// What grpcurl and the like ask a server of whose protos they have no copy.
#include <gmock/gmock.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/message.h>
#include <google/protobuf/text_format.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "server/server.h"
#include "server/service/request_size.h"
#include "tests/testing/generic_call.h"
#include "tests/testing/puppet_engine.h"
#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

using google::protobuf::FileDescriptorProto;
using google::protobuf::Message;
using testing::HasSubstr;

std::unique_ptr<Message> MakeMessage(const std::string& type_name) {
  const google::protobuf::Descriptor* type =
      google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(type_name);
  if (type == nullptr) throw std::runtime_error("there is no message " + type_name);
  return std::unique_ptr<Message>(google::protobuf::MessageFactory::generated_factory()->GetPrototype(type)->New());
}

// The bytes of the files in an answer that holds some.
std::vector<std::string> FilesIn(const Message& answer) {
  const google::protobuf::FieldDescriptor* field = answer.GetDescriptor()->FindFieldByName("file_descriptor_response");
  const Message& files = answer.GetReflection()->GetMessage(answer, field);
  field = files.GetDescriptor()->FindFieldByName("file_descriptor_proto");
  std::vector<std::string> found;
  for (int i = 0; i < files.GetReflection()->FieldSize(files, field); ++i) {
    found.push_back(files.GetReflection()->GetRepeatedString(files, field, i));
  }
  return found;
}

// In both versions, whose messages are alike but for their package.
class ReflectionTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const auto load = [](const ServingModelOptions&, SchedulerObserver* observer) {
      return ServingModel::Start(
          {}, []() -> absl::StatusOr<std::unique_ptr<Engine>> { return std::make_unique<PuppetEngine>(4); },
          {.max_batch_rows = 4}, observer);
    };
    ServerOptions options;
    options.listen = "127.0.0.1:0";
    options.metrics_listen = kPortOff;
    absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(options, load);
    ASSERT_THAT(server, IsOk());
    server_ = *std::move(server);
  }

  static std::string Package() { return std::string("grpc.reflection.") + GetParam() + "."; }

  // One question, as text format, and its answer.
  std::unique_ptr<Message> Ask(const std::string& question) {
    const std::unique_ptr<Message> request = MakeMessage(Package() + "ServerReflectionRequest");
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(question, request.get()));
    const grpc::Slice bytes(request->SerializeAsString());
    grpc::GenericStub stub(
        grpc::CreateChannel("127.0.0.1:" + std::to_string(server_->port()), grpc::InsecureChannelCredentials()));
    grpc::ClientContext context;
    grpc::CompletionQueue queue;
    const auto finished = [&queue] {
      void* tag = nullptr;
      bool ok = false;
      return queue.Next(&tag, &ok) && ok;
    };
    const auto call = stub.PrepareCall(&context, "/" + Package() + "ServerReflection/ServerReflectionInfo", &queue);
    call->StartCall(nullptr);
    EXPECT_TRUE(finished());
    call->Write(grpc::ByteBuffer(&bytes, 1), nullptr);
    EXPECT_TRUE(finished());
    grpc::ByteBuffer received;
    call->Read(&received, nullptr);
    EXPECT_TRUE(finished());
    context.TryCancel();
    grpc::Status status;
    call->Finish(&status, nullptr);
    EXPECT_TRUE(finished());
    grpc::Slice answer_bytes;
    EXPECT_TRUE(received.DumpToSingleSlice(&answer_bytes).ok());
    std::unique_ptr<Message> answer = MakeMessage(Package() + "ServerReflectionResponse");
    EXPECT_TRUE(answer->ParseFromArray(answer_bytes.begin(), static_cast<int>(answer_bytes.size())));
    return answer;
  }

  std::unique_ptr<Server> server_;
};

TEST_P(ReflectionTest, ListsTheServices) {
  const std::string answer = Ask("list_services: ''")->DebugString();
  for (const char* service : {"denoised.v1.DigitService", "grpc.health.v1.Health",
                              "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"}) {
    EXPECT_THAT(answer, HasSubstr(std::string("name: \"") + service + "\""));
  }
}

// Its answer would repeat it.
TEST_P(ReflectionTest, QuestionThatIsTooLongEndsTheCall) {
  const std::unique_ptr<Message> request = MakeMessage(Package() + "ServerReflectionRequest");
  request->GetReflection()->SetString(request.get(), request->GetDescriptor()->FindFieldByName("host"),
                                      std::string(kMaxRequestBytes, 'a'));
  const grpc::Slice bytes(request->SerializeAsString());
  const grpc::Status status =
      CallOver(grpc::CreateChannel("127.0.0.1:" + std::to_string(server_->port()), grpc::InsecureChannelCredentials()),
               {}, "/" + Package() + "ServerReflection/ServerReflectionInfo", grpc::ByteBuffer(&bytes, 1));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("the request has 65540 bytes, and may have 65536 at most"));
}

TEST_P(ReflectionTest, DescribesTheService) {
  const std::unique_ptr<Message> answer = Ask("file_containing_symbol: 'denoised.v1.DigitService'");
  FileDescriptorProto file;
  for (const std::string& bytes : FilesIn(*answer)) {
    ASSERT_TRUE(file.ParseFromString(bytes));
    if (file.service_size() > 0) break;
  }
  EXPECT_EQ(file.name(), "denoised/v1/digit_service.proto");
  ASSERT_EQ(file.service_size(), 1);
  EXPECT_EQ(file.service(0).name(), "DigitService");
  EXPECT_EQ(file.service(0).method(0).name(), "GenerateDigit");
  EXPECT_EQ(file.service(0).method(0).input_type(), ".denoised.v1.GenerateDigitRequest");
  EXPECT_TRUE(file.service(0).method(0).server_streaming());
}

// The built-in health service of gRPC cannot be described, so the server brings its own.
TEST_P(ReflectionTest, DescribesTheHealthService) {
  const std::unique_ptr<Message> answer = Ask("file_containing_symbol: 'grpc.health.v1.Health'");
  const std::vector<std::string> files = FilesIn(*answer);
  ASSERT_FALSE(files.empty());
  FileDescriptorProto file;
  ASSERT_TRUE(file.ParseFromString(files[0]));
  EXPECT_EQ(file.name(), "grpc/health/v1/health.proto");
}

TEST_P(ReflectionTest, WhatIsNotThereIsSaid) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"file_by_filename: 'x.proto'", "this server has no file \\\"x.proto\\\""},
      {"file_containing_symbol: 'x.Y'", "this server has no symbol \\\"x.Y\\\""},
      {"all_extension_numbers_of_type: 'x.Y'", "this server has no type \\\"x.Y\\\""},
      {"file_containing_extension { containing_type: 'x.Y' extension_number: 7 }",
       "this server has no extension 7 of x.Y"},
      {"host: 'h'", "this server has no answer to this question"},
  };
  for (const auto& [question, words] : cases) {
    const std::string answer = Ask(question)->DebugString();
    EXPECT_THAT(answer, HasSubstr("error_code: 5"));
    EXPECT_THAT(answer, HasSubstr("error_message: \"" + words + "\""));
  }
}

TEST_P(ReflectionTest, FileComesByItsName) {
  FileDescriptorProto file;
  const std::vector<std::string> files = FilesIn(*Ask("file_by_filename: 'denoised/v1/digit_service.proto'"));
  ASSERT_FALSE(files.empty());
  ASSERT_TRUE(file.ParseFromString(files[0]));
  EXPECT_EQ(file.name(), "denoised/v1/digit_service.proto");
}

INSTANTIATE_TEST_SUITE_P(Versions, ReflectionTest, testing::Values("v1", "v1alpha"));

}  // namespace
}  // namespace denoised
