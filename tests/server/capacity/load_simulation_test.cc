#include "server/capacity/load_simulation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/support/quantile.h"
#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

using testing::HasSubstr;

// A step takes 1 ms and 0.1 ms more for each further row.
SimulatedServer Server() {
  SimulatedServer server = {.max_batch_rows = 16, .max_queued_images = 64, .seconds_beside_steps = 0.01};
  for (int rows = 1; rows <= server.max_batch_rows; ++rows) server.step_seconds.push_back(0.001 + 0.0001 * (rows - 1));
  return server;
}

TEST(SimulateLoadTest, RequestsThatComeFarApartTakeTheirChainAndNoMore) {
  const absl::StatusOr<SimulationResult> result =
      SimulateLoad(Server(), {.requests_per_second = 0.05, .seconds = 4000, .steps = {100}});
  ASSERT_THAT(result, IsOk());
  EXPECT_GT(result->finished, 100);
  EXPECT_EQ(result->refused, 0);
  EXPECT_NEAR(QuantileOfSorted(result->latencies, 0.5), 0.11, 1e-6) << "100 steps of 1 ms, and 10 ms beside them";
  EXPECT_LT(result->rows_per_step, 1.1);
}

TEST(SimulateLoadTest, GuidedImagesTakeTwoRows) {
  const absl::StatusOr<SimulationResult> result =
      SimulateLoad(Server(), {.requests_per_second = 0.05, .seconds = 4000, .steps = {100}, .guided = true});
  ASSERT_THAT(result, IsOk());
  EXPECT_NEAR(QuantileOfSorted(result->latencies, 0.5), 0.12, 1e-6);
}

TEST(SimulateLoadTest, OverloadIsRefusedAndCapacityIsUsed) {
  const SimulatedLoad load = {.requests_per_second = 120, .seconds = 300, .steps = {100}};
  const double most = MostRequestsPerSecond(Server(), load);
  EXPECT_NEAR(most, 16 / (0.0025 * 100), 1e-9);
  const absl::StatusOr<SimulationResult> result = SimulateLoad(Server(), load);
  ASSERT_THAT(result, IsOk());
  EXPECT_NEAR(result->images_per_second, most, 0.02 * most);
  EXPECT_NEAR(static_cast<double>(result->refused) / 300, 120 - most, 0.1 * most);
  EXPECT_GT(result->rows_per_step, 15.9);
}

TEST(SimulateLoadTest, LatencyRisesWithLoad) {
  double before = 0;
  for (const double share : {0.2, 0.5, 0.8, 0.95}) {
    SimulatedLoad load = {.seconds = 600, .steps = {100}};
    load.requests_per_second = share * MostRequestsPerSecond(Server(), load);
    const absl::StatusOr<SimulationResult> result = SimulateLoad(Server(), load);
    ASSERT_THAT(result, IsOk());
    EXPECT_GT(QuantileOfSorted(result->latencies, 0.95), before) << share;
    before = QuantileOfSorted(result->latencies, 0.95);
  }
}

TEST(SimulateLoadTest, StepLevelBatchingWaitsLessThanRequestLevelBatching) {
  SimulatedLoad load = {.seconds = 600, .steps = {100}};
  load.requests_per_second = 0.8 * MostRequestsPerSecond(Server(), load);
  const absl::StatusOr<SimulationResult> steps = SimulateLoad(Server(), load);
  load.batching = Batching::kRequests;
  const absl::StatusOr<SimulationResult> requests = SimulateLoad(Server(), load);
  ASSERT_THAT(steps, IsOk());
  ASSERT_THAT(requests, IsOk());
  EXPECT_EQ(steps->finished + steps->refused, requests->finished + requests->refused) << "the same trace";
  EXPECT_LT(QuantileOfSorted(steps->latencies, 0.95), QuantileOfSorted(requests->latencies, 0.95));
}

TEST(SimulateLoadTest, ReplicasShareTheLoad) {
  SimulatedLoad load = {.seconds = 100, .steps = {100}};
  load.requests_per_second = 0.7 * MostRequestsPerSecond(Server(), load);
  const absl::StatusOr<SimulationResult> one = SimulateLoad(Server(), load);
  load.requests_per_second *= 20;
  load.replicas = 20;
  const absl::StatusOr<SimulationResult> in_turn = SimulateLoad(Server(), load);
  load.balancing = Balancing::kRandom;
  const absl::StatusOr<SimulationResult> at_random = SimulateLoad(Server(), load);
  ASSERT_THAT(one, IsOk());
  ASSERT_THAT(in_turn, IsOk());
  ASSERT_THAT(at_random, IsOk());
  EXPECT_NEAR(in_turn->images_per_second, 20 * one->images_per_second, 2 * one->images_per_second);
  EXPECT_LT(QuantileOfSorted(in_turn->latencies, 0.95), QuantileOfSorted(at_random->latencies, 0.95))
      << "turns are more even than chance";
}

TEST(SimulateLoadTest, SameSeedSameResult) {
  const SimulatedLoad load = {.requests_per_second = 30, .seconds = 20, .steps = {100}};
  SimulatedLoad other = load;
  other.seed = 2;
  EXPECT_EQ(SimulateLoad(Server(), load)->latencies, SimulateLoad(Server(), load)->latencies);
  EXPECT_NE(SimulateLoad(Server(), load)->latencies, SimulateLoad(Server(), other)->latencies);
}

TEST(SimulateLoadTest, WhatDoesNotFitIsSaid) {
  SimulatedServer server = Server();
  server.step_seconds.pop_back();
  EXPECT_THAT(SimulateLoad(server, {}), StatusIs(absl::StatusCode::kInvalidArgument,
                                                 "the table has step times of 1 to 15 rows, and max_batch_rows is 16"));
  server.step_seconds.push_back(0);
  EXPECT_THAT(SimulateLoad(server, {}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("above 0")));
  EXPECT_THAT(SimulateLoad(Server(), {.requests_per_second = 0}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("above 0")));
  EXPECT_THAT(SimulateLoad(Server(), {.requests_per_second = 1e6}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("simulate fewer seconds or replicas")));
}

}  // namespace
}  // namespace denoised
