#include "server/telemetry/call_log.h"

#include <gtest/gtest.h>

namespace denoised {
namespace {

TEST(PeerTextTest, AsPeopleWriteAddresses) {
  EXPECT_EQ(PeerText("ipv4:192.0.2.7:40000"), "192.0.2.7:40000");
  EXPECT_EQ(PeerText("ipv6:%5B2001:db8::1%5D:40000"), "[2001:db8::1]:40000");
  EXPECT_EQ(PeerText("unix:"), "unix");
  EXPECT_EQ(PeerText("unknown"), "unknown");
}

}  // namespace
}  // namespace denoised
