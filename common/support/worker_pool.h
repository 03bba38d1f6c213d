// File: worker_pool.h
//
// Runs one function on several threads at once and waits for all of them:
//
//   WorkerPool pool(2);
//   pool.Run(2, [&](int worker) { results[worker] = Work(worker); });
//
// Worker 0 is the calling thread; the others are threads of the pool that live as long as it does, because LibTorch's
// caches and settings are per thread. Everyone who waits watches for a moment before going to sleep: the steps of a
// chain follow one another within less time than waking up takes. Not thread-safe: one Run at a time.
#ifndef DENOISED_COMMON_SUPPORT_WORKER_POOL_H_
#define DENOISED_COMMON_SUPPORT_WORKER_POOL_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

namespace denoised {

class WorkerPool {
 public:
  // `workers` at least 1, the calling thread counted. Throws std::system_error if there are not so many threads to be
  // had.
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
  void Stop();

  // A round's number, and below it how many workers it uses: one word, so that a worker that is not needed and wakes
  // late never reads half of the next round.
  static constexpr uint64_t kOneRound = 1 << 16;
  std::atomic<uint64_t> round_ = 0;
  std::atomic<int> running_ = 0;                    // pool threads still at work in this round
  std::atomic<bool> stopping_ = false;              // set before the last round
  const std::function<void(int)>* work_ = nullptr;  // of the round; written before it, read by its workers only

  std::vector<std::thread> threads_;  // NOTE: last, so that the state above exists before them
};

}  // namespace denoised

#endif  // DENOISED_COMMON_SUPPORT_WORKER_POOL_H_
