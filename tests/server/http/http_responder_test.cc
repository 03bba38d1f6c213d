// Answers that come later than their requests, whole or in pieces.
#include "server/http/http_responder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <latch>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>

#include "server/http/http_server.h"
#include "tests/testing/http_client.h"
#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

constexpr char kGet[] = "GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n";

class HttpResponderTest : public testing::Test {
 protected:
  void SetUp() override {
    options_.host = "127.0.0.1";
    HttpRoutes routes;
    routes.AddLater("GET", "/later", [this](const HttpRequest& request, std::shared_ptr<HttpResponder> responder) {
      request_ = request;
      responder_ = std::move(responder);
      came_.count_down();
      return [this] { gone_.count_down(); };
    });
    routes.AddLater("GET", "/broken",
                    [](const HttpRequest&, const std::shared_ptr<HttpResponder>&) -> std::function<void()> {
                      throw std::runtime_error("no luck");
                    });
    auto server = HttpServer::Start(options_, routes);
    ASSERT_THAT(server, IsOk());
    server_ = *std::move(server);
  }
  void TearDown() override {
    responder_.reset();
    server_.reset();
  }

  // A client whose request has reached the handler.
  HttpConnection Ask(const std::string& request = kGet, int receive_bytes = 0) {
    HttpConnection client(server_->port(), "127.0.0.1", receive_bytes);
    client.Send(request);
    came_.wait();
    return client;
  }

  // More than the system takes of a client that does not read, so that the piece is under way when the end is told.
  static constexpr int64_t kManyLetters = 16 << 20;
  int64_t LettersOfAPieceUnderWayAtTheEnd(const std::string& request) {
    HttpConnection client = Ask(request);
    std::latch taken(1);
    responder_->Begin({});
    responder_->Write("first\n", [&taken] { taken.count_down(); });
    taken.wait();
    responder_->Write(std::string(kManyLetters, '#'), nullptr);
    responder_->End();
    const std::string answer = client.ReceiveAll();
    return std::count(answer.begin(), answer.end(), '#');
  }

  HttpServerOptions options_;
  HttpRequest request_;
  std::shared_ptr<HttpResponder> responder_;
  std::latch came_{1};  // NOTE: of the standard library, whose headers ThreadSanitizer sees into
  std::latch gone_{1};
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpResponderTest, AWholeAnswerComesWhenItIsGiven) {
  HttpConnection client = Ask();
  std::thread([this] { responder_->Send({.status = 201, .body = "done\n"}); }).join();
  const HttpAnswer answer = client.Receive();
  EXPECT_EQ(answer.status, 201);
  EXPECT_EQ(answer.body, "done\n");
  EXPECT_FALSE(gone_.try_wait());
}

TEST_F(HttpResponderTest, PiecesComeInChunks) {
  HttpConnection client = Ask();
  responder_->Begin({.content_type = "application/x-ndjson", .headers = {{"X-Id", "7"}}});
  std::latch taken(1);
  responder_->Write("first\n", [&taken] { taken.count_down(); });
  taken.wait();
  responder_->Write("sixteen letters\n", nullptr);
  responder_->End();
  EXPECT_EQ(client.ReceiveAll(),
            "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nX-Id: 7\r\nConnection: close\r\n"
            "Transfer-Encoding: chunked\r\n\r\n6\r\nfirst\n\r\n10\r\nsixteen letters\n\r\n0\r\n\r\n");
}

TEST_F(HttpResponderTest, Http10GetsPiecesAsTheyAre) {
  HttpConnection client = Ask("GET /later HTTP/1.0\r\n\r\n");
  responder_->Begin({});
  responder_->Write("first\n", nullptr);
  responder_->Write("second\n", nullptr);
  responder_->End();
  const std::string answer = client.ReceiveAll();
  EXPECT_THAT(answer, StartsWith("HTTP/1.0 200 OK\r\n"));
  EXPECT_THAT(answer, EndsWith("\r\n\r\nfirst\nsecond\n"));
}

TEST_F(HttpResponderTest, APieceThatIsUnderWayAtTheEndComesOnce) {
  EXPECT_EQ(LettersOfAPieceUnderWayAtTheEnd(kGet), kManyLetters);
}

TEST_F(HttpResponderTest, APieceThatIsUnderWayAtTheEndComesOnceToHttp10Too) {
  EXPECT_EQ(LettersOfAPieceUnderWayAtTheEnd("GET /later HTTP/1.0\r\n\r\n"), kManyLetters);
}

TEST_F(HttpResponderTest, TheHandlerHearsThatTheClientWentBeforeTheAnswer) {
  { HttpConnection client = Ask(); }
  gone_.wait();
  responder_->Send({.body = "to nobody"});
}

TEST_F(HttpResponderTest, TheHandlerHearsThatTheClientWentAmidThePieces) {
  {
    HttpConnection client = Ask();
    std::latch taken(1);
    responder_->Begin({});
    responder_->Write("first\n", [&taken] { taken.count_down(); });
    taken.wait();
  }
  gone_.wait();
  responder_->Write("to nobody", nullptr);
  responder_->End();
}

TEST_F(HttpResponderTest, AHandlerThatThrowsIsAnsweredFor) {
  const HttpAnswer answer = HttpGet(server_->port(), "/broken");
  EXPECT_EQ(answer.status, 500);
  EXPECT_EQ(answer.body, "the server failed: no luck\n");
}

TEST_F(HttpResponderTest, HeadIsNotForAnswersThatTakeTheirTime) {
  const HttpAnswer answer = HttpGet(server_->port(), "/later", "127.0.0.1", "HEAD");
  EXPECT_EQ(answer.status, 405);
  EXPECT_EQ(answer.header("Allow"), "GET");
}

TEST_F(HttpResponderTest, TheRequestHasHeadersAndTheClientsAddress) {
  HttpConnection client = Ask("GET /later HTTP/1.1\r\nHost: a\r\nX-One: 1\r\nX-Two: a\r\nx-two: b\r\n\r\n");
  EXPECT_EQ(request_.headers.find("x-one")->second, "1");
  EXPECT_EQ(request_.headers.count("x-two"), 2u);
  EXPECT_EQ(request_.headers.find("x-two")->second, "a");
  EXPECT_THAT(request_.peer, StartsWith("127.0.0.1:"));
  responder_->Send({});
}

// Whoever comes by IPv4 to a port of both is named by IPv4, in logs and for its share.
TEST_F(HttpResponderTest, EveryAddressIsIpv4AndIpv6) {
  for (const char* host : {"", "0.0.0.0", "::"}) {
    HttpRoutes routes;
    std::string peer;
    routes.Add("GET", "/peer", [&peer](const HttpRequest& request) {
      peer = request.peer;
      return HttpResponse{.body = "here"};
    });
    const auto server = HttpServer::Start({.host = host}, std::move(routes));
    ASSERT_THAT(server, IsOk());
    EXPECT_EQ(HttpGet((*server)->port(), "/peer").body, "here");
    EXPECT_THAT(peer, StartsWith("127.0.0.1:")) << host;
    if (!HttpConnection((*server)->port(), "::1").connected()) continue;  // a machine without IPv6
    EXPECT_EQ(HttpGet((*server)->port(), "/peer", "::1").body, "here");
    EXPECT_THAT(peer, StartsWith("[::1]:")) << host;
  }
}

TEST_F(HttpResponderTest, WaitingForAnswersEndsWithTheLastOne) {
  HttpConnection client = Ask();
  EXPECT_FALSE(server_->AwaitAnswers(std::chrono::milliseconds(20)));
  responder_->Begin({});
  responder_->Write("first\n", nullptr);
  responder_->End();
  EXPECT_TRUE(server_->AwaitAnswers(std::chrono::hours(1)));
  EXPECT_THAT(client.ReceiveAll(), HasSubstr("first\n"));
}

class ImpatientHttpResponderTest : public HttpResponderTest {
 protected:
  ImpatientHttpResponderTest() {
    options_.piece_timeout = std::chrono::milliseconds(50);
    options_.piece_bytes_per_second = 1e12;
  }
};

// Nothing is kept for a client that takes nothing.
TEST_F(ImpatientHttpResponderTest, AClientThatDoesNotReadIsLeft) {
  HttpConnection client = Ask(kGet, /*receive_bytes=*/4096);
  responder_->Begin({});
  responder_->Write(std::string(64 << 20, 'x'), nullptr);
  gone_.wait();
}

class PatientHttpResponderTest : public HttpResponderTest {
 protected:
  PatientHttpResponderTest() { options_.response_timeout = std::chrono::milliseconds(50); }
};

// What comes in pieces has a time for each, and not that of whole answers.
TEST_F(PatientHttpResponderTest, AClientMayPauseForAsLongAsAPieceMayTake) {
  HttpConnection client = Ask(kGet, /*receive_bytes=*/4096);
  responder_->Begin({});
  responder_->Write(std::string(16 << 20, 'x'), nullptr);
  responder_->End();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_THAT(client.ReceiveAll(), testing::SizeIs(testing::Gt(16u << 20)));
  EXPECT_FALSE(gone_.try_wait());
}

// The time is for taking a piece, not for waiting for one.
TEST_F(ImpatientHttpResponderTest, AClientMayWaitLongForTheNextPiece) {
  HttpConnection client = Ask();
  responder_->Begin({});
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  responder_->Write("late\n", nullptr);
  responder_->End();
  EXPECT_THAT(client.ReceiveAll(), HasSubstr("late\n"));
  EXPECT_FALSE(gone_.try_wait());
}

}  // namespace
}  // namespace denoised
