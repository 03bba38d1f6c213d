// File: signal_queue.h
//
// Signals such as SIGTERM as values to wait for.
//
//   SignalQueue signals({SIGINT, SIGTERM});
//   const int signal = signals.Wait();
//
// Handlers rather than blocked signals: libraries start threads before main does, and a signal that main's threads
// block would end the process through one of those.
//
// One object in a process at a time. Its methods are for one thread.
#ifndef DENOISED_COMMON_SUPPORT_SIGNAL_QUEUE_H_
#define DENOISED_COMMON_SUPPORT_SIGNAL_QUEUE_H_

#include <chrono>
#include <initializer_list>
#include <optional>
#include <vector>

namespace denoised {

class SignalQueue {
 public:
  // From here on, these signals are queued and do nothing else.
  SignalQueue(std::initializer_list<int> signals);
  // Gives the signals their default effects back.
  ~SignalQueue();
  SignalQueue(const SignalQueue&) = delete;
  SignalQueue& operator=(const SignalQueue&) = delete;

  // Once so many SIGINTs and SIGTERMs have come, counted from the construction of this object, one more ends the
  // process at once, whatever it is doing, with a line on stderr and 128 and the signal's number as its exit status:
  // the answer to whoever asks again, which no thread that hangs can delay.
  void EndAtOnceAfter(int stops);

  // The next signal, as soon as there is one.
  int Wait();
  // The next signal if there is one by then.
  std::optional<int> WaitFor(std::chrono::milliseconds timeout);

 private:
  const std::vector<int> signals_;
};

}  // namespace denoised

#endif  // DENOISED_COMMON_SUPPORT_SIGNAL_QUEUE_H_
