// File: loopback_probe.h
//
// Calls the server's own health service through its own port, as a stranger would: a new connection each time,
// accepted, taken by gRPC and answered by its threads. So a server that is deaf, or whose threads all hang, is found
// out, which asking it from inside does not do.
//
//   LoopbackProbe probe({}, [&] { return listener.loopback(); }, ...);
//   ... probe.alive() ...
//
// It speaks plain text to every server, which knows its connection by its address (ConnectionListener::ExpectProbe) and
// gives it no TLS: certificates that clients do not like are nothing that a restart mends, and with mutual TLS it would
// need one of its own.
//
// Thread-safe.
#ifndef DENOISED_SERVER_TRANSPORT_LOOPBACK_PROBE_H_
#define DENOISED_SERVER_TRANSPORT_LOOPBACK_PROBE_H_

#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

#include "absl/status/status.h"
#include "common/support/steady_event.h"
#include "server/transport/listen_address.h"

namespace denoised {

struct ProbeOptions {
  double interval_seconds = 10;
  double timeout_seconds = 5;
  int failures_in_a_row = 3;  // before the server counts as dead
};

// The same, but with a probe in each quarter of `watchdog` at least, also if there were to be none: for whoever tells a
// service manager after each of them that the server lives, and may leave that out once.
ProbeOptions ProbedWithin(ProbeOptions options, std::chrono::nanoseconds watchdog);

class LoopbackProbe {
 public:
  // Hears the address of the probe's end of each connection before it is made.
  using Announce = std::function<void(const SocketAddress& own)>;
  // Hears what came of each probe, and what alive() is with it.
  using Report = std::function<void(bool answered, bool alive)>;

  // Probes the server at `target`, on a thread of its own, until it is destroyed.
  LoopbackProbe(const ProbeOptions& options, const SocketAddress& target, Announce announce, Report report);
  ~LoopbackProbe();
  LoopbackProbe(const LoopbackProbe&) = delete;
  LoopbackProbe& operator=(const LoopbackProbe&) = delete;

  // False once so many probes in a row were not answered, until one is. A probe that was never answered says nothing:
  // it is something else that is wrong then, and no restart would mend it.
  bool alive() const { return !seen_alive_ || failures_ < options_.failures_in_a_row; }

  // No more probes, and nothing is made of one under way: the port is about to be closed.
  void Stop();

 private:
  void Run();
  absl::Status Probe() const;

  const ProbeOptions options_;
  const SocketAddress target_;
  const Announce announce_;
  const Report report_;

  std::atomic<bool> seen_alive_ = false;
  std::atomic<int> failures_ = 0;
  SteadyEvent stop_;
  std::thread thread_;
};

}  // namespace denoised

#endif  // DENOISED_SERVER_TRANSPORT_LOOPBACK_PROBE_H_
