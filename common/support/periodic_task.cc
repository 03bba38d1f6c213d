#include "common/support/periodic_task.h"

#include <utility>

#include "absl/time/time.h"

namespace denoised {

PeriodicTask::PeriodicTask(std::chrono::nanoseconds period, std::function<void()> work)
    : period_(period), work_(std::move(work)), thread_([this] {
        while (!Ended()) work_();
      }) {}

PeriodicTask::~PeriodicTask() {
  {
    const absl::MutexLock lock(&mu_);
    ended_ = true;
  }
  thread_.join();
}

bool PeriodicTask::Ended() {
  const absl::MutexLock lock(&mu_);
  return mu_.AwaitWithTimeout(absl::Condition(&ended_), absl::FromChrono(period_));
}

}  // namespace denoised
