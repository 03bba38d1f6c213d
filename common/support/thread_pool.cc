#include "common/support/thread_pool.h"

#include <unistd.h>

#include <system_error>
#include <utility>

namespace denoised {

ThreadPool::ThreadPool(const Options& options) {
  try {
    for (int i = 0; i < options.threads; ++i) {
      threads_.emplace_back([this, niceness = options.niceness] {
        // NOTE: of this thread alone, on Linux. Refused, it makes no difference but to the others' pace.
        if (niceness != 0) static_cast<void>(!nice(niceness));
        Loop();
      });
    }
  } catch (const std::system_error&) {
    Stop();
    throw;
  }
}

ThreadPool::~ThreadPool() { Stop(); }

void ThreadPool::Stop() {
  {
    const absl::MutexLock lock(&mu_);
    stopping_ = true;
  }
  for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::Add(std::function<void()> task, Priority priority) {
  const absl::MutexLock lock(&mu_);
  (priority == Priority::kHigh ? urgent_ : tasks_).push_back(std::move(task));
}

// Null when there is nothing left to do.
std::function<void()> ThreadPool::Next() {
  const auto wanted = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return stopping_ || !urgent_.empty() || !tasks_.empty();
  };
  const absl::MutexLock lock(&mu_);
  mu_.Await(absl::Condition(&wanted));
  std::deque<std::function<void()>>& queue = urgent_.empty() ? tasks_ : urgent_;
  if (queue.empty()) return nullptr;
  std::function<void()> task = std::move(queue.front());
  queue.pop_front();
  return task;
}

void ThreadPool::Loop() {
  while (const std::function<void()> task = Next()) task();
}

}  // namespace denoised
