#include "server/transport/listen_address.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

using testing::HasSubstr;

TEST(ListenAddressTest, HostsPortsAndPathsAreTakenApart) {
  struct Case {
    std::string text, host;
    int port;
    std::string unix_path;
  };
  const std::vector<Case> cases = {
      {"0.0.0.0:50051", "0.0.0.0", 50051, ""},
      {"[::1]:0", "::1", 0, ""},
      {"localhost:1", "localhost", 1, ""},
      {"unix:/run/denoised.sock", "", 0, "/run/denoised.sock"},
      {"unix:a", "", 0, "a"},
      {"unix:5", "", 0, "5"},
      {"unix-abstract:x", "", 0, std::string("\0x", 2)},
      {"unix:/run/a:1", "", 0, "/run/a:1"},
      {"unix-abstract:name", "", 0, std::string("\0name", 5)},
  };
  for (const Case& each : cases) {
    const absl::StatusOr<ListenAddress> address = ListenAddress::Parse("--listen", each.text);
    ASSERT_THAT(address, IsOk()) << each.text;
    EXPECT_EQ(address->host, each.host);
    EXPECT_EQ(address->port, each.port);
    EXPECT_EQ(address->unix_path, each.unix_path);
  }
}

TEST(ListenAddressTest, MalformedOnesNameTheFlag) {
  for (const char* text : {"", "localhost", "localhost:", "localhost:x", "localhost:65536", "localhost:-1",
                           "unix:", "http://localhost:50051", "/run/a:1"}) {
    EXPECT_THAT(
        ListenAddress::Parse("--listen", text),
        StatusIs(absl::StatusCode::kInvalidArgument,
                 std::string("--listen must be an address and a port, such as 0.0.0.0:50051, got \"") + text + "\""))
        << text;
  }
}

TEST(ListenAddressTest, ErrorsShowTheFlagsOwnPort) {
  const auto error = [](const char* flag) { return std::string(ListenAddress::Parse(flag, "x").status().message()); };
  EXPECT_EQ(error("--metrics_listen"),
            "--metrics_listen must be an address and a port, such as 0.0.0.0:9464, got \"x\"");
  EXPECT_EQ(error("--http_listen"), "--http_listen must be an address and a port, such as 127.0.0.1:8080, got \"x\"");
}

TEST(ListenAddressTest, OneKeepsTheOtherFromListening) {
  struct Case {
    std::string a, b;
    bool excludes;
  };
  const std::vector<Case> cases = {
      {"127.0.0.1:7", "127.0.0.1:7", true},
      {"0.0.0.0:7", "127.0.0.1:7", true},
      {"[::1]:7", ":7", true},
      {"127.0.0.1:7", "127.0.0.2:7", false},
      {"0.0.0.0:7", "0.0.0.0:8", false},
      {":0", ":0", false},
      {"unix:a", "unix:a", true},
      {"unix:a", "unix:b", false},
      {"unix:a", ":7", false},
  };
  for (const auto& [a, b, excludes] : cases) {
    const auto first = ListenAddress::Parse("--listen", a), second = ListenAddress::Parse("--http_listen", b);
    EXPECT_EQ(first->Excludes(*second), excludes) << a << " " << b;
    EXPECT_EQ(second->Excludes(*first), excludes) << a << " " << b;
  }
}

TEST(ListenAddressTest, PathThatIsTooLongIsSaid) {
  const absl::StatusOr<ListenAddress> address = ListenAddress::Parse("--listen", "unix:" + std::string(200, 'a'));
  ASSERT_THAT(address, IsOk());
  EXPECT_THAT(address->Resolve(),
              StatusIs(absl::StatusCode::kUnavailable,
                       HasSubstr("the path of a Unix socket may have 107 bytes at most, got 200: aaa")));
}

TEST(ListenAddressTest, BothWildcardsAreAllAddresses) {
  for (const char* text : {"0.0.0.0:7", "[::]:7", ":7"}) {
    const absl::StatusOr<ListenAddress> address = ListenAddress::Parse("--listen", text);
    ASSERT_THAT(address, IsOk());
    EXPECT_TRUE(address->wildcard()) << text;
    const absl::StatusOr<std::vector<SocketAddress>> sockets = address->Resolve();
    ASSERT_THAT(sockets, IsOk());
    EXPECT_EQ(sockets->at(0).family(), AF_INET6);
    EXPECT_EQ(sockets->at(1).family(), AF_INET);
    for (const SocketAddress& each : *sockets) {
      EXPECT_EQ(each.port(), 7);
      EXPECT_EQ(Loopback(each).family(), AF_INET);
      EXPECT_EQ(Loopback(each).port(), 7);
    }
  }
}

TEST(SocketAddressTest, IsTheSameEndOnlyWithAddressAndPort) {
  const auto resolved = [](const std::string& text) {
    return ListenAddress::Parse("--listen", text)->Resolve()->front();
  };
  EXPECT_TRUE(SameEnd(resolved("127.0.0.1:80"), resolved("127.0.0.1:80")));
  EXPECT_FALSE(SameEnd(resolved("127.0.0.1:80"), resolved("127.0.0.1:81")));
  EXPECT_FALSE(SameEnd(resolved("127.0.0.1:80"), resolved("127.0.0.2:80")));
  EXPECT_FALSE(SameEnd(resolved("127.0.0.1:80"), resolved("unix:/tmp/a")));
  EXPECT_EQ(AddressText(resolved("127.0.0.1:80")), "127.0.0.1:80");
  EXPECT_EQ(AddressText(resolved("[::1]:80")), "[::1]:80");
  EXPECT_EQ(AddressText(resolved("unix:/tmp/a")), "unix");
}

}  // namespace
}  // namespace denoised
