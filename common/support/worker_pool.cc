#include "common/support/worker_pool.h"

#include <pthread.h>

#include <chrono>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace denoised {
namespace {

// Returns when `value` is no longer `old`.
template <typename T>
void AwaitChange(const std::atomic<T>& value, T old) {
  constexpr std::chrono::microseconds kWatch(100);
  const auto sleep_at = std::chrono::steady_clock::now() + kWatch;
  do {
    for (int i = 0; i < 64; ++i) {
      if (value.load(std::memory_order_acquire) != old) return;
    }
  } while (std::chrono::steady_clock::now() < sleep_at);
  value.wait(old, std::memory_order_acquire);
}

}  // namespace

WorkerPool::WorkerPool(int workers) {
  try {
    for (int i = 1; i < workers; ++i) threads_.emplace_back([this, i] { Loop(i); });
  } catch (const std::system_error& e) {
    const int had = size();
    Stop();
    throw std::system_error(e.code(), absl::StrCat("only ", had, " of ", workers,
                                                   " threads can be had: lower --threads, or raise the limit of "
                                                   "processes"));
  }
}

WorkerPool::~WorkerPool() { Stop(); }

void WorkerPool::Stop() {
  stopping_ = true;
  round_ += kOneRound;
  round_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void WorkerPool::Run(int used, const std::function<void(int)>& work) {
  if (used > 1) {
    work_ = &work;
    running_ = used - 1;
    round_ = (round_ / kOneRound + 1) * kOneRound + static_cast<uint64_t>(used);
    round_.notify_all();
  }
  work(0);
  if (used == 1) return;
  for (int running = running_; running > 0; running = running_) AwaitChange(running_, running);
}

void WorkerPool::Loop(int worker) {
  pthread_setname_np(pthread_self(), "worker");
  for (uint64_t seen = 0;;) {
    AwaitChange(round_, seen);
    seen = round_;
    if (stopping_) return;
    if (static_cast<uint64_t>(worker) >= seen % kOneRound) continue;
    (*work_)(worker);
    if (--running_ == 0) running_.notify_all();
  }
}

}  // namespace denoised
