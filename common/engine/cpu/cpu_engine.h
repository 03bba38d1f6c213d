// File: cpu_engine.h
//
// The engine for CPU cores, whatever runs the network.
//
//   absl::StatusOr<std::unique_ptr<Engine>> engine =
//       MakeCpuEngine(make_network, {.null_label = 10, .num_slots = 16, .num_threads = 2});
//
// The rows of a step are shared out over single-threaded workers, each of which runs its rows in network calls of up to
// 16: rows that share a call are cheaper, and workers that share nothing never wait for one another. A step of so few
// rows that cores would idle goes to a team instead, all of whose threads share one call, where that is faster.
//
// Which team that is rests on times, so ChooseAgain may find another one when the machine has become another.
//
// An image's bits depend neither on its company nor on the load nor on the team. That is checked with the network
// itself, before a choice is used: no more rows share a call, and no team is used, than leave every row's bits as they
// are when it is alone on one thread.
#ifndef DENOISED_COMMON_ENGINE_CPU_CPU_ENGINE_H_
#define DENOISED_COMMON_ENGINE_CPU_CPU_ENGINE_H_

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "common/diffusion/engine.h"
#include "common/engine/cpu/cpu_network.h"

namespace denoised {

// Makes a network for calls of at most `max_rows` rows, each on `threads` threads; null where it cannot use more than
// one thread.
// The engine keeps it.
using CpuNetworkFactory = std::function<std::unique_ptr<CpuNetwork>(int max_rows, int threads)>;

// How the engine made up its mind.
struct CpuEngineChoices {
  int rows_per_call = 1;    // most rows that share a call
  int team_threads = 1;     // of the team; 1: there is none
  int team_rows = 0;        // most network rows of a step that go to the team
  double team_speedup = 1;  // of a call of one row, against one thread
};

struct CpuEngineOptions {
  std::string runner;           // what runs the network, and in which precision: for Description
  int null_label = 0;           // the label of a guided image's second network row
  int num_slots = 16;           // images in the making at once, at least 1
  int max_rows = 0;             // network rows of a step for which to make room; 0: 2 * num_slots, all of them guided
  int num_threads = 1;          // workers, at least 1
  int num_train_timesteps = 1;  // T, for the warm-up
  int num_labels = 1;           // likewise
  // The choices of an engine like this one, for when the cores are busy with that one and times would mislead: they are
  // checked, but not measured again.
  std::optional<CpuEngineChoices> earlier = std::nullopt;
  // While it is so the team rests; null: never. A team waits for all of its threads 40 times a step. Where two teams
  // share their cores, or the system lets other work finish its time slice first, a step of 0.2 ms took 0.2 s.
  std::shared_ptr<const AnotherAtWork> another_at_work = nullptr;
  // Longest time for timing teams. A machine that is too busy for that has no threads to spare for one.
  std::chrono::nanoseconds patience = std::chrono::seconds(5);
  // Called by ChooseAgain where it changes them; or null.
  std::function<void(const CpuEngineChoices&)> on_chosen_again = nullptr;
};

// Warms up: every number of rows has run on every worker when it returns. INTERNAL when the network fails. `choices`
// may be null.
absl::StatusOr<std::unique_ptr<Engine>> MakeCpuEngine(const CpuNetworkFactory& make_network,
                                                      const CpuEngineOptions& options,
                                                      CpuEngineChoices* choices = nullptr);

}  // namespace denoised

#endif  // DENOISED_COMMON_ENGINE_CPU_CPU_ENGINE_H_
