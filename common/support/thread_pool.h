// File: thread_pool.h
//
// Threads for work that must not run on gRPC's callback threads, such as PNG encoding.
//
//   ThreadPool pool({.threads = 2});
//   pool.Add([] { ... });
//   pool.Add([] { ... }, ThreadPool::Priority::kHigh);   // before those that have not been started
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
  enum class Priority { kNormal, kHigh };

  struct Options {
    int threads = 1;
    int niceness = 0;  // added to the process's own: such threads yield to others when all cores are taken
  };
  // Throws std::system_error if there are not so many threads to be had.
  explicit ThreadPool(const Options& options);
  // Runs what has been added, then joins.
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // `task` must not throw. Tasks of one priority start in the order of Add.
  void Add(std::function<void()> task, Priority priority = Priority::kNormal);

 private:
  void Loop();
  void Stop();
  std::function<void()> Next() ABSL_LOCKS_EXCLUDED(mu_);

  absl::Mutex mu_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::deque<std::function<void()>> urgent_ ABSL_GUARDED_BY(mu_);
  std::deque<std::function<void()>> tasks_ ABSL_GUARDED_BY(mu_);

  std::vector<std::thread> threads_;  // NOTE: last, so that the state above exists before them
};

}  // namespace denoised

#endif  // DENOISED_COMMON_SUPPORT_THREAD_POOL_H_
