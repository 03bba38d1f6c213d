// File: supervisor.h
//
// Watches the loop that makes denoising steps, from a thread of its own, since a loop that hangs cannot say so.
//
//   Supervisor supervisor({.stall_timeout = std::chrono::seconds(30)}, hooks);
//   supervisor.Start();
//
// In trouble is a loop that has work and does not go on for stall_timeout, or whose engine fails step after step.
// Then health turns NOT_SERVING, the work ends with UNAVAILABLE, and the engine is built anew, once; after a second
// time, or if that fails or takes too long, the process ends. A server that cannot make steps must not look as if it
// could: balancers prefer whoever answers fastest. A model that was replaced and goes on with its calls is watched in
// the same way; these end, and nothing is built.
//
// Time counts by the supervisor's own ticks, so that a process that was stopped as a whole is not taken for one that
// hangs. Not thread-safe.
#ifndef DENOISED_SERVER_SUPERVISOR_H_
#define DENOISED_SERVER_SUPERVISOR_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "common/support/periodic_task.h"
#include "server/scheduler/scheduler.h"

namespace denoised {

enum class EngineTrouble { kStalled, kFailing };
const char* EngineTroubleName(EngineTrouble trouble);

struct SupervisorOptions {
  std::chrono::nanoseconds stall_timeout = std::chrono::seconds(30);
  int failed_steps = 5;                   // in a row
  std::chrono::milliseconds tick{100};    // between two looks
  uint64_t beats_until_trusted = 10'000;  // after which an engine built anew may be built anew again
};

// What the supervisor sees and does. Called on its thread.
struct SupervisorHooks {
  // Of the model that is watched; none while there is none.
  std::function<std::optional<Heartbeat>()> heartbeat;
  // New calls are refused, and those under way end. False: that cannot be done.
  std::function<bool(EngineTrouble)> end_work;
  // A new engine serves. False: it does not. Null: none is needed, as the watched one does not serve.
  std::function<bool()> rebuild;
  // Ends the process; `why` is a sentence for the log.
  std::function<void(const std::string& why)> die;
};

class Supervisor {
 public:
  Supervisor(const SupervisorOptions& options, SupervisorHooks hooks);
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  // Looks now and then, on a thread of its own, until the destructor.
  void Start();

  // One look.
  void Tick();

 private:
  std::optional<EngineTrouble> Judge(const Heartbeat& heartbeat);
  void Recover(EngineTrouble trouble);

  const SupervisorOptions options_;
  const SupervisorHooks hooks_;

  // Of the thread that ticks.
  uint64_t last_beats_ = 0;
  int64_t still_ticks_ = 0;  // during which nothing went on
  bool rebuilt_ = false;
  bool dead_ = false;

  std::optional<PeriodicTask> looks_;  // NOTE: last, it uses the others
};

}  // namespace denoised

#endif  // DENOISED_SERVER_SUPERVISOR_H_
