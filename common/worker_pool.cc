#include "common/worker_pool.h"

namespace denoised {

WorkerPool::WorkerPool(int workers) {
  for (int i = 1; i < workers; ++i) threads_.emplace_back([this, i] { Loop(i); });
}

WorkerPool::~WorkerPool() {
  {
    const absl::MutexLock lock(&mu_);
    stopping_ = true;
  }
  for (std::thread& thread : threads_) thread.join();
}

void WorkerPool::Run(int used, const std::function<void(int)>& work) {
  if (used > 1) {
    const absl::MutexLock lock(&mu_);
    work_ = &work;
    used_ = used;
    running_ = used - 1;
    ++round_;
  }
  work(0);
  if (used > 1) {
    const absl::MutexLock lock(&mu_);
    mu_.Await(absl::Condition(
        +[](int* running) { return *running == 0; }, &running_));
  }
}

void WorkerPool::Loop(int worker) {
  int64_t seen = 0;
  const auto called = [this, &seen]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return stopping_ || round_ != seen; };
  while (true) {
    const std::function<void(int)>* work = nullptr;
    {
      const absl::MutexLock lock(&mu_);
      mu_.Await(absl::Condition(&called));
      if (stopping_) return;
      seen = round_;
      if (worker < used_) work = work_;
    }
    if (work == nullptr) continue;
    (*work)(worker);
    const absl::MutexLock lock(&mu_);
    --running_;
  }
}

}  // namespace denoised
