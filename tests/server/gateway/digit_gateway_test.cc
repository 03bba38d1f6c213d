// The service over HTTP, in front of the whole server.
#include "server/gateway/digit_gateway.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "common/support/digest.h"
#include "server/telemetry/line_budget.h"
#include "tests/server/puppet_server.h"
#include "tests/testing/captured_log.h"
#include "tests/testing/http_client.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

using nlohmann::json;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class GatewayTest : public PuppetServer {
 protected:
  GatewayTest() : PuppetServer(/*slots=*/4, /*max_queued_images=*/4) { options_.http_listen = "127.0.0.1:0"; }

  HttpConnection Send(const std::string& line, const std::string& headers = "", const std::string& body = "") const {
    HttpConnection client(server_->http_port());
    client.Send(absl::StrCat(line, " HTTP/1.1\r\nHost: localhost\r\n", headers,
                             body.empty() ? "" : absl::StrCat("Content-Length: ", body.size(), "\r\n"), "\r\n", body));
    return client;
  }
  HttpAnswer Get(const std::string& path, const std::string& headers = "") const {
    return Send("GET " + path, headers).Receive();
  }
  HttpConnection Begin(const std::string& body) const {
    return Send("POST /v1/digits:generate", "Content-Type: application/json\r\n", body);
  }

  // The lines of an answer that came in chunks.
  static std::vector<json> Lines(const HttpAnswer& answer) {
    std::vector<json> lines;
    std::string text = answer.body;
    while (!text.empty()) {
      const size_t size = std::stoul(text, nullptr, 16);
      const size_t begin = text.find("\r\n") + 2;
      if (size > 0) lines.push_back(json::parse(text.substr(begin, size)));
      text = text.substr(begin + size + 2);
    }
    return lines;
  }

  static std::string Png(const json& event) {
    std::string png;
    absl::Base64Unescape(event["png"].get<std::string>(), &png);
    return png;
  }
};

TEST_F(GatewayTest, APictureIsWhatGrpcDraws) {
  Start();
  const HttpAnswer answer = Get("/v1/digits/7.png?seed=42&steps=1&size=32");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.header("Content-Type"), "image/png");
  EXPECT_EQ(answer.header("X-Denoised-Seed"), "42");
  EXPECT_EQ(answer.header("X-Denoised-Model"), "cccccccccccc");
  EXPECT_EQ(answer.header("X-Request-Id").size(), 16u);
  EXPECT_TRUE(answer.body == Generate(Request(7)).images().at(0).png());
}

TEST_F(GatewayTest, EventsComeAsLinesOfJson) {
  Start();
  const HttpAnswer answer =
      Begin(R"({"digit": 7, "count": 2, "seed": "18446744073709551615", "steps": 2, "image": {"size": 32},
                "preview": {"everySteps": 1}})")
          .Receive();
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.header("Content-Type"), "application/x-ndjson");
  const std::vector<json> lines = Lines(answer);
  ASSERT_GE(lines.size(), 3u);
  EXPECT_EQ(lines[0]["accepted"]["seed"], "18446744073709551615");
  EXPECT_EQ(lines[0]["accepted"]["queuePosition"], 0) << "fields at their defaults are there";
  int images = 0;
  for (const json& line : lines) {
    if (!line.contains("image")) continue;
    ++images;
    EXPECT_THAT(Png(line["image"]), StartsWith("\x89PNG"));
  }
  EXPECT_EQ(images, 2);
}

TEST_F(GatewayTest, ErrorsHaveTheirStatusAndTheServicesWords) {
  Start();
  const HttpAnswer answer = Get("/v1/digits/7.png?steps=2000");
  EXPECT_EQ(answer.status, 400);
  const json error = json::parse(answer.body)["error"];
  EXPECT_EQ(error["code"], 3);
  EXPECT_EQ(error["status"], "INVALID_ARGUMENT");
  EXPECT_THAT(error["message"], HasSubstr("steps must be 1 to 1000"));
  EXPECT_EQ(error["details"][0]["@type"], "type.googleapis.com/google.rpc.BadRequest");
  EXPECT_EQ(error["details"][0]["fieldViolations"][0]["field"], "steps");
}

TEST_F(GatewayTest, WhatCannotBeReadIsRefusedInWords) {
  Start();
  EXPECT_THAT(Get("/v1/digits/x%2.png").body, HasSubstr("the picture's name must be a class's number or its name"));
  EXPECT_THAT(Begin("nonsense").Receive().body, HasSubstr("the body is not the JSON of a"));
  const HttpAnswer text = Send("POST /v1/digits:generate", "Content-Type: text/plain\r\n", "{}").Receive();
  EXPECT_EQ(text.status, 415) << "what another site's page can send without being allowed to";
  EXPECT_THAT(text.body, HasSubstr("send JSON, with the header Content-Type: application/json"));
  EXPECT_EQ(Get("/v1/digits:generate").status, 405);
  EXPECT_THAT(Get("/nowhere").body, HasSubstr("nothing is here; what there is: /, "));
}

TEST_F(GatewayTest, ClassesGoByTheirNames) {
  info_.metadata.class_names = {"cat", "Ankle boot", "Fußball"};
  Start();
  const std::string drawn = Generate(Request(1)).images().at(0).png();
  EXPECT_TRUE(Get("/v1/digits/Ankle%20boot.png?seed=42&steps=1&size=32").body == drawn);
  EXPECT_TRUE(Get("/v1/digits/1.png?seed=42&steps=1&size=32").body == drawn);
  EXPECT_EQ(Get("/v1/digits/Fu%C3%9Fball.png?steps=1").status, 200);
  const std::vector<json> lines = Lines(Begin(R"({"className": "ankle boot", "steps": 1})").Receive());
  ASSERT_FALSE(lines.empty());
  EXPECT_EQ(lines[0]["accepted"]["digit"], 1);
  EXPECT_EQ(lines[0]["accepted"]["className"], "Ankle boot");
  EXPECT_EQ(json::parse(Get("/v1/model").body)["classNames"], json({"cat", "Ankle boot", "Fußball"}));
}

TEST_F(GatewayTest, ClassesThatThereAreNotAreRefusedInWords) {
  info_.metadata.class_names = {"cat", "Ankle boot"};
  Start();
  const auto message = [](const HttpAnswer& answer) {
    EXPECT_EQ(answer.status, 400);
    return json::parse(answer.body)["error"]["message"].get<std::string>();
  };
  EXPECT_EQ(message(Get("/v1/digits/ankle%20bot.png")),
            "class_name must be one of \"cat\" and \"Ankle boot\", got \"ankle bot\"; did you mean \"Ankle boot\"?");
  EXPECT_EQ(message(Get("/v1/digits/a%0a%1b.png")),
            "class_name must be one of \"cat\" and \"Ankle boot\", got \"a\\n\\x1b\"");
  EXPECT_EQ(message(Get("/v1/digits/2.png")),
            "digit must be 0 to 1, got 2; the classes are 0 \"cat\" and 1 \"Ankle boot\"");
  EXPECT_EQ(message(Begin(R"({"digit": 0, "className": "cat"})").Receive()),
            "class_name is in the place of digit: send one of the two, not both");
  EXPECT_THAT(message(Begin("{}").Receive()), StartsWith("digit is required: 0 to 1, or class_name in its place"));
  EXPECT_THAT(message(Begin(R"({"className": ")" + std::string(10'000, 'x') + "\"}").Receive()),
              HasSubstr("got \"" + std::string(40, 'x') + "...\""));
}

TEST_F(GatewayTest, TheDescriptionNamesEachPath) {
  Start();
  const json paths = json::parse(Get("/openapi.json").body)["paths"];
  const std::string known = Get("/nowhere").body;
  int named = 0;
  for (const absl::string_view path : absl::StrSplit(known, ", ")) {
    if (!absl::StartsWith(path, "/v1/")) continue;
    const std::string name = absl::StrReplaceAll(absl::StripAsciiWhitespace(path), {{"*", "{digit}"}});
    EXPECT_TRUE(paths.contains(name)) << name;
    ++named;
  }
  EXPECT_EQ(named, static_cast<int>(paths.size()));
}

// As calls do, though none comes of them.
TEST_F(GatewayTest, RefusedRequestsLeaveALineWithTheirClient) {
  const CapturedLog log;
  Start();
  EXPECT_EQ(Get("/nowhere").status, 404);
  EXPECT_EQ(Begin("{").Receive().status, 400);
  EXPECT_EQ(Begin(std::string(1 << 20, ' ')).Receive().status, 413);
  HttpConnection stranger(server_->http_port());
  stranger.Send("hello\r\n\r\n");
  EXPECT_EQ(stranger.Receive().status, 400);
  const std::string peer = "[^\n]* peer=127\\.0\\.0\\.1:[0-9]+\n";
  EXPECT_THAT(log.text(), ContainsRegex(" warning GET /nowhere: 404: nothing is here; what there is: " + peer));
  EXPECT_THAT(log.text(),
              ContainsRegex(" warning POST /v1/digits:generate: 400: the body is not the JSON of a " + peer));
  EXPECT_THAT(log.text(), ContainsRegex(" warning HTTP: 413: a body may have [0-9]+ bytes at most" + peer));
  EXPECT_THAT(log.text(), ContainsRegex(" warning HTTP: 400: this is no HTTP request: " + peer));
}

TEST_F(GatewayTest, CallsThatFailLeaveTheirOwnLineAlone) {
  const CapturedLog log;
  Start();
  EXPECT_EQ(Get("/v1/digits/7.png?steps=2000").status, 400);
  AwaitMetric(
      "grpc_server_handled_total{grpc_code=\"InvalidArgument\",grpc_method=\"GenerateDigit\",grpc_service=\"denoised."
      "v1."
      "DigitService\",grpc_type=\"server_stream\"}",
      "1");
  EXPECT_THAT(log.text(), HasSubstr("GenerateDigit: INVALID_ARGUMENT after "));
  EXPECT_THAT(log.text(), Not(HasSubstr("/v1/digits/7.png")));
}

// Strangers could have it write without end.
TEST_F(GatewayTest, LinesOfRefusedRequestsAreLimited) {
  const CapturedLog log;
  Start();
  constexpr int kRequests = 5 * LineBudget::kLines;
  for (int i = 0; i < kRequests; ++i) EXPECT_EQ(Get("/nowhere").status, 404);
  const std::string text = log.text();
  int lines = 0;
  for (size_t at = 0; (at = text.find("/nowhere: 404", at)) != std::string::npos; ++at) ++lines;
  EXPECT_LT(lines, kRequests);
}

// The queue's answer, with the time to wait as HTTP says it.
TEST_F(GatewayTest, AFullQueueIs429WithRetryAfter) {
  Start();
  engine_->HoldSteps();
  std::vector<HttpConnection> clients;
  HttpAnswer refused;
  for (int i = 0; i < 20 && refused.status == 0; ++i) {
    clients.push_back(Begin(R"({"digit": 7, "count": 1})"));
    if (clients.back().ReceiveHead() == 429) refused = Begin(R"({"digit": 7, "count": 1})").Receive();
  }
  EXPECT_EQ(refused.status, 429);
  EXPECT_GE(std::stoi(refused.header("Retry-After")), 1);
  EXPECT_EQ(json::parse(refused.body)["error"]["status"], "RESOURCE_EXHAUSTED");
  engine_->LetGo();
}

TEST_F(GatewayTest, AClientThatLeavesGivesItsPlaceBack) {
  Start();
  engine_->HoldSteps();
  {
    HttpConnection client = Begin(R"({"digit": 7, "steps": 1000})");
    AwaitMetric("denoised_requests_in_flight", "1");
  }
  // Not all at once: the server has yet to notice, and must not be done before.
  for (int step = 0; step < 999 && Metric("denoised_requests_in_flight") != "0"; ++step) {
    engine_->AllowSteps(1);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  engine_->LetGo();
  AwaitMetric(
      "grpc_server_handled_total{grpc_code=\"Canceled\",grpc_method=\"GenerateDigit\",grpc_service=\"denoised.v1."
      "DigitService\",grpc_type=\"server_stream\"}",
      "1");
}

TEST_F(GatewayTest, TheModelIsDescribed) {
  Start();
  const HttpAnswer answer = Get("/v1/model");
  EXPECT_EQ(answer.status, 200);
  const json model = json::parse(answer.body);
  EXPECT_EQ(model["modelVersion"], "cccccccccccc");
  EXPECT_EQ(model["engine"], "a puppet");
}

TEST_F(GatewayTest, TheStatusCountsStepsAndImages) {
  Start();
  EXPECT_EQ(json::parse(Get("/v1/status").body)["stepsTotal"], 0);
  Get("/v1/digits/7.png?steps=5");
  const json status = json::parse(Get("/v1/status").body);
  EXPECT_EQ(status["stepsTotal"], 5);
  EXPECT_EQ(status["stepRowsTotal"], 5);
  EXPECT_GT(status["stepSecondsTotal"], 0);
  EXPECT_EQ(status["stepRows"], 4);
  EXPECT_EQ(status["queuedImages"], 0);
}

// A client is who has the HTTP connection, as the log says too.
TEST_F(GatewayTest, TheCallerIsTheClientOfHttp) {
  const CapturedLog log(LogFormat::kJson);
  Start();
  Get("/v1/digits/7.png?steps=1");
  while (log.text().find("drew 1 of digit 7") == std::string::npos) std::this_thread::yield();
  EXPECT_THAT(log.text(), HasSubstr("\"peer\":\"127.0.0.1:"));
}

// The last one is the proxy's, those before it the client's own: with gRPC it is the same.
TEST_F(GatewayTest, AmongRepeatedHeadersThatNameTheClientTheLastCounts) {
  const CapturedLog log(LogFormat::kJson);
  options_.access.client_header = "x-client";
  Start();
  Get("/v1/digits/7.png?steps=1", "X-Client: mallory\r\nX-Client: alice\r\n");
  while (log.text().find("drew 1 of digit 7") == std::string::npos) std::this_thread::yield();
  EXPECT_THAT(log.text(), HasSubstr("\"client\":\"header:alice\""));
}

TEST_F(GatewayTest, RequestIdsGoThrough) {
  Start();
  EXPECT_EQ(Get("/v1/digits/7.png?steps=1", "X-Request-Id: order-66\r\n").header("X-Request-Id"), "order-66");
  EXPECT_NE(Get("/v1/digits/7.png?steps=1", "X-Request-Id: a\xff\r\n").header("X-Request-Id"), "");
}

TEST_F(GatewayTest, TokensAreAskedForAsEverywhere) {
  TempFolder folder;
  options_.access.tokens = folder.Write("tokens", "lab " + Sha256Hex("secret"));
  Start();
  for (const char* path : {"/v1/digits/7.png", "/v1/model", "/v1/status"}) {
    const HttpAnswer answer = Get(path);
    EXPECT_EQ(answer.status, 401) << path;
    EXPECT_EQ(answer.header("WWW-Authenticate"), "Bearer") << path;
    EXPECT_EQ(Get(path, "Authorization: Bearer secret\r\n").status, 200) << path;
  }
  EXPECT_EQ(Get("/").status, 200) << "the page asks for the token";
}

// Longer than any time that a drain gives to answers: gRPC's server, which has no client here, is closed at once.
TEST_F(GatewayTest, ADrainFinishesWhatHttpClientsAskedFor) {
  Start();
  engine_->HoldSteps();
  HttpConnection client = Begin(R"({"digit": 7, "seed": "42", "steps": 1, "image": {"size": 32}})");
  AwaitMetric("denoised_requests_in_flight", "1");
  std::thread drain([this] {
    const DrainReport report = server_->Drain();
    EXPECT_EQ(report.dropped_requests, 0);
    EXPECT_TRUE(report.closed);
  });
  std::this_thread::sleep_for(std::chrono::seconds(4));
  engine_->LetGo();
  const std::vector<json> lines = Lines(client.Receive());
  drain.join();
  ASSERT_FALSE(lines.empty());
  EXPECT_TRUE(lines.back().contains("image")) << lines.back();
  EXPECT_EQ(Get("/v1/digits/7.png").status, 503);
}

TEST_F(GatewayTest, ADrainThatIsOverCountsHttpsCallsAmongTheDropped) {
  options_.drain_timeout_seconds = 0.5;
  Start();
  engine_->HoldSteps();
  HttpConnection client = Begin(R"({"digit": 7, "count": 2, "steps": 1})");
  AwaitMetric("denoised_requests_in_flight", "1");
  std::thread let_go([this] {
    std::this_thread::sleep_for(std::chrono::seconds(2));
    engine_->LetGo();
  });
  const DrainReport report = server_->Drain();
  let_go.join();
  EXPECT_EQ(report.dropped_requests, 1);
  EXPECT_EQ(report.dropped_images, 2);
}

// Calls under way, readers that read nothing, and a server that goes.
TEST_F(GatewayTest, EndsWithCallsUnderWay) {
  Start();
  engine_->HoldSteps();
  std::vector<HttpConnection> clients;
  for (int i = 0; i < 3; ++i) clients.push_back(Begin(R"({"digit": 7, "steps": 1000, "preview": {"everySteps": 1}})"));
  AwaitMetric("denoised_requests_in_flight", "3");
  engine_->LetGo();
  server_.reset();
}

TEST_F(GatewayTest, AddressesThatAreNoneAreNamed) {
  options_.http_listen = "nonsense";
  EXPECT_THAT(Server::Validate(options_), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--http_listen")));
  options_.http_listen = "unix:/tmp/socket";
  EXPECT_THAT(Server::Validate(options_),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--http_listen must be an address and a port")));
}

TEST_F(GatewayTest, TokensDoNotCrossANetworkInPlainText) {
  options_.http_listen = "0.0.0.0:0";
  options_.access.tokens = "tokens";
  EXPECT_THAT(Server::Validate(options_),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "--tokens: without TLS, tokens would reach 0.0.0.0:0 readable for everybody on the way; give "
                       "--tls_cert and --tls_key, or --http_listen=127.0.0.1:8080, or --allow_plain_tokens where "
                       "something in front speaks TLS"));
  options_.tls = {.cert = "server.pem", .key = "server.key", .client_ca = ""};
  EXPECT_THAT(Server::Validate(options_), IsOk());
}

TEST_F(GatewayTest, AnOccupiedPortIsToldWithTheFlag) {
  Start();
  options_.http_listen = absl::StrCat("127.0.0.1:", server_->http_port());
  EXPECT_THAT(Server::Start(options_, PuppetLoader()),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("choose another with --http_listen")));
}

}  // namespace
}  // namespace denoised
