// File: load_simulation.h
//
// A discrete-event simulation of servers under load, to plan capacity: the real scheduler on a clock of its own, with a
// table of step times in the place of an engine. What it costs is a microsecond or so for each simulated step.
//
//   SimulatedServer server = {.step_seconds = {0.0018, 0.0026, ...}, .max_batch_rows = 16};
//   absl::StatusOr<SimulationResult> result =
//       SimulateLoad(server, {.requests_per_second = 1.5, .seconds = 600, .steps = {20, 1000}});
//   double p95 = QuantileOfSorted(result->latencies, 0.95);
//
// Requests come at random moments (a Poisson process) and are dealt out over the replicas in turn or at random, as
// gRPC's round_robin and a Kubernetes Service do; so the replicas do not influence one another. Deterministic for a
// seed. Thread-safe.
#ifndef DENOISED_SERVER_CAPACITY_LOAD_SIMULATION_H_
#define DENOISED_SERVER_CAPACITY_LOAD_SIMULATION_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"

namespace denoised {

struct SimulatedServer {
  std::vector<double> step_seconds = {};  // of a step of 1, 2, ... max_batch_rows network rows
  int max_batch_rows = 16;                // as the server's flag
  int max_queued_images = 256;            // as the server's flag
  double seconds_beside_steps = 0;        // from the last step to the client: PNG, gRPC, network
};

enum class Balancing { kRoundRobin, kRandom };

// kSteps: the scheduler. kRequests: what most servers do, for comparison: a batch takes what waits and has as many
// steps as the first in the queue, up to max_batch_rows, and nobody joins before its last step.
enum class Batching { kSteps, kRequests };

struct SimulatedLoad {
  double requests_per_second = 1;   // over all replicas, one image each
  double seconds = 600;             // that count
  double warmup_seconds = 60;       // before them
  std::vector<int> steps = {1000};  // of each image one of these, all equally often
  bool guided = false;              // two network rows an image
  int replicas = 1;
  Balancing balancing = Balancing::kRoundRobin;
  Batching batching = Batching::kSteps;
  uint64_t seed = 1;
};

// Of the requests that came in the seconds that count.
struct SimulationResult {
  int64_t finished = 0;
  int64_t refused = 0;            // the queue was full
  std::vector<double> latencies;  // seconds, ascending, from a request's arrival to its image
  double images_per_second = 0;   // finished within the seconds that count, whenever they came
  double rows_per_step = 0;       // on average, over the whole simulation
};

// Replicas are spread over this machine's cores. INVALID_ARGUMENT for a table of step times that does not fit, numbers
// out of range, or more than 50 million requests.
absl::StatusOr<SimulationResult> SimulateLoad(const SimulatedServer& server, const SimulatedLoad& load);

// Requests a second that one replica can do at most: full batches, step after step.
double MostRequestsPerSecond(const SimulatedServer& server, const SimulatedLoad& load);

}  // namespace denoised

#endif  // DENOISED_SERVER_CAPACITY_LOAD_SIMULATION_H_
