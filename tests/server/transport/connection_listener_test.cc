#include "server/transport/connection_listener.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "common/support/file.h"
#include "server/transport/descriptor_limit.h"
#include "tests/testing/captured_log.h"
#include "tests/testing/raw_connection.h"
#include "tests/testing/sanitizers.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

using testing::ContainsRegex;

// Takes connections as gRPC would, and says hello on each.
class Listening {
 public:
  explicit Listening(const ListenerOptions& options, const std::string& address = "127.0.0.1:0") {
    absl::StatusOr<std::unique_ptr<ConnectionListener>> listener =
        ConnectionListener::Bind(*ListenAddress::Parse("--listen", address), options);
    EXPECT_THAT(listener, IsOk());
    listener_ = *std::move(listener);
    listener_->Start([this](const AcceptedConnection& connection) {
      {
        const absl::MutexLock lock(&mu_);
        taken_.push_back(connection);
      }
      // A listener that looks whether this one lives has gone already.
      send(connection.socket, "hello", 5, MSG_NOSIGNAL);
    });
  }
  ~Listening() {
    listener_->Stop();
    CloseAll();
  }

  ConnectionListener& listener() { return *listener_; }
  RawConnection Connect() const { return RawConnection(listener_->port()); }
  std::vector<AcceptedConnection> taken() const {
    const absl::MutexLock lock(&mu_);
    return taken_;
  }
  void CloseAll() {
    const absl::MutexLock lock(&mu_);
    for (const AcceptedConnection& connection : taken_) close(connection.socket);
    taken_.clear();
  }

 private:
  mutable absl::Mutex mu_;
  std::vector<AcceptedConnection> taken_ ABSL_GUARDED_BY(mu_);
  std::unique_ptr<ConnectionListener> listener_;
};

TEST(ConnectionListenerTest, HandsConnectionsOver) {
  Listening listening({});
  const RawConnection connection = listening.Connect();
  EXPECT_EQ(connection.Receive(), "hello");
  EXPECT_EQ(listening.listener().connections(), 1);
  EXPECT_FALSE(listening.taken()[0].from_probe);
}

TEST(ConnectionListenerTest, BeyondTheLimitTheyAreClosedAtOnceUntilOthersClose) {
  int refused = 0;
  const CapturedLog log;
  Listening listening({.max_connections = 2, .on_refused = [&refused] { ++refused; }});
  const RawConnection first = listening.Connect(), second = listening.Connect();
  EXPECT_EQ(first.Receive() + second.Receive(), "hellohello");
  const RawConnection third = listening.Connect();
  EXPECT_EQ(third.ReceiveAll(), "");
  EXPECT_EQ(listening.listener().refused(), 1);
  listening.CloseAll();
  EXPECT_EQ(listening.listener().connections(), 0);
  const RawConnection fourth = listening.Connect();
  EXPECT_EQ(fourth.Receive(), "hello");
  listening.listener().Stop();
  EXPECT_EQ(refused, 1);
  EXPECT_THAT(log.text(), ContainsRegex("a connection of 127\\.0\\.0\\.1:[0-9]+ is refused, 1 so far: as many as "
                                        "--max_connections allows are open"));
}

TEST(ConnectionListenerTest, ProbeIsKnownAndAlwaysHasRoom) {
  Listening listening({.max_connections = 1});
  RawConnection first = listening.Connect();
  EXPECT_EQ(first.Receive(), "hello");
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  SocketAddress own = listening.listener().loopback();
  own.set_port(0);
  ASSERT_EQ(bind(socket, own.get(), own.size), 0);
  listening.listener().ExpectProbe(LocalAddress(socket));
  const SocketAddress& target = listening.listener().loopback();
  ASSERT_EQ(connect(socket, target.get(), target.size), 0);
  char hello[5];
  EXPECT_EQ(read(socket, hello, sizeof hello), 5);
  EXPECT_TRUE(listening.taken()[1].from_probe);
  EXPECT_EQ(listening.listener().connections(), 1) << "it is not counted";
  const SocketAddress probes = LocalAddress(socket);
  const linger at_once{.l_onoff = 1, .l_linger = 0};  // so that its address is free
  setsockopt(socket, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  close(socket);
  const int stranger = ::socket(AF_INET, SOCK_STREAM, 0);
  ASSERT_EQ(bind(stranger, probes.get(), probes.size), 0);
  ASSERT_EQ(connect(stranger, target.get(), target.size), 0);
  EXPECT_EQ(read(stranger, hello, sizeof hello), 0) << "the next one from there is no probe, and there is no room";
  close(stranger);
}

// Field report "deaf for ever after the descriptors ran out": idle connections take all that there are, and when they
// are gone new ones are taken as before.
TEST(ConnectionListenerTest, HearsAgainAfterDescriptorsRanOut) {
  DENOISED_SKIP_WITHOUT_SPARE_DESCRIPTORS();
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  Listening listening({.max_connections = 1000, .descriptor_limit = 1 << 20, .reserved_descriptors = 0});
  std::vector<RawConnection> clients;
  for (int i = 0; i < 10; ++i) clients.push_back(listening.Connect());
  for (const RawConnection& client : clients) EXPECT_EQ(client.Receive(), "hello");
  const int in_use = open("/dev/null", O_RDONLY);
  close(in_use);
  const rlimit none_left{.rlim_cur = static_cast<rlim_t>(in_use) + 1, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none_left), 0);
  const RawConnection refused = listening.Connect();  // takes the last descriptor
  EXPECT_EQ(refused.ReceiveAll(), "");
  EXPECT_EQ(listening.listener().refused(), 1);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  const RawConnection taken = listening.Connect();
  EXPECT_EQ(taken.Receive(), "hello");
}

TEST(ConnectionListenerTest, SomeDescriptorsAreLeftForOthers) {
  const int next = open("/dev/null", O_RDONLY);
  close(next);
  Listening listening({.descriptor_limit = next + 30, .reserved_descriptors = 20});
  std::vector<RawConnection> clients;
  while (listening.listener().refused() == 0 && clients.size() < 40) {
    clients.push_back(listening.Connect());
    clients.back().Receive();
  }
  EXPECT_LT(clients.size(), 11u);
  for (const AcceptedConnection& connection : listening.taken()) EXPECT_LT(connection.socket, next + 10);
}

TEST(ConnectionListenerTest, AfterStopThePortIsFree) {
  Listening first({});
  const std::string address = "127.0.0.1:" + std::to_string(first.listener().port());
  const absl::StatusOr<std::unique_ptr<ConnectionListener>> taken =
      ConnectionListener::Bind(*ListenAddress::Parse("--listen", address), {});
  EXPECT_THAT(taken, StatusIs(absl::StatusCode::kUnavailable, "Address already in use"));
  first.listener().Stop();
  const Listening second({}, address);
  EXPECT_EQ(second.Connect().Receive(), "hello");
}

TEST(ConnectionListenerTest, WildcardTakesIpv4) {
  const Listening listening({}, "0.0.0.0:0");
  EXPECT_EQ(listening.Connect().Receive(), "hello");
}

TEST(ConnectionListenerTest, SocketFileOfADeadProcessIsReplacedNotThatOfALivingOne) {
  const TempFolder folder;
  const std::string address = "unix:" + folder.File("socket");
  {
    // A socket that nobody listens on, as a killed process leaves it.
    const SocketAddress dead = ListenAddress::Parse("--listen", address)->Resolve()->at(0);
    const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
    ASSERT_EQ(bind(socket, dead.get(), dead.size), 0);
    close(socket);
    ASSERT_TRUE(std::filesystem::exists(folder.File("socket")));
  }
  {
    const Listening living({}, address);
    EXPECT_THAT(ConnectionListener::Bind(*ListenAddress::Parse("--listen", address), {}),
                StatusIs(absl::StatusCode::kUnavailable, "Address already in use"));
    EXPECT_TRUE(std::filesystem::exists(folder.File("socket")));
  }
  EXPECT_FALSE(std::filesystem::exists(folder.File("socket")));
}

TEST(DescriptorLimitTest, SoftLimitIsRaisedToTheHardOne) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit low{.rlim_cur = 100, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  EXPECT_EQ(DescriptorLimit(), 100);
  EXPECT_EQ(static_cast<rlim_t>(RaiseDescriptorLimit()), std::min<rlim_t>(before.rlim_max, 0x7fffffff));
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
}

TEST(ConnectionListenerTest, TellsWhatWentOverEachConnection) {
  Listening listening({});
  const RawConnection first = listening.Connect(), second = listening.Connect();
  EXPECT_EQ(first.Receive() + second.Receive(), "hellohello");
  ASSERT_TRUE(first.Send(std::string(100, 'a')));
  const auto traffic_of = [&listening](const RawConnection& connection) {
    for (const ConnectionTraffic& each : listening.listener().Traffic()) {
      if (SameEnd(each.peer, LocalAddress(connection.descriptor()))) return each;
    }
    return ConnectionTraffic{};
  };
  while (traffic_of(first).received < 100) std::this_thread::yield();  // its end is that of the test's own timeout
  EXPECT_EQ(traffic_of(first).received, 100);
  EXPECT_EQ(traffic_of(second).received, 0);
  EXPECT_GE(traffic_of(second).taken, 5);
  EXPECT_NE(traffic_of(first).id, traffic_of(second).id);
}

TEST(ConnectionListenerTest, WhatGoesOverUnixSocketsIsNotCounted) {
  const TempFolder folder;
  const std::string path = folder.File("socket");
  Listening listening({}, "unix:" + path);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  const int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(connect(client, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  char greeting[5];
  ASSERT_EQ(recv(client, greeting, sizeof greeting, MSG_WAITALL), 5);
  EXPECT_THAT(listening.listener().Traffic(), testing::IsEmpty());
  close(client);
}

// Found by chance: a path that was mistyped cost its file, as connecting to any file but a socket is refused too.
TEST(ConnectionListenerTest, OnlyASocketThatNobodyListensAtIsReplaced) {
  const TempFolder folder;
  const auto listen = [](const std::string& path) {
    return ConnectionListener::Bind(*ListenAddress::Parse("--listen", "unix:" + path), {}).status();
  };
  const std::string file = folder.Write("model.pt", "weights");
  EXPECT_THAT(listen(file), StatusIs(absl::StatusCode::kUnavailable, "Address already in use"));
  EXPECT_EQ(*ReadFile(file, 100), "weights");
  const std::string link = folder.File("link");
  std::filesystem::create_symlink(file, link);
  EXPECT_THAT(listen(link), StatusIs(absl::StatusCode::kUnavailable, "Address already in use"));
  EXPECT_TRUE(std::filesystem::is_symlink(link));

  const std::string left = folder.File("socket");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  left.copy(address.sun_path, sizeof address.sun_path - 1);
  const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  close(socket);
  EXPECT_THAT(listen(left), IsOk());
}

}  // namespace
}  // namespace denoised
