// File: call_limit.h
//
// Bounds how many calls are open over all connections. Services bound those that they hear of; but a call of which only
// headers come is never heard of, has no end of its own and takes a dozen kilobytes.
//
//   const CallLimit limit(10'000, [&](const SocketAddress& peer) { return listener.Cut(peer); });
//
// Twenty times a second the calls are counted, and if there are more, the connections with the most are cut until there
// are not, with a warning that names the first ones. Their clients see UNAVAILABLE: gRPC has no way to refuse a call of
// which no service has heard. Connections of Unix sockets have no address by which they could be told apart, and are
// not counted.
//
// Thread-safe.
#ifndef DENOISED_SERVER_TRANSPORT_CALL_LIMIT_H_
#define DENOISED_SERVER_TRANSPORT_CALL_LIMIT_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>

#include "common/support/periodic_task.h"
#include "server/telemetry/line_budget.h"
#include "server/transport/listen_address.h"

namespace denoised {

class CallLimit {
 public:
  // Cuts the connection of this peer; false if there is none.
  using Cut = std::function<bool(const SocketAddress& peer)>;

  CallLimit(int64_t max_calls, Cut cut);

 private:
  using Clock = std::chrono::steady_clock;

  void Check();

  // Constant after construction.
  const int64_t max_calls_;
  const Cut cut_;

  // Of the task's thread alone.
  int64_t started_ = 0;  // when they were last counted
  int64_t open_ = 0;     // then
  // The allocator keeps what so many small pieces took, if it is not told to let go.
  std::optional<Clock::time_point> return_memory_at_;
  LineBudget lines_;

  PeriodicTask task_;  // NOTE: last, it uses the others
};

}  // namespace denoised

#endif  // DENOISED_SERVER_TRANSPORT_CALL_LIMIT_H_
