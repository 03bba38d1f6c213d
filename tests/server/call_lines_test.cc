// Each call leaves a line in the log that its client can find.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "tests/server/puppet_server.h"
#include "tests/testing/captured_log.h"
#include "tests/testing/generic_call.h"

namespace denoised {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;
using testing::StartsWith;

constexpr char kTraceparent[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

class CallLinesTest : public PuppetServer {
 protected:
  CallLinesTest() : CallLinesTest(ModelMetadata().class_names) {}
  explicit CallLinesTest(const std::vector<std::string>& class_names)
      : PuppetServer(/*slots=*/2, /*max_queued_images=*/2) {
    info_.metadata.class_names = class_names;
    Start();
  }

  // The lines of one call, once there are any.
  std::vector<LogFields> LinesOf(const std::string& request_id) const {
    std::vector<LogFields> found;
    while (found.empty()) {
      std::istringstream lines(log_.text());
      for (std::string line; std::getline(lines, line);) {
        const LogFields json = LogFields::parse(line);
        if (json.value("request_id", "") == request_id) found.push_back(json);
      }
    }
    return found;
  }

  static std::string Trailing(const grpc::ClientContext& context, const std::string& key) {
    return Value(context.GetServerTrailingMetadata(), key);
  }
  static std::string Value(const std::multimap<grpc::string_ref, grpc::string_ref>& metadata, const std::string& key) {
    const auto found = metadata.find(key);
    return found == metadata.end() ? "" : std::string(found->second.data(), found->second.size());
  }

  const CapturedLog log_{LogFormat::kJson};
};

TEST_F(CallLinesTest, ADrawIsOneLineWithAllThatWasAskedFor) {
  grpc::ClientContext context;
  context.AddMetadata("x-request-id", "order:17");
  v1::GenerateDigitRequest request = Request(7, 3);
  request.set_seed(18446744073709551615u);
  ASSERT_TRUE(Generate(context, request).status.ok());
  const std::vector<LogFields> lines = LinesOf("order:17");
  ASSERT_EQ(lines.size(), 1u);
  const LogFields& line = lines[0];
  EXPECT_EQ(line["level"], "info");
  EXPECT_THAT(line["message"].get<std::string>(),
              StartsWith("drew 1 of digit 7 by ddpm, 3 steps, seed 18446744073709551615, in "));
  EXPECT_EQ(line["method"], "/denoised.v1.DigitService/GenerateDigit");
  EXPECT_EQ(line["code"], "OK");
  EXPECT_EQ(line["digit"], 7);
  EXPECT_EQ(line["count"], 1);
  EXPECT_EQ(line["steps"], 3);
  EXPECT_EQ(line["seed"], "18446744073709551615") << "whole: JSON's numbers end at 53 bits";
  EXPECT_GT(line["seconds"].get<double>(), 0);
  EXPECT_THAT(line["peer"].get<std::string>(), MatchesRegex("127\\.0\\.0\\.1:[0-9]+"));
  EXPECT_FALSE(line.contains("trace_id"));
}

class NamedCallLinesTest : public CallLinesTest {
 protected:
  NamedCallLinesTest() : CallLinesTest({"cat", "Ankle\nboot", "2"}) {}
};

TEST_F(NamedCallLinesTest, AClassIsToldByItsNameToo) {
  grpc::ClientContext context;
  context.AddMetadata("x-request-id", "order:19");
  ASSERT_TRUE(Generate(context, Request(1)).status.ok());
  const LogFields line = LinesOf("order:19")[0];
  EXPECT_THAT(line["message"].get<std::string>(), StartsWith("drew 1 of class 1 \"Ankle\\nboot\" by ddpm, 1 step, "));
  EXPECT_EQ(line["digit"], 1);
  EXPECT_EQ(line["class_name"], "Ankle\nboot");
}

TEST_F(NamedCallLinesTest, AClassCalledByItsNumberIsADigit) {
  grpc::ClientContext context;
  context.AddMetadata("x-request-id", "order:20");
  ASSERT_TRUE(Generate(context, Request(2)).status.ok());
  const LogFields line = LinesOf("order:20")[0];
  EXPECT_THAT(line["message"].get<std::string>(), StartsWith("drew 1 of digit 2 by ddpm, 1 step, "));
  EXPECT_FALSE(line.contains("class_name"));
}

// What names the caller of a gateway holds a secret: a client cannot be somebody else by it.
TEST_F(CallLinesTest, ClientsCannotNameAnotherCaller) {
  grpc::ClientContext context;
  context.AddMetadata("x-request-id", "order:18");
  context.AddMetadata("denoised-caller", "ipv4:192.0.2.7:40000");
  ASSERT_TRUE(Generate(context, Request(7)).status.ok());
  EXPECT_THAT(LinesOf("order:18")[0]["peer"].get<std::string>(), StartsWith("127.0.0.1:"));
}

TEST_F(CallLinesTest, TheIdIsToldAtOnceAndAtTheEnd) {
  grpc::ClientContext context;
  context.AddMetadata("x-request-id", "order:17");
  ASSERT_TRUE(Generate(context, Request(7)).status.ok());
  EXPECT_EQ(Value(context.GetServerInitialMetadata(), "x-request-id"), "order:17");
  EXPECT_EQ(Trailing(context, "x-request-id"), "order:17");
  EXPECT_EQ(Trailing(context, "traceparent"), "");
}

TEST_F(CallLinesTest, IdsAreMadeWhereNoneOrABadOneCame) {
  std::set<std::string> ids;
  for (const std::string& given : {std::string(), std::string("two words"), std::string(129, 'a')}) {
    grpc::ClientContext context;
    if (!given.empty()) context.AddMetadata("x-request-id", given);
    ASSERT_TRUE(Generate(context, Request(7)).status.ok());
    const std::string id = Trailing(context, "x-request-id");
    EXPECT_THAT(id, MatchesRegex("[0-9a-f]{16}")) << given;
    EXPECT_EQ(LinesOf(id).size(), 1u);
    ids.insert(id);
  }
  EXPECT_EQ(ids.size(), 3u);
}

TEST_F(CallLinesTest, ATraceGoesOnWithASpanOfTheServersOwn) {
  grpc::ClientContext context;
  context.AddMetadata("x-request-id", "traced");
  context.AddMetadata("traceparent", kTraceparent);
  ASSERT_TRUE(Generate(context, Request(7)).status.ok());
  const std::string told = Trailing(context, "traceparent");
  EXPECT_THAT(told, MatchesRegex("00-0af7651916cd43dd8448eb211c80319c-[0-9a-f]{16}-01"));
  EXPECT_THAT(told, Not(HasSubstr("b7ad6b7169203331"))) << "that span is the client's";
  EXPECT_EQ(Value(context.GetServerInitialMetadata(), "traceparent"), told);
  const LogFields line = LinesOf("traced")[0];
  EXPECT_EQ(line["trace_id"], "0af7651916cd43dd8448eb211c80319c");
  EXPECT_EQ(line["span_id"], told.substr(36, 16));
}

// Of gRPC alone it would be UNIMPLEMENTED, without a word.
TEST_F(CallLinesTest, RequestThatIsNoProtobufIsRefusedInWords) {
  const grpc::Slice garbage("\xff\xff");
  const grpc::ByteBuffer request(&garbage, 1);
  for (const std::string& method :
       {std::string("/denoised.v1.DigitService/GenerateDigit"), std::string("/denoised.v1.DigitService/GetModel"),
        std::string("/grpc.health.v1.Health/Check"), std::string("/grpc.health.v1.Health/Watch")}) {
    const grpc::Status status = CallOver(channel_, {{"x-request-id", method}}, method, request);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << method;
    EXPECT_EQ(status.error_message(),
              "the request of " + method +
                  " did not come whole, or does not parse as Protobuf; build it from this method's .proto file");
    EXPECT_EQ(LinesOf(method).at(0)["code"], "INVALID_ARGUMENT");
  }
  EXPECT_THAT(MetricsPage(),
              HasSubstr("grpc_server_handled_total{grpc_code=\"InvalidArgument\",grpc_method=\"GetModel\",grpc_"
                        "service=\"denoised.v1.DigitService\",grpc_type=\"unary\"} 1"));
}

TEST_F(CallLinesTest, RefusedCallsLeaveALineToo) {
  grpc::ClientContext context;
  context.AddMetadata("x-request-id", "bad");
  EXPECT_EQ(Generate(context, Request(10)).status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  const LogFields line = LinesOf("bad")[0];
  EXPECT_EQ(line["level"], "warning");
  EXPECT_EQ(line["code"], "INVALID_ARGUMENT");
  EXPECT_THAT(line["message"].get<std::string>(), HasSubstr("GenerateDigit: INVALID_ARGUMENT after 0."));
  EXPECT_EQ(Trailing(context, "x-request-id"), "bad");
  // A retry policy gives up on a call that has sent anything before its status.
  EXPECT_TRUE(context.GetServerInitialMetadata().empty());
}

TEST_F(CallLinesTest, OneThatFindsNoPlaceSaysWhatItAskedFor) {
  engine_->HoldSteps();
  grpc::ClientContext first, second;
  v1::GenerateDigitRequest request = Request(7);
  request.set_count(3);
  const Reader held = stub_->GenerateDigit(&first, request);
  v1::GenerateDigitResponse accepted;
  ASSERT_TRUE(held->Read(&accepted));
  second.AddMetadata("x-request-id", "late");
  EXPECT_EQ(Generate(second, request).status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  const LogFields line = LinesOf("late")[0];
  EXPECT_THAT(line["message"].get<std::string>(),
              StartsWith("GenerateDigit of 3 of digit 7 by ddpm, 1 step, seed 42: RESOURCE_EXHAUSTED after 0."));
  engine_->LetGo();
}

TEST_F(CallLinesTest, ProbesAreLoggedForThoseWhoLookClosely) {
  grpc::health::v1::HealthCheckResponse response;
  ASSERT_TRUE(Check("", &response).ok());
  while (log_.text().find("Health/Check") == std::string::npos) std::this_thread::yield();
  EXPECT_THAT(log_.text(), HasSubstr(R"("level":"debug","message":"Check in 0.)"));
}

}  // namespace
}  // namespace denoised
