// File: flood_limit.h
//
// Cuts connections that are used for something else than calls: gRPC 1.51 does not bound what it keeps of a header
// block without end, and takes any number of frames that carry nothing.
//
//   FloodLimit floods({.each = 1 << 20, .all = 64 << 20}, [&] { return listener.Traffic(); }, OpenCalls,
//                     [&](const SocketAddress& peer) { return listener.Cut(peer); });
//   const PeriodicTask watch(kFloodPeriod, [&] { floods.Check(); });
//
// It rests on counts of bytes, which TLS does not hide. A client of calls sends requests; besides them its pings, which
// are answered alike, and updates of windows, a fiftieth of what it takes. So what it takes between two checks buys it
// that much, but kTakenCredit and a sixteenth at most: who downloads may not flood for that. A connection is cut when
// it has sent more than this and kCallBytes for each new call, by more than its limit. If all together have sent more
// than the limit for all, those that have sent the most are cut until they have not. What its calls may have brought
// and did not is not saved up, but for the first burst after them.
//
// Bytes that come with many small calls pass for theirs, and may be those of calls of which no service hears: a message
// that never ends, or metadata. These gRPC 1.51 bounds by 16 MiB until the client has acknowledged the bound that it
// was told, and a byte that refers to a header sent before takes 130 to 260 in memory. So what a connection sends is
// also added up until it has no call that no service has heard of (heard_calls.h), which of an honest one is found in
// most looks; beyond limits of its own, the connection is cut.
//
// Thread-compatible.
#ifndef DENOISED_SERVER_TRANSPORT_FLOOD_LIMIT_H_
#define DENOISED_SERVER_TRANSPORT_FLOOD_LIMIT_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "server/telemetry/line_budget.h"
#include "server/transport/connection_traffic.h"
#include "server/transport/open_calls.h"

namespace denoised {

// Between two checks, in which time a connection may bring more than its limit.
inline constexpr std::chrono::milliseconds kFloodPeriod(100);

// In bytes that connections may bring besides their calls.
struct FloodBytes {
  int64_t each = 0;
  int64_t all = 0;  // together
  // That they may bring in all while a call is open of which no service has heard. Whether one is, is looked at from a
  // quarter of it on.
  int64_t unheard = 0;
  int64_t unheard_of_all = 0;
};

class FloodLimit {
 public:
  // More than the metadata and the message of a call may have: transport_options.h, request_size.h. One message that
  // gRPC takes and its service refuses is within the limit of a connection; who sends such again and again is cut.
  static constexpr int64_t kCallBytes = 96 << 10;
  // That a client may send between two checks for what it takes, beside a sixteenth of that.
  static constexpr int64_t kTakenCredit = 16 << 10;

  using Traffic = std::function<std::vector<ConnectionTraffic>()>;
  using Calls = std::function<std::vector<ConnectionCalls>()>;
  // Cuts the connection of this peer; false if there is none, or it has been cut already.
  using Cut = std::function<bool(const SocketAddress& peer)>;

  // `calls` is asked only if there is somebody to suspect.
  FloodLimit(const FloodBytes& max, Traffic traffic, Calls calls, Cut cut);

  void Check();

 private:
  struct Account {
    int64_t received = 0, taken = 0;  // at the last look
    int64_t calls = 0;                // when it was last a suspect
    int64_t beyond = 0;               // sent beyond what it took and its calls
    int64_t unheard = 0;              // sent since no call was unheard of
    bool seen = false;                // in this check
    bool cut = false;
  };

  int64_t Sum() const;
  std::vector<ConnectionTraffic> Suspects(const std::vector<ConnectionTraffic>& all) const;
  void Grant(const std::vector<ConnectionTraffic>& suspects);
  void CutFloods(const std::vector<ConnectionTraffic>& all);
  void CutUnheard(const std::vector<ConnectionTraffic>& all);
  void LookAtUnheard(const std::vector<ConnectionTraffic>& all, int64_t parts);
  std::vector<ConnectionTraffic> UnheardSuspects(const std::vector<ConnectionTraffic>& all, int64_t parts) const;
  int64_t UnheardSum() const;
  void CutOff(const ConnectionTraffic& connection, const std::string& why);

  // Constant after construction.
  const FloodBytes max_;
  const Traffic traffic_;
  const Calls calls_;
  const Cut cut_;

  absl::flat_hash_map<uint64_t, Account> accounts_;
  LineBudget lines_;
};

}  // namespace denoised

#endif  // DENOISED_SERVER_TRANSPORT_FLOOD_LIMIT_H_
