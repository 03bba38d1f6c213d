#include "server/transport/flood_limit.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "tests/testing/captured_log.h"

namespace denoised {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr int64_t kLimit = 1000;
constexpr int64_t kLimitOfAll = 2500;
constexpr int64_t kUnheard = 400'000;

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

  // Several connections, by port, and what each has sent; none takes anything.
  void SeeAll(const std::vector<std::pair<int, int64_t>>& received) {
    traffic_.clear();
    for (const auto& [port, bytes] : received) {
      traffic_.push_back({.id = static_cast<uint64_t>(port), .peer = Peer(port), .received = bytes});
    }
    limit_.Check();
  }

  std::vector<ConnectionTraffic> traffic_;
  std::vector<ConnectionCalls> calls_;
  int asked_ = 0;
  std::vector<int> cut_;  // ports
  FloodLimit limit_{{.each = kLimit, .all = kLimitOfAll, .unheard = kUnheard, .unheard_of_all = 2 * kUnheard},
                    [this] { return traffic_; },
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

// A tenth of a second of 10 MB/s, with the updates of windows that it takes.
TEST_F(FloodLimitTest, WhoDownloadsGoesOn) {
  for (int64_t i = 1; i <= 100; ++i) See(1, 20'000 * i, 1'000'000 * i);
  EXPECT_THAT(cut_, IsEmpty());
}

// Once in the second that gRPC asks for, or in each check: the answers are as long.
TEST_F(FloodLimitTest, WhoPingsGoesOn) {
  constexpr int64_t kPingBytes = 17;
  for (int64_t i = 1; i <= 1000; ++i) See(1, kPingBytes * i, kPingBytes * i);
  EXPECT_THAT(cut_, IsEmpty());
}

TEST_F(FloodLimitTest, WhatADownloaderTakesDoesNotBuyItAFlood) {
  for (int64_t i = 1; i <= 100; ++i) See(1, 100'000 * i, 100'000 * i);
  EXPECT_THAT(cut_, ElementsAre(1));
}

TEST_F(FloodLimitTest, WhoSendsOtherThingsThanCallsIsCut) {
  const CapturedLog log;
  See(1, 1000, 0);
  EXPECT_THAT(cut_, IsEmpty());
  See(1, 1001, 0);
  EXPECT_THAT(cut_, ElementsAre(1));
  EXPECT_THAT(log.text(),
              HasSubstr("the connection of 127.0.0.1:1 is cut: it has sent 1001 bytes beyond what its calls may have, "
                        "of 1001 in all\n"));
  See(1, 5000, 0);
  EXPECT_THAT(cut_, ElementsAre(1)) << "once";
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

TEST_F(FloodLimitTest, TooMuchOfAllTogetherEndsThoseThatSentTheMost) {
  SeeAll({{1, 800}, {2, 900}, {3, 700}, {4, 100}});
  EXPECT_THAT(cut_, IsEmpty());
  SeeAll({{1, 950}, {2, 900}, {3, 900}, {4, 600}});
  EXPECT_THAT(cut_, ElementsAre(1));
  SeeAll({{1, 950}, {2, 900}, {3, 900}, {4, 600}});
  EXPECT_THAT(cut_, ElementsAre(1)) << "what is cut counts no more";
}

TEST_F(FloodLimitTest, CallsCountBeforeTooMuchOfAllTogetherDoes) {
  calls_ = {{.peer = Peer(1), .open = 0, .started = 1}};
  SeeAll({{1, 1000}, {2, 900}, {3, 900}});
  EXPECT_THAT(cut_, IsEmpty());
}

// Each check sees a call's bytes; one call is open of which no service has heard.
TEST_F(FloodLimitTest, BytesThatPassForThoseOfCallsAreCountedUntilAllAreHeard) {
  constexpr int64_t kCall = 50'000;
  const CapturedLog log;
  for (int64_t i = 1; cut_.empty() && i < 20; ++i) {
    traffic_ = {{.id = 1, .peer = Peer(1), .received = i * kCall}, {.id = 2, .peer = Peer(2), .received = i * kCall}};
    calls_ = {{.peer = Peer(1), .open = 3, .started = i, .heard = 3},
              {.peer = Peer(2), .open = 3, .started = i, .heard = 2}};
    limit_.Check();
  }
  EXPECT_THAT(cut_, ElementsAre(2));
  EXPECT_THAT(log.text(), HasSubstr("it has sent 450000 bytes while requests of it were not whole"));
}

TEST_F(FloodLimitTest, UnheardBytesOfManyConnectionsCountTogether) {
  constexpr int64_t kCall = 50'000;
  for (int64_t i = 1; cut_.empty() && i < 20; ++i) {
    traffic_.clear();
    calls_.clear();
    for (int port = 1; port <= 4; ++port) {
      traffic_.push_back({.id = static_cast<uint64_t>(port), .peer = Peer(port), .received = i * kCall + port});
      calls_.push_back({.peer = Peer(port), .open = 1, .started = i});
    }
    limit_.Check();
  }
  EXPECT_THAT(cut_, ElementsAre(4)) << "that which has sent the most";
}

TEST_F(FloodLimitTest, ManyCutConnectionsLeaveTenLines) {
  const CapturedLog log;
  std::vector<std::pair<int, int64_t>> connections;
  for (int port = 1; port <= 30; ++port) connections.emplace_back(port, 2000);
  SeeAll(connections);
  EXPECT_EQ(cut_.size(), 30u);
  const std::string text = log.text();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), LineBudget::kLines);
}

TEST_F(FloodLimitTest, OneThatGrpcDoesNotKnowYetMakesNoCalls) {
  traffic_ = {{.id = 1, .peer = Peer(1), .received = 1001}};
  limit_.Check();
  EXPECT_THAT(cut_, ElementsAre(1));
}

}  // namespace
}  // namespace denoised
