// The gateway by TLS: the same certificates, clients and tokens as by gRPC.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "common/support/digest.h"
#include "tests/server/puppet_server.h"
#include "tests/testing/captured_log.h"
#include "tests/testing/https_client.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/test_certificates.h"

namespace denoised {
namespace {

using testing::HasSubstr;

class GatewayTlsTest : public PuppetServer {
 protected:
  GatewayTlsTest() : PuppetServer(/*slots=*/4, /*max_queued_images=*/4) {
    options_.http_listen = "0.0.0.0:0";
    options_.tls = {.cert = folder_.File("server.pem"), .key = folder_.File("server.key"), .client_ca = ""};
    Install(authority_.Issue("server"));
  }

  void Install(const TestIdentity& server) {
    folder_.Write("server.key", server.key);
    folder_.Write("server.pem", server.cert);
  }
  void AskForCertificates() { options_.tls.client_ca = folder_.Write("clients.pem", of_clients_.pem()); }

  HttpsClientOptions Client(const TestIdentity& identity = {}) const {
    return {.ca = authority_.pem(), .identity = identity};
  }
  HttpAnswer Get(const std::string& path, const TestIdentity& identity = {}, const std::string& headers = "") const {
    return HttpsGet(server_->http_port(), path, Client(identity), headers);
  }
  static void Await(const CapturedLog& log, const std::string& text) {
    while (log.text().find(text) == std::string::npos) std::this_thread::yield();
  }

  const TestAuthority authority_;
  const TestAuthority of_clients_;
  const TempFolder folder_;
};

TEST_F(GatewayTlsTest, APictureComesByTls) {
  Start();
  const HttpAnswer answer = Get("/v1/digits/7.png?seed=42&steps=1&size=32");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.header("X-Denoised-Seed"), "42");
  EXPECT_EQ(answer.body.substr(0, 4), "\x89PNG");
}

TEST_F(GatewayTlsTest, TheMetricsPortStaysPlain) {
  Start();
  EXPECT_EQ(HttpGet(server_->metrics_port(), "/healthz").body, "serving\n");
}

// Of a port that anybody may reach.
TEST_F(GatewayTlsTest, TokensAreTakenFromAfar) {
  options_.access.tokens = folder_.Write("tokens", "lab " + Sha256Hex("secret"));
  const CapturedLog log(LogFormat::kJson);
  Start();
  EXPECT_EQ(Get("/v1/model").status, 401);
  EXPECT_EQ(Get("/v1/digits/7.png?steps=1", {}, "Authorization: Bearer secret\r\n").status, 200);
  Await(log, "drew 1 of digit 7");
  EXPECT_THAT(log.text(), HasSubstr("\"client\":\"token:lab\""));
}

// It is the client whose share the picture counts against.
TEST_F(GatewayTlsTest, AClientsCertificateIsWhoCalls) {
  AskForCertificates();
  const CapturedLog log(LogFormat::kJson);
  Start();
  EXPECT_EQ(Get("/v1/digits/7.png?steps=1", of_clients_.Issue("alice")).status, 200);
  Await(log, "drew 1 of digit 7");
  EXPECT_THAT(log.text(), HasSubstr("\"client\":\"certificate:alice\""));
  EXPECT_THAT(log.text(), HasSubstr("\"peer\":\"127.0.0.1:"));
}

TEST_F(GatewayTlsTest, PlacesOfOneClientAreCountedOverGrpcAndHttp) {
  AskForCertificates();
  options_.model.max_client_images = 2;
  Start();
  engine_->HoldSteps();
  const TestIdentity alice = of_clients_.Issue("alice");
  Connect(address(), grpc::SslCredentials({authority_.pem(), alice.key, alice.cert}));
  grpc::ClientContext context;
  v1::GenerateDigitRequest request = Request(7, 10);
  request.set_count(2);
  const Reader reader = stub_->GenerateDigit(&context, request);
  AwaitMetric("denoised_requests_in_flight", "1");
  const HttpAnswer refused = Get("/v1/digits/7.png?steps=1", alice);
  EXPECT_EQ(refused.status, 429);
  EXPECT_THAT(refused.body, HasSubstr("this client has enough here: its images take 2 of the 2 places"));
  EXPECT_NE(refused.header("Retry-After"), "");
  HttpsConnection bob(server_->http_port(), Client(of_clients_.Issue("bob")));
  bob.Send("GET /v1/digits/7.png?steps=1 HTTP/1.1\r\nHost: localhost\r\n\r\n");
  AwaitMetric("denoised_requests_in_flight", "2");
  context.TryCancel();
  engine_->LetGo();
  EXPECT_EQ(bob.Receive().status, 200);
}

TEST_F(GatewayTlsTest, WithoutACertificateNothingIsAnsweredAndTheLogSaysWhy) {
  AskForCertificates();
  const CapturedLog log;
  Start();
  EXPECT_EQ(Get("/").status, 0);
  Await(log, "a TLS handshake failed: peer did not return a certificate (127.0.0.1:");
  EXPECT_EQ(Get("/", of_clients_.Issue("alice")).status, 200);
}

TEST_F(GatewayTlsTest, PlainHttpIsAnsweredInWordsAndLogged) {
  const CapturedLog log;
  Start();
  const HttpAnswer answer = HttpGet(server_->http_port(), "/");
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(answer.body, "this port speaks TLS: ask with https:// in the place of http://\n");
  Await(log, "a TLS handshake failed: plain HTTP was spoken to a port that speaks TLS (127.0.0.1:");
  EXPECT_THAT(log.text(), HasSubstr(" at --http_listen)"));
}

TEST_F(GatewayTlsTest, NewConnectionsGetTheCertificateThatReplacedTheOld) {
  const CapturedLog log;
  Start();
  const TestAuthority another;
  HttpsConnection open(server_->http_port(), Client());
  EXPECT_EQ(HttpsConnection(server_->http_port(), {.ca = another.pem()}).error(), "certificate verify failed");
  Install(another.Issue("renewed"));
  Await(log, "new connections get the new certificate of CN=renewed");
  EXPECT_EQ(HttpsGet(server_->http_port(), "/", {.ca = another.pem()}).status, 200);
  EXPECT_EQ(Get("/").status, 0) << "the old authority has signed nothing that is served";
  open.Send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(open.Receive().status, 200) << "connections keep what they began with";
}

TEST_F(GatewayTlsTest, ABrokenCertificateLeavesTheOldOneInUse) {
  const CapturedLog log;
  Start();
  folder_.Write("server.pem", "nonsense");
  Await(log, "the old certificate stays in use: --tls_cert: ");
  EXPECT_EQ(Get("/").status, 200);
}

TEST_F(GatewayTlsTest, TheAuthorityOfClientsIsReplacedToo) {
  AskForCertificates();
  const CapturedLog log;
  Start();
  const TestAuthority of_others;
  EXPECT_EQ(Get("/", of_others.Issue("bob")).status, 0);
  folder_.Write("clients.pem", of_others.pem());
  Await(log, "new connections get the new certificate");
  EXPECT_EQ(Get("/", of_others.Issue("bob")).status, 200);
  EXPECT_EQ(Get("/", of_clients_.Issue("alice")).status, 0);
}

TEST_F(GatewayTlsTest, ADrainFinishesWhatHttpsClientsAskedFor) {
  Start();
  engine_->HoldSteps();
  HttpsConnection client(server_->http_port(), Client());
  client.Send("GET /v1/digits/7.png?steps=1 HTTP/1.1\r\nHost: localhost\r\n\r\n");
  AwaitMetric("denoised_requests_in_flight", "1");
  std::thread drain([this] { EXPECT_EQ(server_->Drain().dropped_requests, 0); });
  engine_->LetGo();
  EXPECT_EQ(client.Receive().status, 200);
  drain.join();
}

}  // namespace
}  // namespace denoised
