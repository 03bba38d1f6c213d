#include "server/transport/lingering_close.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <thread>

#include "server/transport/listen_address.h"
#include "tests/testing/raw_connection.h"

namespace denoised {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int kSmallBytes = 4 << 10;
constexpr auto kLongEnough = seconds(30);
// For a reset to come back over the loopback.
constexpr auto kMoment = milliseconds(50);

// One connection whose client's system takes little, so that most of what is sent stays with the server's.
class LingeringCloseTest : public testing::Test {
 protected:
  LingeringCloseTest() : listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const int small = kSmallBytes;
    setsockopt(listener_, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    EXPECT_EQ(listen(listener_, 16), 0);
  }
  ~LingeringCloseTest() override {
    close(listener_);
    EXPECT_TRUE(AwaitLingering(kLongEnough));
  }

  RawConnection Connect() {
    RawConnection client(LocalAddress(listener_).port());
    const int small = kSmallBytes;
    setsockopt(client.descriptor(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    server_ = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    return client;
  }

  // Much more than the client's system takes, and less than the server's keeps; its size.
  size_t Fill() const {
    const std::string bytes(64 << 10, 'x');
    EXPECT_EQ(send(server_, bytes.data(), bytes.size(), MSG_DONTWAIT), static_cast<ssize_t>(bytes.size()));
    return bytes.size();
  }

  // As gRPC does.
  void End() const {
    shutdown(server_, SHUT_RDWR);
    close(server_);
  }

  int listener_;
  int server_ = -1;
};

TEST_F(LingeringCloseTest, ThePeerGetsAllThoughItStillSends) {
  const RawConnection client = Connect();
  LingerOnClose(server_);
  const size_t sent = Fill();
  client.Send("unread");
  End();
  EXPECT_EQ(LingeringConnections(), 1);
  client.Send("a window is open");
  std::this_thread::sleep_for(kMoment);
  EXPECT_TRUE(client.Send("and another"));
  EXPECT_EQ(client.ReceiveAll().size(), sent);
}

// The fault that all this is for, without which the test above says nothing.
TEST_F(LingeringCloseTest, WithoutItThePeerLosesWhatWasSent) {
  const RawConnection client = Connect();
  const size_t sent = Fill();
  End();
  EXPECT_EQ(LingeringConnections(), 0);
  client.Send("a window is open");
  std::this_thread::sleep_for(kMoment);
  EXPECT_LT(client.ReceiveAll().size(), sent);
}

TEST_F(LingeringCloseTest, NobodyIsWaitedForWhoHasClosed) {
  {
    const RawConnection client = Connect();
    LingerOnClose(server_);
  }
  std::this_thread::sleep_for(kMoment);
  End();
  EXPECT_EQ(LingeringConnections(), 0);
}

TEST_F(LingeringCloseTest, WhoIsSilentIsNotWaitedForLong) {
  const RawConnection client = Connect();
  LingerOnClose(server_);
  End();
  EXPECT_FALSE(AwaitLingering(milliseconds(100)));
  EXPECT_TRUE(AwaitLingering(kLongEnough));
  EXPECT_EQ(client.ReceiveAll(), "");
}

TEST_F(LingeringCloseTest, WhoSendsWithoutEndIsReset) {
  const RawConnection client = Connect();
  LingerOnClose(server_);
  End();
  const std::string part(64 << 10, 'x');
  while (client.Send(part)) continue;
  EXPECT_TRUE(AwaitLingering(kLongEnough));
}

// Those above are kept for checkpoints, logs and other ports.
TEST_F(LingeringCloseTest, ADescriptorOfThoseKeptForOthersIsNotTaken) {
  const RawConnection client = Connect();
  LingerOnClose(server_, /*descriptors=*/server_ + 1);
  End();
  EXPECT_EQ(LingeringConnections(), 0);
}

TEST_F(LingeringCloseTest, ShutdownOfOneWayIsTheSystems) {
  const RawConnection client = Connect();
  LingerOnClose(server_);
  shutdown(server_, SHUT_WR);
  EXPECT_EQ(LingeringConnections(), 0);
  EXPECT_EQ(client.Receive(), "");
  End();
}

TEST_F(LingeringCloseTest, AnotherSocketOfTheSameNumberDoesNotLinger) {
  const RawConnection client = Connect();
  LingerOnClose(server_);
  const int first = server_;
  const RawConnection other = Connect();
  dup2(server_, first);
  close(server_);
  server_ = first;
  End();
  EXPECT_EQ(LingeringConnections(), 0);
}

TEST_F(LingeringCloseTest, ThatOfWhomIsCutDoesNotLinger) {
  const RawConnection client = Connect();
  LingerOnClose(server_);
  CloseAtOnce(server_);
  End();
  EXPECT_EQ(LingeringConnections(), 0);
}

// gRPC's would tell whoever has the place of the connection that it forgot.
TEST_F(LingeringCloseTest, NoEpollHearsOfIt) {
  const RawConnection client = Connect();
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{.events = EPOLLIN | EPOLLOUT | EPOLLET, .data = {}};
  ASSERT_EQ(epoll_ctl(epoll, EPOLL_CTL_ADD, server_, &event), 0);
  LingerOnClose(server_);
  End();
  EXPECT_EQ(LingeringConnections(), 1);
  client.Send("a window is open");
  EXPECT_EQ(epoll_wait(epoll, &event, 1, /*timeout=*/200), 0);
  close(epoll);
}

}  // namespace
}  // namespace denoised
