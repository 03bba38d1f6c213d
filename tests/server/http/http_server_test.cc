#include "server/http/http_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "absl/synchronization/notification.h"
#include "tests/testing/http_client.h"
#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using testing::HasSubstr;
using testing::StartsWith;

constexpr char kGet[] = "GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n";

class HttpServerTest : public testing::Test {
 protected:
  void Start() {
    options_.host = "127.0.0.1";
    routes_.Add("GET", "/page", [](const HttpRequest&) { return HttpResponse{.body = "a page\n"}; });
    routes_.Add("POST", "/echo", [](const HttpRequest& request) { return HttpResponse{.body = request.body}; });
    auto server = HttpServer::Start(options_, routes_);
    ASSERT_THAT(server, IsOk());
    server_ = *std::move(server);
  }
  int port() const { return server_->port(); }

  std::string Ask(const std::string& bytes) {
    HttpConnection client(port());
    client.Send(bytes);
    return client.ReceiveAll();
  }

  HttpServerOptions options_;
  HttpRoutes routes_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, AnAnswerHasTypeAndLengthAndEndsTheConnection) {
  Start();
  EXPECT_EQ(Ask(kGet),
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\nContent-Length: 7\r\n"
            "\r\na page\n");
}

TEST_F(HttpServerTest, Http10IsAnsweredInHttp10) {
  Start();
  const std::string answer = Ask("GET /page HTTP/1.0\r\n\r\n");
  EXPECT_THAT(answer, StartsWith("HTTP/1.0 200 OK\r\n"));
  EXPECT_THAT(answer, HasSubstr("\r\n\r\na page\n"));
}

TEST_F(HttpServerTest, HeadGetsTheHeaderOfGet) {
  Start();
  const std::string get = Ask(kGet);
  const std::string head = Ask("HEAD /page HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(head, get.substr(0, get.find("\r\n\r\n") + 4));
}

TEST_F(HttpServerTest, ABodyReachesTheHandler) {
  Start();
  EXPECT_THAT(Ask("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"), HasSubstr("\r\n\r\nhello"));
  EXPECT_THAT(Ask("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
              HasSubstr("\r\n\r\nhi"));
}

TEST_F(HttpServerTest, AnotherMethodIsRefusedWithThoseAllowed) {
  Start();
  HttpConnection client(port());
  client.Send("POST /page HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
  const HttpAnswer answer = client.Receive();
  EXPECT_EQ(answer.status, 405);
  EXPECT_EQ(answer.header("Allow"), "GET, HEAD");
}

TEST_F(HttpServerTest, AHandlerThatThrowsIsAnErrorOfThisRequestOnly) {
  routes_.Add("GET", "/fault", [](const HttpRequest&) -> HttpResponse { throw std::runtime_error("no luck"); });
  Start();
  const HttpAnswer answer = HttpGet(port(), "/fault");
  EXPECT_EQ(answer.status, 500);
  EXPECT_EQ(answer.body, "the server failed: no luck\n");
  EXPECT_EQ(HttpGet(port(), "/page").status, 200);
}

TEST_F(HttpServerTest, AHalfRequestIsToldAfterTheIdleTime) {
  options_.idle_timeout = milliseconds(200);
  options_.request_timeout = hours(1);
  Start();
  HttpConnection client(port());
  client.Send("GET /page HTTP/1.1\r\nHos");
  const HttpAnswer answer = client.Receive();
  EXPECT_EQ(answer.status, 408);
  EXPECT_EQ(answer.body, "the request did not come in time\n");
}

// A byte now and then is never idle.
TEST_F(HttpServerTest, ARequestHasATimeInAll) {
  options_.idle_timeout = hours(1);
  options_.request_timeout = milliseconds(300);
  Start();
  HttpConnection client(port());
  client.Send("GET /page HTTP/1.1\r\nX: ");
  std::string answer;
  while (answer.empty() && client.Send("x")) answer = client.ReceiveAll(milliseconds(5));
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 408 "));
  EXPECT_EQ(HttpGet(port(), "/page").status, 200);
}

TEST_F(HttpServerTest, WhoSaysNothingIsClosedWithoutAWord) {
  options_.idle_timeout = milliseconds(20);
  Start();
  EXPECT_EQ(Ask(""), "");
}

TEST_F(HttpServerTest, WhoDoesNotReadIsClosedAfterTheTimeForAnswers) {
  options_.response_timeout = milliseconds(20);
  routes_.Add("GET", "/long", [](const HttpRequest&) { return HttpResponse{.body = std::string(64 << 20, 'x')}; });
  Start();
  HttpConnection client(port(), "127.0.0.1", 4096);
  client.Send("GET /long HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_TRUE(client.AwaitReset());
  EXPECT_LT(client.ReceiveAll().size(), 64u << 20);
}

TEST_F(HttpServerTest, ThePathsThatTakeAWhileHoldUpNoOther) {
  absl::Notification asked, go_on;
  routes_.Add("GET", "/slow", [&](const HttpRequest&) {
    asked.Notify();
    go_on.WaitForNotification();
    return HttpResponse{.body = "at last"};
  });
  routes_.Add(
      "GET", "/quick", [](const HttpRequest&) { return HttpResponse{}; }, HttpRoutes::Where::kIoThread);
  Start();
  HttpConnection slow(port());
  slow.Send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
  asked.WaitForNotification();
  EXPECT_EQ(HttpGet(port(), "/quick").status, 200);
  go_on.Notify();
  EXPECT_EQ(slow.Receive().body, "at last");
}

TEST_F(HttpServerTest, OneConnectionTooManyClosesTheOneThatWaitedLongest) {
  options_.max_connections = 8;
  options_.idle_timeout = options_.request_timeout = hours(1);
  Start();
  std::vector<HttpConnection> silent;
  for (int i = 0; i < 8; ++i) silent.emplace_back(port());
  EXPECT_EQ(HttpGet(port(), "/page").status, 200);
  EXPECT_TRUE(silent[0].AwaitClose());
  EXPECT_FALSE(silent[1].AwaitClose(milliseconds(20)));
}

// Whoever came first and is being written to has waited for less long than those who say nothing.
TEST_F(HttpServerTest, WhoGetsAnAnswerIsClosedAfterThoseWhoWaitLonger) {
  constexpr size_t kBytes = 8 << 20;
  absl::Notification asked, go_on;
  routes_.Add("GET", "/large", [&](const HttpRequest&) {
    asked.Notify();
    go_on.WaitForNotification();
    return HttpResponse{.body = std::string(kBytes, 'x')};
  });
  options_.max_connections = 4;
  options_.idle_timeout = options_.request_timeout = hours(1);
  Start();
  HttpConnection reads(port(), "127.0.0.1", /*receive_bytes=*/4096);
  reads.Send("GET /large HTTP/1.1\r\nHost: x\r\n\r\n");
  asked.WaitForNotification();
  std::vector<HttpConnection> silent;
  for (int i = 0; i < 3; ++i) silent.emplace_back(port());
  go_on.Notify();
  EXPECT_EQ(reads.ReceiveHead(), 200);
  EXPECT_EQ(HttpGet(port(), "/page").status, 200);
  EXPECT_TRUE(silent[0].AwaitClose());
  EXPECT_GT(reads.ReceiveAll().size(), kBytes);
}

TEST_F(HttpServerTest, WhoIsBeingAnsweredIsNotClosedForOthers) {
  absl::Notification asked, go_on;
  routes_.Add("GET", "/slow", [&](const HttpRequest&) {
    asked.Notify();
    go_on.WaitForNotification();
    return HttpResponse{.body = "at last"};
  });
  options_.max_connections = 4;
  options_.idle_timeout = options_.request_timeout = hours(1);
  Start();
  HttpConnection slow(port());
  slow.Send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
  asked.WaitForNotification();
  std::vector<HttpConnection> silent;
  for (int i = 0; i < 8; ++i) silent.emplace_back(port());
  EXPECT_TRUE(silent[4].AwaitClose());
  go_on.Notify();
  EXPECT_EQ(slow.Receive().body, "at last");
}

// Slow answers leave room for quick ones, such as a probe's, and whoever is too many is told.
TEST_F(HttpServerTest, RequestsThatAreTooManyAreToldAndQuickOnesAnswered) {
  absl::Notification go_on;
  routes_.Add("GET", "/slow", [&](const HttpRequest&) {
    go_on.WaitForNotification();
    return HttpResponse{.body = "at last"};
  });
  routes_.Add(
      "GET", "/quick", [](const HttpRequest&) { return HttpResponse{}; }, HttpRoutes::Where::kIoThread);
  options_.max_connections = 16;
  Start();
  std::vector<HttpConnection> slow;
  for (int i = 0; i < 40; ++i) {
    slow.emplace_back(port());
    slow.back().Send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
  }
  for (int i = 0; i < 40; ++i) EXPECT_EQ(HttpGet(port(), "/quick").status, 200);
  go_on.Notify();
  int answered = 0;
  for (HttpConnection& client : slow) {
    const HttpAnswer answer = client.Receive();
    if (answer.status == 200) ++answered;
    if (answer.status == 200) continue;
    EXPECT_EQ(answer.status, 503) << "nobody is left without a word";
    EXPECT_EQ(answer.header("Retry-After"), "1");
    EXPECT_EQ(answer.body, "as many requests are being answered as this port has room for; try again\n");
  }
  EXPECT_GE(answered, 14);
}

// Whoever comes in a crowd is not closed before what it asks for can have come.
TEST_F(HttpServerTest, NobodyOfACrowdIsClosedUnheard) {
  routes_.Add(
      "GET", "/quick", [](const HttpRequest&) { return HttpResponse{}; }, HttpRoutes::Where::kIoThread);
  options_.max_connections = 8;
  Start();
  std::vector<HttpConnection> crowd;
  for (int i = 0; i < 60; ++i) crowd.emplace_back(port());
  for (HttpConnection& client : crowd) client.Send("GET /quick HTTP/1.1\r\nHost: x\r\n\r\n");
  for (HttpConnection& client : crowd) EXPECT_EQ(client.Receive().status, 200);
}

// RFC 9110, 10.1.1: such a client holds the body back until it hears that it is wanted, or a second has passed.
TEST_F(HttpServerTest, WhoAsksBeforeItsBodyIsToldToSendIt) {
  Start();
  HttpConnection client(port());
  client.Send("POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
  EXPECT_EQ(client.ReceiveAll(milliseconds(500)), "HTTP/1.1 100 Continue\r\n\r\n");
  client.Send("body");
  const HttpAnswer answer = client.Receive();
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, "body");
}

TEST_F(HttpServerTest, ABodyThatIsNotWantedIsNotAskedFor) {
  Start();
  EXPECT_THAT(Ask("POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n"),
              StartsWith("HTTP/1.1 413 "));
  EXPECT_THAT(Ask("POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab"),
              StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(Ask("POST /echo HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab"),
              StartsWith("HTTP/1.0 200 "));
}

TEST_F(HttpServerTest, TheEndWaitsForNoClient) {
  Start();
  HttpConnection silent(port());
  ASSERT_TRUE(silent.connected());
  EXPECT_EQ(HttpGet(port(), "/page").status, 200);
  server_.reset();
  EXPECT_TRUE(silent.AwaitClose());
}

TEST_F(HttpServerTest, APortIsTakenOnce) {
  Start();
  EXPECT_THAT(HttpServer::Start({.host = "127.0.0.1", .port = port()}, {}),
              StatusIs(absl::StatusCode::kUnavailable,
                       absl::StrCat("cannot listen on 127.0.0.1:", port(),
                                    ": the port is taken, or the address is not this machine's")));
}

// A client may try any of a name's addresses.
TEST_F(HttpServerTest, EveryAddressOfANameIsListenedOn) {
  options_.host = "localhost";
  auto server = HttpServer::Start(options_, routes_);
  ASSERT_THAT(server, IsOk());
  addrinfo wanted{}, *found = nullptr;
  wanted.ai_socktype = SOCK_STREAM;
  ASSERT_EQ(getaddrinfo("localhost", nullptr, &wanted, &found), 0);
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    const int socket = ::socket(each->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const bool is_here = bind(socket, each->ai_addr, each->ai_addrlen) == 0;  // a system may have a name for no IPv6
    close(socket);
    if (!is_here) continue;
    const std::string address = each->ai_family == AF_INET6 ? "::1" : "127.0.0.1";
    EXPECT_TRUE(HttpConnection((*server)->port(), address).connected()) << address;
  }
  freeaddrinfo(found);
}

TEST_F(HttpServerTest, AnUnknownHostIsSaid) {
  EXPECT_THAT(HttpServer::Start({.host = "no.such.host.invalid", .port = 0}, {}),
              StatusIs(absl::StatusCode::kUnavailable, StartsWith("cannot listen on no.such.host.invalid:0: ")));
}

}  // namespace
}  // namespace denoised
