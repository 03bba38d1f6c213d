#include "common/support/periodic_task.h"

#include <utility>

namespace denoised {

PeriodicTask::PeriodicTask(std::chrono::nanoseconds period, std::function<void()> work)
    : period_(period), work_(std::move(work)), thread_([this] {
        while (!ended_.WaitFor(period_)) work_();
      }) {}

PeriodicTask::~PeriodicTask() {
  ended_.Set();
  thread_.join();
}

}  // namespace denoised
