// File: clock.h
//
// Durations as numbers of seconds and as people write them, for figures, logs and messages.
//
//   const auto start = std::chrono::steady_clock::now();
//   ...
//   const double rate = images / SecondsSince(start);
//
// No errors. Thread-safe.
#ifndef DENOISED_COMMON_SUPPORT_CLOCK_H_
#define DENOISED_COMMON_SUPPORT_CLOCK_H_

#include <chrono>
#include <string>

namespace denoised {

inline double Seconds(std::chrono::nanoseconds duration) { return std::chrono::duration<double>(duration).count(); }

inline double SecondsSince(std::chrono::steady_clock::time_point start) {
  return Seconds(std::chrono::steady_clock::now() - start);
}

// The inverse of Seconds; a part of a nanosecond is dropped.
inline std::chrono::nanoseconds Nanoseconds(double seconds) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::duration<double>(seconds));
}

// "42 s", "34 min" or "2 h 05 min".
std::string FormatDuration(double seconds);

// "less than 1 ms", "80 ms", "0.35 s", "12 s", "3 min", "1 h 05 min".
std::string DurationText(std::chrono::nanoseconds duration);

}  // namespace denoised

#endif  // DENOISED_COMMON_SUPPORT_CLOCK_H_
