#include "common/support/low_priority.h"

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>

#include <algorithm>
#include <exception>
#include <system_error>
#include <thread>

namespace denoised {
namespace {

constexpr int kNice = 10;

// On Linux both are a thread's own. Where they are refused, the work is done at the usual priority.
void LowerThisThread() {
  const sched_param parameters{};
  pthread_setschedparam(pthread_self(), SCHED_BATCH, &parameters);
  setpriority(PRIO_PROCESS, 0, std::max(kNice, getpriority(PRIO_PROCESS, 0)));
}

}  // namespace

void RunAtLowPriority(const std::function<void()>& work) {
  std::exception_ptr thrown;
  const auto lowly = [&] {
    pthread_setname_np(pthread_self(), "background");
    LowerThisThread();
    try {
      work();
    } catch (...) {
      thrown = std::current_exception();
    }
  };
  std::thread thread;
  try {
    thread = std::thread(lowly);
  } catch (const std::system_error&) {
    return work();
  }
  thread.join();
  if (thrown != nullptr) std::rethrow_exception(thrown);
}

}  // namespace denoised
