// File: output_budget.h
//
// How many bytes wait for readers, over all streams. Previews stop at a limit, because they may be left out; finished
// images count, but are never refused: they are bounded by the places of the scheduler.
//
//   OutputBudget output(128 << 20);
//   if (output.TryTake(frame_bytes)) ...   // and later output.Return(frame_bytes)
//
// Thread-safe.
#ifndef DENOISED_SERVER_SERVICE_OUTPUT_BUDGET_H_
#define DENOISED_SERVER_SERVICE_OUTPUT_BUDGET_H_

#include <atomic>
#include <cstdint>

namespace denoised {

class OutputBudget {
 public:
  explicit OutputBudget(int64_t limit) : limit_(limit) {}

  bool TryTake(int64_t bytes) {
    if (taken_.fetch_add(bytes) + bytes <= limit_) return true;
    Return(bytes);
    return false;
  }
  void Take(int64_t bytes) { taken_ += bytes; }
  void Return(int64_t bytes) { taken_ -= bytes; }

  bool full() const { return taken_ >= limit_; }
  int64_t taken() const { return taken_; }

 private:
  const int64_t limit_;
  std::atomic<int64_t> taken_ = 0;
};

}  // namespace denoised

#endif  // DENOISED_SERVER_SERVICE_OUTPUT_BUDGET_H_
