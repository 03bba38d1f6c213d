// File: worker_pool.h
//
// Runs one function on several threads at once and waits for all of them:
//
//   WorkerPool pool(2);
//   pool.Run(2, [&](int worker) { results[worker] = Work(worker); });
//
// Worker 0 is the calling thread; the others are threads of the pool that live as long as it does, because LibTorch's
// caches and settings are per thread. Not thread-safe: one Run at a time.
#ifndef DENOISED_COMMON_WORKER_POOL_H_
#define DENOISED_COMMON_WORKER_POOL_H_

#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace denoised {

class WorkerPool {
 public:
  // `workers` at least 1, the calling thread counted.
  explicit WorkerPool(int workers);
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  int size() const { return static_cast<int>(threads_.size()) + 1; }

  // Calls work(0) .. work(used-1), 1 <= used <= size(), each on its own worker; returns when all have returned. `work`
  // must not throw.
  void Run(int used, const std::function<void(int)>& work);

 private:
  void Loop(int worker);

  absl::Mutex mu_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  int64_t round_ ABSL_GUARDED_BY(mu_) = 0;
  int used_ ABSL_GUARDED_BY(mu_) = 0;
  int running_ ABSL_GUARDED_BY(mu_) = 0;
  const std::function<void(int)>* work_ ABSL_GUARDED_BY(mu_) = nullptr;

  std::vector<std::thread> threads_;  // NOTE: last, so that the state above exists before them
};

}  // namespace denoised

#endif  // DENOISED_COMMON_WORKER_POOL_H_
