// File: steady_event.h
//
// Something that happens once, or until it is cleared, and can be waited for.
//
//   SteadyEvent stop;
//   while (!stop.WaitFor(std::chrono::seconds(1))) Probe();   // one thread
//   stop.Set();                                               // another
//
// Waits end by the steady clock. Those of Abseil before its version 20230802 end by the time of day: with a clock that
// is set back by an hour, as at the first word of a time server, they take an hour longer.
//
// Thread-safe.
#ifndef DENOISED_COMMON_SUPPORT_STEADY_EVENT_H_
#define DENOISED_COMMON_SUPPORT_STEADY_EVENT_H_

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace denoised {

class SteadyEvent {
 public:
  void Set();
  void Clear();
  bool is_set() const;

  void Wait() const;
  // Whether it is set, by then at the latest.
  bool WaitFor(std::chrono::nanoseconds timeout) const;

 private:
  mutable std::mutex mu_;
  mutable std::condition_variable changed_;
  bool set_ = false;  // guarded by mu_
};

}  // namespace denoised

#endif  // DENOISED_COMMON_SUPPORT_STEADY_EVENT_H_
