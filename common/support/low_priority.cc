#include "common/support/low_priority.h"

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>

#include <thread>

namespace denoised {
namespace {

constexpr int kNice = 10;

// On Linux both are a thread's own. Where they are refused, the work is done at the usual priority.
void LowerThisThread() {
  const sched_param parameters{};
  pthread_setschedparam(pthread_self(), SCHED_BATCH, &parameters);
  setpriority(PRIO_PROCESS, 0, kNice);
}

}  // namespace

void RunAtLowPriority(const std::function<void()>& work) {
  std::thread([&work] {
    pthread_setname_np(pthread_self(), "background");
    LowerThisThread();
    work();
  }).join();
}

}  // namespace denoised
