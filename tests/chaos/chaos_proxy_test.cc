#include "tests/chaos/chaos_proxy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <set>
#include <string>
#include <thread>

#include "tests/testing/http_client.h"
#include "tests/testing/raw_connection.h"

namespace denoised {
namespace {

using std::chrono::milliseconds;
using testing::StartsWith;

// A server that sends back what it gets, and closes when its client does.
class Echo {
 public:
  Echo() : listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(listener_, reinterpret_cast<const sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(listener_, 1), 0);
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Serve(); });
  }
  ~Echo() {
    shutdown(listener_, SHUT_RDWR);
    thread_.join();
    close(listener_);
  }

  int port() const { return port_; }

 private:
  void Serve() const {
    for (int client = accept(listener_, nullptr, nullptr); client >= 0; client = accept(listener_, nullptr, nullptr)) {
      char bytes[4096];
      for (ssize_t size = 0; (size = recv(client, bytes, sizeof bytes, 0)) > 0;) {
        send(client, bytes, static_cast<size_t>(size), MSG_NOSIGNAL);
      }
      close(client);
    }
  }

  int listener_;
  int port_ = 0;
  std::thread thread_;
};

std::string Bytes(size_t size) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 7 + i / 256);
  return bytes;
}

// What the server has echoed through the proxy until the connection ends.
std::string EchoOf(const ChaosProxy& proxy, const std::string& bytes) {
  RawConnection client(proxy.port());
  client.Send(bytes);
  shutdown(client.descriptor(), SHUT_WR);
  return client.ReceiveAll();
}

TEST(ChaosProxyTest, DelaysAndThrottlesChangeNoByte) {
  const Echo echo;
  ConnectionFaults faults;
  faults.ways[kToServer] = {.delay = milliseconds(2)};
  faults.ways[kToClient] = {.delay = milliseconds(1), .bytes_per_second = 1e6};
  const ChaosProxy proxy(echo.port(), faults);
  const std::string bytes = Bytes(50'000);
  EXPECT_EQ(EchoOf(proxy, bytes), bytes);
}

TEST(ChaosProxyTest, ThrottledBytesTakeAtLeastTheirTime) {
  const Echo echo;
  ConnectionFaults faults;
  faults.ways[kToClient].bytes_per_second = 1e5;
  const ChaosProxy proxy(echo.port(), faults);
  const auto start = std::chrono::steady_clock::now();
  EchoOf(proxy, Bytes(20'000));
  EXPECT_GE(std::chrono::steady_clock::now() - start, milliseconds(199));
}

TEST(ChaosProxyTest, CutConnectionBringsWhatCameBefore) {
  const Echo echo;
  const ChaosProxy proxy(echo.port(), {.ending = Ending::kCut, .ending_way = kToClient, .ending_after = 5000});
  EXPECT_EQ(EchoOf(proxy, Bytes(20'000)), Bytes(5000));
  EXPECT_EQ(proxy.stats().cuts, 1);
}

TEST(ChaosProxyTest, ConnectionThatIsCutAtOnceBringsNothing) {
  const Echo echo;
  const ChaosProxy proxy(echo.port(), {.ending = Ending::kCut, .ending_way = kToServer, .ending_after = 0});
  EXPECT_EQ(EchoOf(proxy, Bytes(10)), "");
}

TEST(ChaosProxyTest, ResetConnectionIsReset) {
  const Echo echo;
  const ChaosProxy proxy(echo.port(), {.ending = Ending::kReset, .ending_way = kToServer, .ending_after = 100});
  HttpConnection client(proxy.port());
  client.Send(Bytes(100));
  EXPECT_TRUE(client.AwaitReset());
  EXPECT_EQ(proxy.stats().resets, 1);
}

TEST(ChaosProxyTest, HalfClosedConnectionStillBringsWhatGoesTheOtherWay) {
  const Echo echo;
  const ChaosProxy proxy(echo.port(), {.ending = Ending::kHalfClose, .ending_way = kToServer, .ending_after = 100});
  RawConnection client(proxy.port());
  client.Send(Bytes(5000));
  EXPECT_EQ(client.ReceiveAll(), Bytes(100)) << "the server got these, then an end, and answered";
  EXPECT_EQ(proxy.stats().half_closes, 1);
}

TEST(ChaosProxyTest, ClientOfADeadServerIsReset) {
  int port = 0;
  { port = Echo().port(); }
  const ChaosProxy proxy(port, ConnectionFaults{});
  EXPECT_TRUE(HttpConnection(proxy.port()).AwaitReset());
}

TEST(ChaosProxyTest, SameSeedMakesTheSameFaults) {
  std::set<uint64_t> ends;
  for (uint64_t connection = 0; connection < 50; ++connection) {
    const ConnectionFaults once = PlanFaults(7, connection), again = PlanFaults(7, connection);
    EXPECT_EQ(once.ending, again.ending);
    EXPECT_EQ(once.ending_way, again.ending_way);
    EXPECT_EQ(once.ending_after, again.ending_after);
    for (int way = 0; way < kWays; ++way) {
      EXPECT_EQ(once.ways[way].delay, again.ways[way].delay);
      EXPECT_EQ(once.ways[way].bytes_per_second, again.ways[way].bytes_per_second);
    }
    ends.insert(once.ending_after);
  }
  EXPECT_GT(ends.size(), 25U) << "connections must differ";
  EXPECT_NE(PlanFaults(7, 0).ending_after, PlanFaults(8, 0).ending_after);
}

TEST(ChaosProxyTest, EveryFaultComesUpAmongAHundredConnections) {
  std::set<Ending> endings;
  bool delayed = false, throttled = false;
  for (uint64_t connection = 0; connection < 100; ++connection) {
    const ConnectionFaults faults = PlanFaults(1, connection);
    endings.insert(faults.ending);
    delayed = delayed || faults.ways[kToServer].delay.count() > 0;
    throttled = throttled || faults.ways[kToClient].bytes_per_second > 0;
  }
  EXPECT_EQ(endings, (std::set<Ending>{Ending::kCut, Ending::kReset, Ending::kHalfClose}));
  EXPECT_TRUE(delayed && throttled);
}

TEST(ChaosProxyTest, StatsReadAsASentence) {
  EXPECT_THAT(ProxyStats{.connections = 3}.ToString(), StartsWith("3 connections: 0 delayed"));
}

}  // namespace
}  // namespace denoised
