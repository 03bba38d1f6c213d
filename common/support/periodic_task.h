// File: periodic_task.h
//
// Does something now and then, on a thread of its own.
//
//   const PeriodicTask task(std::chrono::seconds(1), [&] { certificates.Refresh(); });
//
// Thread-safe.
#ifndef DENOISED_COMMON_SUPPORT_PERIODIC_TASK_H_
#define DENOISED_COMMON_SUPPORT_PERIODIC_TASK_H_

#include <chrono>
#include <functional>
#include <thread>

#include "common/support/steady_event.h"

namespace denoised {

class PeriodicTask {
 public:
  // `work` is called for the first time after `period`, and again so long after each return. It must not throw, nor
  // destroy its own task.
  PeriodicTask(std::chrono::nanoseconds period, std::function<void()> work);
  // Waits for a call that runs.
  ~PeriodicTask();
  PeriodicTask(const PeriodicTask&) = delete;
  PeriodicTask& operator=(const PeriodicTask&) = delete;

 private:
  // Constant after construction.
  const std::chrono::nanoseconds period_;
  const std::function<void()> work_;

  SteadyEvent ended_;
  std::thread thread_;  // NOTE: last, it uses the others
};

}  // namespace denoised

#endif  // DENOISED_COMMON_SUPPORT_PERIODIC_TASK_H_
