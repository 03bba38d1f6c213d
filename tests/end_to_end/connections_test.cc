// Strangers who open connections and say nothing, or nothing that is understood.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/end_to_end/served.h"
#include "tests/testing/program.h"
#include "tests/testing/raw_connection.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/test_certificates.h"

namespace denoised {
namespace {

// Field report "deaf for ever": a hundred idle connections against 64 descriptors, then none.
TEST(ConnectionsTest, ServerHearsAgainAfterTheyTookAllDescriptors) {
  const TempFolder folder;
  BackgroundProgram server({"/bin/bash", "-c",
                            "ulimit -n 64; exec " DENOISED_BIN_DIR
                            "/denoised --listen=127.0.0.1:0 --metrics_listen=127.0.0.1:0 --lame_duck=0"},
                           {}, folder.path());
  const std::string address = server.AwaitLine("listening on ");
  const int port = std::atoi(address.substr(address.rfind(':') + 1).c_str());
  {
    std::vector<RawConnection> idle;
    for (int i = 0; i < 100; ++i) idle.emplace_back(port);
    server.AwaitLine("too few descriptors are left; raise the limit of open files (ulimit -n)");
  }
  const ProgramResult drawn =
      RunProgram({"denoise", "7", "--server", address, "--sampler=ddim", "--picture=never"}, {}, folder.path());
  EXPECT_EQ(drawn.exit_code, 0) << drawn.err;
  server.Signal(SIGTERM);
  EXPECT_EQ(server.Wait(), 0);
}

// As many as those ports take, all at once.
TEST(ConnectionsTest, WhatTheGrpcPortLeavesIsEnoughForBothHttpPorts) {
  constexpr int kDescriptors = 200, kTakenByEach = kDescriptors / 8;
  const TempFolder folder;
  BackgroundProgram server({"/bin/bash", "-c",
                            "ulimit -n 200; exec " DENOISED_BIN_DIR
                            "/denoised --listen=127.0.0.1:0 --metrics_listen=127.0.0.1:0 --http_listen=127.0.0.1:0"},
                           {}, folder.path());
  const std::string address = server.AwaitLine("listening on ");
  const int grpc = std::atoi(address.substr(address.rfind(':') + 1).c_str());
  const int metrics = std::atoi(server.AwaitLine("metrics on http://127.0.0.1:").c_str());
  const int page = std::atoi(server.AwaitLine("a page on http://127.0.0.1:").c_str());
  std::vector<RawConnection> idle, asking;
  for (int i = 0; i < kDescriptors; ++i) idle.emplace_back(grpc);
  server.AwaitLine("too few descriptors are left; raise the limit of open files (ulimit -n)");
  for (int i = 0; i < kTakenByEach; ++i) {
    asking.emplace_back(metrics);
    asking.back().Send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n");
    asking.emplace_back(page);
    asking.back().Send("GET / HTTP/1.1\r\nHost: localhost\r\n");
  }
  for (size_t i = 0; i < asking.size(); ++i) {
    asking[i].Send("\r\n");
    EXPECT_THAT(asking[i].ReceiveAll(), testing::StartsWith("HTTP/1.1 200 OK\r\n")) << i;
  }
}

TEST(ConnectionsTest, AFailedHandshakeLeavesALine) {
  const TempFolder folder;
  const TestIdentity identity = TestAuthority().Issue("server");
  const std::string cert = folder.Write("server.pem", identity.cert), key = folder.Write("server.key", identity.key);
  Served served({"--tls_cert=" + cert, "--tls_key=" + key});
  const std::string& address = served.address();  // "127.0.0.1:40000 with TLS"
  const RawConnection stranger(std::atoi(address.substr(address.rfind(':') + 1).c_str()));
  stranger.Send("GET / HTTP/1.0\r\n\r\n");
  EXPECT_EQ(served.server().AwaitLine("a TLS handshake failed: "), "http request");
}

}  // namespace
}  // namespace denoised
