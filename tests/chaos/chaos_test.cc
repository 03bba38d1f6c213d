// Clients of all kinds whose connections are delayed, throttled, cut, reset and half-closed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <thread>

#include "tests/chaos/chaos_load.h"
#include "tests/chaos/chaos_proxy.h"
#include "tests/server/puppet_server.h"
#include "tests/testing/process_figures.h"
#include "tests/testing/server_metrics.h"

namespace denoised {
namespace {

using testing::IsEmpty;

class ChaosTest : public PuppetServer {
 protected:
  ChaosTest() : PuppetServer(/*slots=*/8, /*max_queued_images=*/64) {
    keeps_batches_ = false;
    options_.access.client_header = "x-client-id";
  }

  ChaosReport Send(const ChaosLoad& load, const ChaosOptions& options) const {
    const ChaosProxy proxy(server_->port(), options.seed);
    return load.Run("127.0.0.1:" + std::to_string(proxy.port()), options);
  }
};

// Reported of many servers: a client's connection that broke at a bad moment left rows, memory or a descriptor behind,
// or brought another's picture.
TEST_F(ChaosTest, WhateverHappensToConnectionsEachCallEndsAndNothingIsLeft) {
  Start();
  const ChaosLoad load(address());
  const ServerMetrics metrics(server_->metrics_port());
  EXPECT_THAT(Send(load, {.requests = 100, .seed = 2}).faults, IsEmpty());
  EXPECT_THAT(LeftBehind(metrics), IsEmpty());
  const int64_t descriptors = FiguresOf(getpid()).descriptors;

  const ChaosReport report = Send(load, {.requests = 300, .seed = 1});
  EXPECT_THAT(report.faults, IsEmpty()) << report.ToString();
  EXPECT_GT(report.images, 0);
  EXPECT_GT(report.endings.at("OK"), 0) << report.ToString();
  EXPECT_GT(report.endings.at("UNAVAILABLE"), 0) << "the connections must have been bad: " << report.ToString();
  EXPECT_THAT(LeftBehind(metrics), IsEmpty());
  EXPECT_THAT(load.DrawAgain(address()), IsEmpty());
  while (FiguresOf(getpid()).descriptors > descriptors) std::this_thread::yield();
}

}  // namespace
}  // namespace denoised
