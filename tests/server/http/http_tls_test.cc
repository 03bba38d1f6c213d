// The HTTP server by TLS: handshakes that come to something, and those of strangers that do not.
#include "server/http/http_tls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <latch>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "server/access/client_identity.h"
#include "server/access/https_contexts.h"
#include "server/http/http_server.h"
#include "tests/testing/https_client.h"
#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

class HttpTlsTest : public testing::Test {
 protected:
  void SetUp() override { options_.host = "127.0.0.1"; }

  void Start() {
    const TestIdentity identity = authority_.Issue("server");
    TlsMaterial material;
    material.cert = identity.cert;
    material.key = identity.key;
    material.client_ca = client_ca_;
    const absl::StatusOr<std::shared_ptr<SSL_CTX>> context = MakeHttpsContext(material);
    ASSERT_THAT(context, IsOk());
    options_.tls = HttpTls{.context = [context = *context] { return context; },
                           .client_name = NameInCertificate,
                           .on_failure =
                               [this](const std::string& peer, const std::string& why) {
                                 const std::lock_guard lock(mutex_);
                                 EXPECT_THAT(peer, StartsWith("127.0.0.1:"));
                                 failures_.push_back(why);
                               }};
    routes_.Add("GET", "/page", [](const HttpRequest&) { return HttpResponse{.body = "a page\n"}; });
    routes_.Add("GET", "/who", [](const HttpRequest& request) { return HttpResponse{.body = request.client_name}; });
    routes_.Add("POST", "/echo", [](const HttpRequest& request) { return HttpResponse{.body = request.body}; });
    auto server = HttpServer::Start(options_, routes_);
    ASSERT_THAT(server, IsOk());
    server_ = *std::move(server);
  }
  int port() const { return server_->port(); }

  // What a client gets that trusts the authority.
  HttpsClientOptions Trusting() const { return {.ca = authority_.pem()}; }
  std::string Page() const { return HttpsGet(port(), "/page", Trusting()).body; }

  std::vector<std::string> failures() const {
    const std::lock_guard lock(mutex_);
    return failures_;
  }
  // No limit of its own: the test's ends it.
  std::vector<std::string> AwaitFailures() const {
    while (failures().empty()) std::this_thread::yield();
    return failures();
  }

  const TestAuthority authority_;
  std::string client_ca_;
  HttpServerOptions options_;
  HttpRoutes routes_;
  mutable std::mutex mutex_;
  std::vector<std::string> failures_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpTlsTest, AnAnswerComesWholeAndWithAGoodbye) {
  Start();
  HttpsConnection client(port(), Trusting());
  ASSERT_EQ(client.error(), "");
  EXPECT_STREQ(SSL_get_version(client.ssl()), "TLSv1.3");
  client.Send("GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(client.ReceiveAll(),
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\nContent-Length: 7\r\n"
            "\r\na page\n");
  EXPECT_TRUE(client.said_goodbye()) << "else nobody knows whether the rest was cut off";
  EXPECT_THAT(failures(), IsEmpty());
}

TEST_F(HttpTlsTest, BodiesOfManyRecordsGoBothWays) {
  Start();
  HttpsConnection client(port(), Trusting());
  const std::string body(60'000, 'x');
  client.Send(absl::StrCat("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: ", body.size(), "\r\n\r\n"));
  client.Send(body);
  EXPECT_TRUE(client.Receive().body == body);
}

// Else the socket is closed with unread bytes, which resets it, and the answer is lost.
TEST_F(HttpTlsTest, AClientThatSendsTooMuchIsTold) {
  Start();
  HttpsConnection client(port(), Trusting());
  client.Send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n");
  client.Send(std::string(300'000, 'x'));
  const HttpAnswer answer = client.Receive();
  EXPECT_EQ(answer.status, 413);
  EXPECT_EQ(answer.body, "a body may have 65536 bytes at most\n");
}

TEST_F(HttpTlsTest, TlsBefore12IsRefused) {
  Start();
  EXPECT_EQ(HttpsConnection(port(), {.version = TLS1_2_VERSION}).error(), "");
  EXPECT_NE(HttpsConnection(port(), {.version = TLS1_1_VERSION}).error(), "");
  EXPECT_THAT(AwaitFailures(), ElementsAre("unsupported protocol"));
}

TEST_F(HttpTlsTest, Http11IsAgreedUponByAlpn) {
  Start();
  const HttpsConnection client(port(), Trusting());
  const unsigned char* chosen = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(client.ssl(), &chosen, &size);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(chosen), size), "http/1.1");
}

TEST_F(HttpTlsTest, WhoSpeaksOnlyHttp2IsRefused) {
  Start();
  EXPECT_EQ(HttpsConnection(port(), {.alpn = "h2"}).error(), "tlsv1 alert no application protocol");
  EXPECT_THAT(AwaitFailures(), ElementsAre("no application protocol"));
}

TEST_F(HttpTlsTest, NothingIsRenegotiated) {
  Start();
  HttpsConnection client(port(), {.version = TLS1_2_VERSION});
  ASSERT_EQ(client.error(), "");
  ASSERT_EQ(SSL_renegotiate(client.ssl()), 1);
  ERR_clear_error();
  EXPECT_NE(SSL_do_handshake(client.ssl()), 1);
  EXPECT_STREQ(ERR_reason_error_string(ERR_peek_last_error()), "no renegotiation");
  EXPECT_EQ(Page(), "a page\n");
}

// Whoever's authority has been taken off the list must not come back by a session from before.
TEST_F(HttpTlsTest, NoSessionIsTakenUpAgain) {
  Start();
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    HttpsConnection first(port(), {.version = version});
    first.Send("GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n");
    EXPECT_EQ(first.Receive().status, 200);
    SSL_SESSION* const session = SSL_get1_session(first.ssl());
    const HttpsConnection second(port(), {.version = version, .session = session});
    EXPECT_EQ(second.error(), "");
    EXPECT_EQ(SSL_session_reused(second.ssl()), 0);
    SSL_SESSION_free(session);
  }
}

// ---- Clients' certificates ----

TEST_F(HttpTlsTest, AClientIsKnownByItsCertificate) {
  const TestAuthority of_clients;
  client_ca_ = of_clients.pem();
  Start();
  EXPECT_EQ(HttpsGet(port(), "/who", {.identity = of_clients.Issue("alice")}).body, "alice");
  EXPECT_THAT(failures(), IsEmpty());
}

TEST_F(HttpTlsTest, WithoutAnAuthorityNobodyIsAskedForACertificate) {
  Start();
  const HttpAnswer answer = HttpsGet(port(), "/who", {.identity = authority_.Issue("alice")});
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, "");
}

TEST_F(HttpTlsTest, AClientWithoutACertificateHearsWhy) {
  client_ca_ = TestAuthority().pem();
  Start();
  HttpsConnection client(port(), Trusting());
  client.Send("GET /who HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(client.ReceiveAll(), "");
  EXPECT_EQ(client.error(), "tlsv13 alert certificate required");
  EXPECT_THAT(AwaitFailures(), ElementsAre("peer did not return a certificate"));
}

TEST_F(HttpTlsTest, AnotherAuthoritysClientIsRefusedWithTheReason) {
  client_ca_ = TestAuthority("another").pem();
  Start();
  HttpsConnection client(port(), {.identity = authority_.Issue("mallory")});
  EXPECT_EQ(client.ReceiveAll(), "");
  EXPECT_THAT(AwaitFailures(), ElementsAre("certificate verify failed: unable to get local issuer certificate"));
}

TEST_F(HttpTlsTest, AClientThatDoesNotTrustTheServerLeavesItsReason) {
  Start();
  EXPECT_EQ(HttpsConnection(port(), {.ca = TestAuthority("another").pem()}).error(), "certificate verify failed");
  EXPECT_THAT(AwaitFailures(), ElementsAre("tlsv1 alert unknown ca"));
}

// ---- Strangers ----

TEST_F(HttpTlsTest, PlainHttpIsToldToAskByHttps) {
  Start();
  const HttpAnswer answer = HttpGet(port(), "/page");
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(answer.body, "this port speaks TLS: ask with https:// in the place of http://\n");
  EXPECT_THAT(failures(), ElementsAre("plain HTTP was spoken to a port that speaks TLS"));
}

TEST_F(HttpTlsTest, GarbageEndsItsConnectionAndNoOther) {
  Start();
  for (const std::string& garbage : {std::string(100, '\0'), std::string(100, '\xff'), ClientHello().substr(5),
                                     std::string("\x16\x03\x01\xff\xff") + std::string(70'000, 'x')}) {
    HttpConnection client(port());
    client.Send(garbage);
    EXPECT_TRUE(client.AwaitClose());
  }
  EXPECT_EQ(failures().size(), 4u) << "a line each";
  EXPECT_EQ(Page(), "a page\n");
}

TEST_F(HttpTlsTest, AHandshakeThatStopsHalfwayIsEndedByItsTime) {
  options_.handshake_timeout = milliseconds(200);
  Start();
  const std::string hello = ClientHello();
  HttpConnection client(port());
  client.Send(hello);
  EXPECT_TRUE(client.AwaitClose());
  EXPECT_THAT(failures(), ElementsAre("it was not complete within 0.2 s"));
}

// A byte now and then is never idle.
TEST_F(HttpTlsTest, AHandshakeHasATimeInAll) {
  options_.handshake_timeout = milliseconds(200);
  options_.idle_timeout = options_.request_timeout = hours(1);
  Start();
  HttpConnection client(port());
  client.Send("\x16");
  while (client.Send("\x03") && !client.AwaitClose(milliseconds(5))) continue;
  EXPECT_THAT(failures(), ElementsAre("it was not complete within 0.2 s"));
}

TEST_F(HttpTlsTest, TheRequestsTimeBeginsAfterTheHandshake) {
  options_.handshake_timeout = hours(1);
  options_.idle_timeout = milliseconds(200);
  Start();
  HttpsConnection client(port(), Trusting());
  client.Send("GET /page HTTP/1.1\r\nHos");
  EXPECT_EQ(client.Receive().status, 408) << client.error();
  EXPECT_TRUE(client.said_goodbye());
}

// As health checks of load balancers do, every second.
TEST_F(HttpTlsTest, WhoConnectsAndSaysNothingIsNoFailure) {
  options_.handshake_timeout = milliseconds(500);
  Start();
  { const HttpConnection gone(port()); }
  HttpConnection silent(port());
  EXPECT_EQ(silent.ReceiveAll(), "");
  EXPECT_EQ(Page(), "a page\n");
  EXPECT_THAT(failures(), IsEmpty());
}

TEST_F(HttpTlsTest, WhoGoesInTheMiddleIsSaid) {
  Start();
  {
    HttpConnection client(port());
    client.Send(ClientHello().substr(0, 20));
  }
  EXPECT_THAT(AwaitFailures(), ElementsAre("the client closed the connection in the middle of it"));
}

TEST_F(HttpTlsTest, ConnectionsInHandshakeCountAndGiveWayToNewcomers) {
  options_.max_connections = 8;
  options_.handshake_timeout = options_.idle_timeout = options_.request_timeout = hours(1);
  Start();
  std::vector<HttpConnection> halfway;
  for (int i = 0; i < 8; ++i) {
    halfway.emplace_back(port());
    halfway.back().Send(ClientHello());
  }
  EXPECT_EQ(Page(), "a page\n");
  EXPECT_TRUE(halfway[0].AwaitClose());
  EXPECT_FALSE(halfway[7].AwaitClose(milliseconds(20)) && halfway[6].AwaitClose(milliseconds(0)));
}

TEST_F(HttpTlsTest, TheEndWaitsForNoHandshake) {
  options_.handshake_timeout = hours(1);
  Start();
  HttpConnection client(port());
  client.Send(ClientHello());
  EXPECT_EQ(Page(), "a page\n");
  server_.reset();
  EXPECT_TRUE(client.AwaitClose());
}

// ---- Answers in pieces ----

class HttpTlsPiecesTest : public HttpTlsTest {
 protected:
  HttpTlsPiecesTest() {
    routes_.AddLater("GET", "/later", [this](const HttpRequest&, std::shared_ptr<HttpResponder> responder) {
      responder_ = std::move(responder);
      came_.count_down();
      return [this] { gone_.count_down(); };
    });
  }
  void TearDown() override {
    responder_.reset();
    server_.reset();
  }

  HttpsConnection Ask(const std::string& version = "1.1", int receive_bytes = 0) {
    HttpsClientOptions options = Trusting();
    options.receive_bytes = receive_bytes;
    HttpsConnection client(port(), options);
    client.Send(absl::StrCat("GET /later HTTP/", version, "\r\nHost: localhost\r\n\r\n"));
    came_.wait();
    return client;
  }

  void BeginWithAPieceThatIsTaken(const std::string& piece) {
    std::latch taken(1);
    responder_->Begin({});
    responder_->Write(piece, [&taken] { taken.count_down(); });
    taken.wait();
  }

  std::shared_ptr<HttpResponder> responder_;
  std::latch came_{1};
  std::latch gone_{1};
};

TEST_F(HttpTlsPiecesTest, PiecesComeAsTheyAreMade) {
  Start();
  HttpsConnection client = Ask();
  BeginWithAPieceThatIsTaken("first\n");
  responder_->Write("second\n", nullptr);
  responder_->End();
  EXPECT_THAT(client.ReceiveAll(), HasSubstr("\r\n\r\n6\r\nfirst\n\r\n7\r\nsecond\n\r\n0\r\n\r\n"));
  EXPECT_TRUE(client.said_goodbye());
}

// Here the goodbye alone says that the answer is whole.
TEST_F(HttpTlsPiecesTest, Http10HearsWhereTheAnswerEnds) {
  Start();
  HttpsConnection client = Ask("1.0");
  const std::string much(8 << 20, 'x');
  responder_->Begin({});
  responder_->Write(much, nullptr);
  responder_->End();
  EXPECT_TRUE(client.Receive().body == much);
  EXPECT_TRUE(client.said_goodbye());
}

TEST_F(HttpTlsPiecesTest, TheHandlerHearsThatTheClientWent) {
  Start();
  {
    const HttpsConnection client = Ask();
    BeginWithAPieceThatIsTaken("first\n");
  }
  gone_.wait();
  responder_->End();
}

TEST_F(HttpTlsPiecesTest, AClientThatDoesNotReadIsLeft) {
  options_.piece_timeout = milliseconds(50);
  options_.piece_bytes_per_second = 1e12;
  Start();
  const HttpsConnection client = Ask("1.1", /*receive_bytes=*/4096);
  responder_->Begin({});
  responder_->Write(std::string(64 << 20, 'x'), nullptr);
  gone_.wait();
}

}  // namespace
}  // namespace denoised
