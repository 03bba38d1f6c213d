// File: clock.h
//
// Durations as numbers of seconds, for figures, logs and messages.
//
//   const auto start = std::chrono::steady_clock::now();
//   ...
//   const double rate = images / SecondsSince(start);
//
// No errors. Thread-safe.
#ifndef DENOISED_COMMON_SUPPORT_CLOCK_H_
#define DENOISED_COMMON_SUPPORT_CLOCK_H_

#include <chrono>

namespace denoised {

inline double Seconds(std::chrono::nanoseconds duration) { return std::chrono::duration<double>(duration).count(); }

inline double SecondsSince(std::chrono::steady_clock::time_point start) {
  return Seconds(std::chrono::steady_clock::now() - start);
}

// The inverse of Seconds; a part of a nanosecond is dropped.
inline std::chrono::nanoseconds Nanoseconds(double seconds) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::duration<double>(seconds));
}

}  // namespace denoised

#endif  // DENOISED_COMMON_SUPPORT_CLOCK_H_
