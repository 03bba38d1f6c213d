// File: line_budget.h
//
// How many lines of one kind strangers can have the log write: ten in ten seconds, and those left out are counted.
//
//   LineBudget budget;
//   if (const std::optional<int64_t> left_out = budget.Take(LineBudget::Clock::now())) {
//     spdlog::warn("a handshake failed; {} more were not logged", *left_out);
//   }
//
// Thread-safe.
#ifndef DENOISED_SERVER_TELEMETRY_LINE_BUDGET_H_
#define DENOISED_SERVER_TELEMETRY_LINE_BUDGET_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace denoised {

class LineBudget {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr int kLines = 10;
  static constexpr std::chrono::seconds kPeriod{10};

  // Nothing if there may be no line now; else how many there could not be since the last one.
  std::optional<int64_t> Take(Clock::time_point now) ABSL_LOCKS_EXCLUDED(mu_) {
    const absl::MutexLock lock(&mu_);
    if (now >= end_) {
      end_ = now + kPeriod;
      lines_ = 0;
    }
    if (lines_ == kLines) {
      ++left_out_;
      return std::nullopt;
    }
    ++lines_;
    return std::exchange(left_out_, 0);
  }

 private:
  absl::Mutex mu_;
  Clock::time_point end_ ABSL_GUARDED_BY(mu_){};  // of the period in which the lines are counted
  int lines_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t left_out_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace denoised

#endif  // DENOISED_SERVER_TELEMETRY_LINE_BUDGET_H_
