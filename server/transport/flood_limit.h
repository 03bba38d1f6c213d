// File: flood_limit.h
//
// Cuts connections that are used for something else than calls: gRPC 1.51 does not bound what it keeps of a header
// block without end, and takes any number of frames that carry nothing.
//
//   FloodLimit floods(kMaxFloodBytes, [&] { return listener.Traffic(); }, OpenCalls,
//                     [&](const SocketAddress& peer) { return listener.Cut(peer); });
//   const PeriodicTask watch(kFloodPeriod, [&] { floods.Check(); });
//
// It rests on counts of bytes, which TLS does not hide. A client of calls sends less than it gets, as its updates of
// windows are a fiftieth of what comes and pings are answered alike; or else it sends requests. So a connection is cut
// when it has sent more than it has taken, by more than the limit and kCallBytes for each new call. What its calls may
// have brought and did not is not saved up.
//
// Thread-compatible.
#ifndef DENOISED_SERVER_TRANSPORT_FLOOD_LIMIT_H_
#define DENOISED_SERVER_TRANSPORT_FLOOD_LIMIT_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "server/transport/connection_traffic.h"
#include "server/transport/open_calls.h"

namespace denoised {

// Between two checks, in which time a connection may bring more than its limit.
inline constexpr std::chrono::milliseconds kFloodPeriod(100);

class FloodLimit {
 public:
  // More than the metadata and the message of a call may have: transport_options.h.
  static constexpr int64_t kCallBytes = 96 << 10;

  using Traffic = std::function<std::vector<ConnectionTraffic>()>;
  using Calls = std::function<std::vector<ConnectionCalls>()>;
  // Cuts the connection of this peer; false if there is none, or it has been cut already.
  using Cut = std::function<bool(const SocketAddress& peer)>;

  // `calls` is asked only if there is somebody to suspect.
  FloodLimit(int64_t max_bytes, Traffic traffic, Calls calls, Cut cut);

  void Check();

 private:
  struct Account {
    int64_t received = 0, taken = 0, calls = 0;  // at the last look
    int64_t beyond = 0;                          // sent beyond taken and calls
    bool seen = false;                           // in this check
  };

  void Grant(const std::vector<ConnectionTraffic>& suspects);

  // Constant after construction.
  const int64_t max_bytes_;
  const Traffic traffic_;
  const Calls calls_;
  const Cut cut_;

  absl::flat_hash_map<uint64_t, Account> accounts_;
};

}  // namespace denoised

#endif  // DENOISED_SERVER_TRANSPORT_FLOOD_LIMIT_H_
