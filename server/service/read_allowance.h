// File: read_allowance.h
//
// How long a call waits for its reader, all its writes together. A limit for each write alone would let a client hold
// its places for nearly that long again and again, by reading one event each time.
//
//   ReadAllowance allowance({.grace = std::chrono::seconds(30), .bytes_per_second = 16384});
//   const SteadyTime until = allowance.BeginWrite(now, bytes);   // after which the reader is too slow
//   ...
//   allowance.EndWrite(now);
//
// Waiting is paid from an account that holds at most `grace`, and each write pays in what it may take at the least
// rate. So a reader may pause for `grace` once it has read at that rate for a while, and below that rate it uses it up.
//
// Thread-compatible; knows no clock.
#ifndef DENOISED_SERVER_SERVICE_READ_ALLOWANCE_H_
#define DENOISED_SERVER_SERVICE_READ_ALLOWANCE_H_

#include <algorithm>
#include <chrono>
#include <cstddef>

#include "common/support/clock.h"

namespace denoised {

struct ReadLimits {
  std::chrono::nanoseconds grace = std::chrono::seconds(30);
  double bytes_per_second = 16 << 10;
};

class ReadAllowance {
 public:
  using Time = std::chrono::steady_clock::time_point;

  explicit ReadAllowance(const ReadLimits& limits) : limits_(limits), left_(limits.grace) {}

  Time BeginWrite(Time now, size_t bytes) {
    begun_ = now;
    left_ += kRoundTrip + Nanoseconds(static_cast<double>(bytes) / limits_.bytes_per_second);
    return now + left_;
  }

  void EndWrite(Time now) { left_ = std::min(left_ - (now - begun_), limits_.grace); }

 private:
  // What any write may take: nobody is slow for being far away, nor because this machine is busy.
  static constexpr std::chrono::nanoseconds kRoundTrip = std::chrono::milliseconds(250);

  ReadLimits limits_;
  std::chrono::nanoseconds left_;
  Time begun_;
};

}  // namespace denoised

#endif  // DENOISED_SERVER_SERVICE_READ_ALLOWANCE_H_
