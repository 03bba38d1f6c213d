#include "client/calls/server_address.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

std::string Target(const std::string& text) {
  const absl::StatusOr<ServerAddress> address = ServerAddress::Parse(text);
  return address.ok() ? address->target : std::string(address.status().message());
}

// Reported: without a port gRPC tried 443.
TEST(ServerAddressTest, PortThatIsLeftOutIsTheServersOwn) {
  EXPECT_EQ(Target("localhost"), "localhost:50051");
  EXPECT_EQ(Target("192.0.2.1"), "192.0.2.1:50051");
  EXPECT_EQ(Target("::1"), "[::1]:50051");
  EXPECT_EQ(Target("[::1]"), "[::1]:50051");
}

TEST(ServerAddressTest, HostsAndPortsAreTakenAsTheyAre) {
  EXPECT_EQ(Target("denoised.example.org:80"), "denoised.example.org:80");
  EXPECT_EQ(Target("[2001:db8::7]:65535"), "[2001:db8::7]:65535");
  EXPECT_EQ(ServerAddress::Parse("[2001:db8::7]:80")->host, "2001:db8::7");
  EXPECT_EQ(ServerAddress::Parse("host:80")->port, 80);
}

TEST(ServerAddressTest, FormsOfGrpcsOwnAreLeftToIt) {
  for (const char* text : {"unix:/run/denoised.sock", "unix-abstract:x", "dns:///denoised:50051", "ipv4:127.0.0.1:1"}) {
    EXPECT_EQ(Target(text), text);
  }
}

// Reported: http://localhost:50051 gave a name server's error, localhost:99999 was port 34463.
TEST(ServerAddressTest, WhatIsNoAddressIsSaid) {
  const std::string must = "--server: must be a host and a port, such as localhost:50051; ";
  EXPECT_EQ(Target(""), must + "this is empty");
  EXPECT_EQ(
      Target("http://localhost:50051"),
      must + "without a scheme and a path, and with --tls for a server that speaks TLS, got http://localhost:50051");
  for (const std::string text : {"localhost:99999", "localhost:0", "localhost:", "localhost:x", "[::1]:99999"}) {
    EXPECT_EQ(Target(text), absl::StrCat(must, "the port must be 1 to 65535, got ", text));
  }
  EXPECT_EQ(Target("50052"), must + "this is a number alone; a port of this machine is localhost:50052, got 50052");
  EXPECT_EQ(Target(":50051"), must + "the host is missing, got :50051");
  EXPECT_EQ(Target("two words:1"), must + "this is not a host's name, got two words:1");
  EXPECT_EQ(Target("[host]:1"), must + "brackets are for IPv6 addresses, got [host]:1");
}

}  // namespace
}  // namespace denoised
