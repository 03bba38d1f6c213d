#include "common/support/low_priority.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <stdexcept>
#include <thread>

namespace denoised {
namespace {

TEST(LowPriorityTest, WorkAndItsThreadsGiveWayAndTheCallerDoesNot) {
  const int before = getpriority(PRIO_PROCESS, 0);
  int during = 0, of_thread = 0;
  RunAtLowPriority([&] {
    during = getpriority(PRIO_PROCESS, 0);
    std::thread([&] { of_thread = getpriority(PRIO_PROCESS, 0); }).join();
  });
  EXPECT_GE(during, 10);
  EXPECT_GE(during, before);
  EXPECT_EQ(of_thread, during);
  EXPECT_EQ(getpriority(PRIO_PROCESS, 0), before);
}

TEST(LowPriorityTest, WhatItThrowsReachesTheCaller) {
  const auto fail = [] { RunAtLowPriority([] { throw std::runtime_error("no memory"); }); };
  EXPECT_THAT(fail, testing::ThrowsMessage<std::runtime_error>("no memory"));
}

}  // namespace
}  // namespace denoised
