#include "server/transport/flood_limit.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <utility>

#include "tests/testing/captured_log.h"

namespace denoised {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr int64_t kLimit = 1000;

SocketAddress Peer(int port) {
  SocketAddress address{.size = sizeof(sockaddr_in)};
  auto& ipv4 = reinterpret_cast<sockaddr_in&>(address.storage);
  ipv4.sin_family = AF_INET;
  ipv4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.set_port(port);
  return address;
}

class FloodLimitTest : public testing::Test {
 protected:
  // What the system counts of a connection, and gRPC of its calls.
  void See(int port, int64_t received, int64_t taken, int64_t calls = 0) {
    traffic_ = {{.id = static_cast<uint64_t>(port), .peer = Peer(port), .received = received, .taken = taken}};
    calls_ = {{.peer = Peer(port), .open = 0, .started = calls}};
    limit_.Check();
  }

  std::vector<ConnectionTraffic> traffic_;
  std::vector<ConnectionCalls> calls_;
  int asked_ = 0;
  std::vector<int> cut_;  // ports
  FloodLimit limit_{kLimit, [this] { return traffic_; },
                    [this] {
                      ++asked_;
                      return calls_;
                    },
                    [this](const SocketAddress& peer) {
                      cut_.push_back(peer.port());
                      return true;
                    }};
};

TEST_F(FloodLimitTest, WhoSendsNoMoreThanItTakesGoesOn) {
  for (int64_t i = 1; i <= 100; ++i) See(1, 900 * i, 900 * i);
  EXPECT_THAT(cut_, IsEmpty());
  EXPECT_EQ(asked_, 0) << "gRPC's counts cost more than the system's";
}

TEST_F(FloodLimitTest, WhoSendsOtherThingsThanCallsIsCut) {
  const CapturedLog log;
  See(1, 1000, 0);
  EXPECT_THAT(cut_, IsEmpty());
  See(1, 1001, 0);
  EXPECT_THAT(cut_, ElementsAre(1));
  EXPECT_THAT(log.text(),
              HasSubstr("the connection of 127.0.0.1:1 is cut after 1001 bytes: it sends other things than calls"));
}

TEST_F(FloodLimitTest, EachNewCallMayBringItsBytes) {
  See(1, kLimit + FloodLimit::kCallBytes, 0, /*calls=*/1);
  EXPECT_THAT(cut_, IsEmpty());
  See(1, kLimit + FloodLimit::kCallBytes + 1, 0, /*calls=*/1);
  EXPECT_THAT(cut_, ElementsAre(1)) << "none is new";
}

TEST_F(FloodLimitTest, CallsOfBeforeGiveNoCredit) {
  See(1, 2000, 0, /*calls=*/1000);
  See(1, 3001, 0, 1000);
  EXPECT_THAT(cut_, ElementsAre(1));
}

TEST_F(FloodLimitTest, ConnectionsAreCountedApart) {
  See(1, 600, 0);
  See(2, 600, 0);
  See(1, 600, 0);
  EXPECT_THAT(cut_, IsEmpty());
}

TEST_F(FloodLimitTest, OneThatGrpcDoesNotKnowYetMakesNoCalls) {
  traffic_ = {{.id = 1, .peer = Peer(1), .received = 1001}};
  limit_.Check();
  EXPECT_THAT(cut_, ElementsAre(1));
}

}  // namespace
}  // namespace denoised
