// Servers that say nothing, which no error of a socket tells.
#include "client/calls/digit_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::MatchesRegex;

// Takes connections, sends each the same bytes, and is then silent for ever.
class SilentServer {
 public:
  explicit SilentServer(std::string_view first) : socket_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(socket_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(socket_, 16), 0);
    EXPECT_EQ(getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this, first = std::string(first)] {
      for (int client = accept(socket_, nullptr, nullptr); client >= 0; client = accept(socket_, nullptr, nullptr)) {
        clients_.push_back(client);
        send(client, first.data(), first.size(), MSG_NOSIGNAL);
      }
    });
  }
  ~SilentServer() {
    shutdown(socket_, SHUT_RDWR);
    thread_.join();
    for (const int client : clients_) close(client);
    close(socket_);
  }
  SilentServer(const SilentServer&) = delete;
  SilentServer& operator=(const SilentServer&) = delete;

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }

 private:
  const int socket_;
  int port_ = 0;
  std::vector<int> clients_;  // of the thread
  std::thread thread_;
};

// A connection of HTTP/2 begins with the server's settings: none.
constexpr std::string_view kSettings("\0\0\0\4\0\0\0\0\0", 9);

// Reported: whoever's server lost its power waited for ever, as TCP has nothing to send again.
TEST(DigitClientTest, AServerThatVanishesDuringACallIsMissed) {
  const SilentServer server(kSettings);
  Connection connection;
  connection.server = server.address();
  connection.keepalive_time = connection.keepalive_timeout = milliseconds(100);
  const auto client = DigitClient::Connect(connection);
  ASSERT_THAT(client, IsOk());
  ASSERT_THAT((*client)->AwaitServer({}), IsOk());
  const absl::Status status =
      (*client)->GenerateDigit({}, {}, [](const v1::GenerateDigitResponse&) { return absl::OkStatus(); });
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable,
                               absl::StrCat("the server at ", server.address(),
                                            " went away in the middle of the call; try again (keepalive watchdog "
                                            "timeout)")));
}

// Reported: a port that takes connections and says nothing was waited for, in silence, for minutes.
TEST(DigitClientTest, SomebodyWhoListensAndSaysNothingIsGivenUp) {
  const SilentServer server("");
  Connection connection;
  connection.server = server.address();
  connection.connect_timeout = milliseconds(100);
  const auto client = DigitClient::Connect(connection);
  ASSERT_THAT(client, IsOk());
  std::vector<std::string> told;
  const WaitOptions wait = {.silent_seconds = 0.1,
                            .on_wait = [&told](const std::string& what) { told.push_back(what); }};
  EXPECT_THAT((*client)->AwaitServer(wait),
              StatusIs(absl::StatusCode::kUnavailable, MatchesRegex("somebody listens at 127.0.0.1:.*, but does not "
                                                                    "answer as a server of gRPC would")));
  EXPECT_THAT(told, ElementsAre(absl::StrCat("somebody listens at ", server.address(),
                                             ", but says nothing yet; waiting up to 0.1 s")));
}

}  // namespace
}  // namespace denoised
