// File: thread_pool.h
//
// Threads for work that must not run on gRPC's callback threads, such as PNG encoding.
//
//   ThreadPool pool(2);
//   pool.Add([] { ... });
//
// Thread-safe. The queue is not bounded: callers bound what they add.
#ifndef DENOISED_COMMON_SUPPORT_THREAD_POOL_H_
#define DENOISED_COMMON_SUPPORT_THREAD_POOL_H_

#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace denoised {

class ThreadPool {
 public:
  explicit ThreadPool(int threads);
  // Runs what has been added, then joins.
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // `task` must not throw. Tasks start in the order of Add.
  void Add(std::function<void()> task);

 private:
  void Loop();

  absl::Mutex mu_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::deque<std::function<void()>> tasks_ ABSL_GUARDED_BY(mu_);

  std::vector<std::thread> threads_;  // NOTE: last, so that the state above exists before them
};

}  // namespace denoised

#endif  // DENOISED_COMMON_SUPPORT_THREAD_POOL_H_
