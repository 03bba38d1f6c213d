// File: chaos_proxy.h
//
// A TCP proxy on this machine that does to connections what bad networks do: it delays, throttles, cuts (FIN), resets
// (RST) and half-closes them, in both directions.
//
//   ChaosProxy proxy(server_port, /*seed=*/7);
//   grpc::CreateChannel("127.0.0.1:" + std::to_string(proxy.port()), ...);
//   ... proxy.stats().resets ...
//
// What the nth connection suffers is a function of the seed and of n (PlanFaults), and connections end after so many
// bytes, not at a time of day: so a seed that showed a fault shows it to the same bytes again.
//
// Thread-safe. Errors of the system, such as too few descriptors at start, are thrown.
#ifndef DENOISED_TESTS_CHAOS_CHAOS_PROXY_H_
#define DENOISED_TESTS_CHAOS_CHAOS_PROXY_H_

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

namespace denoised {

enum class Ending {
  kNone,       // it lasts until one of its ends closes it
  kCut,        // both ends see FIN
  kReset,      // both see RST
  kHalfClose,  // one end sees FIN, while what it sends still arrives
};

// Which way bytes go.
enum Way { kToServer, kToClient, kWays };

struct WayFaults {
  std::chrono::milliseconds delay{};  // of each piece of at most kPieceBytes
  double bytes_per_second = 0;        // at most, on average; 0: any number
};

struct ConnectionFaults {
  std::array<WayFaults, kWays> ways = {};
  Ending ending = Ending::kNone;
  Way ending_way = kToServer;  // whose bytes are counted, and which half is closed
  uint64_t ending_after = 0;   // bytes that way, which still arrive; it may be in the middle of a frame
};

// What connection number `connection`, counted from 0, suffers. Pure.
ConnectionFaults PlanFaults(uint64_t seed, uint64_t connection);

struct ProxyStats {
  int64_t connections = 0, delayed = 0, throttled = 0;
  int64_t cuts = 0, resets = 0, half_closes = 0;  // that came to pass
  std::string ToString() const;
};

class ChaosProxy {
 public:
  static constexpr size_t kPieceBytes = 4096;

  // `server_port` and its own are ports of 127.0.0.1.
  ChaosProxy(int server_port, uint64_t seed);
  // With these faults for every connection.
  ChaosProxy(int server_port, const ConnectionFaults& faults);
  // Closes what is open.
  ~ChaosProxy();
  ChaosProxy(const ChaosProxy&) = delete;
  ChaosProxy& operator=(const ChaosProxy&) = delete;

  int port() const;
  ProxyStats stats() const;

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace denoised

#endif  // DENOISED_TESTS_CHAOS_CHAOS_PROXY_H_
