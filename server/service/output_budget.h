// File: output_budget.h
//
// How many bytes wait for readers, over all streams, and how many could.
//
//   OutputBudget output(128 << 20);
//   if (output.TryTake(frame_bytes)) ...            // and later output.Return(frame_bytes)
//   OutputRoom room = output.Reserve(most_bytes);   // of a request's images: none if they could be too many
//
// Previews stop at the limit, because they may be left out. Finished images count, but are never refused: it is their
// requests that are, if what the images of all requests take at worst would go beyond the limit, or kLeastForImages
// where that is more. 272 places for pictures of 1024 pixels that are all noise could else take 550 MiB. One request is
// admitted whatever it takes. So there is never more than twice the limit.
//
// Thread-safe.
#ifndef DENOISED_SERVER_SERVICE_OUTPUT_BUDGET_H_
#define DENOISED_SERVER_SERVICE_OUTPUT_BUDGET_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <utility>

namespace denoised {

class OutputBudget;

// Room for the images of a request, given back at its end. Empty where there was none.
class OutputRoom {
 public:
  OutputRoom() = default;
  OutputRoom(OutputBudget* budget, int64_t bytes) : budget_(budget), bytes_(bytes) {}
  OutputRoom(OutputRoom&& other) noexcept : budget_(std::exchange(other.budget_, nullptr)), bytes_(other.bytes_) {}
  OutputRoom& operator=(OutputRoom&& other) noexcept {
    std::swap(budget_, other.budget_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~OutputRoom();

  explicit operator bool() const { return budget_ != nullptr; }

 private:
  OutputBudget* budget_ = nullptr;
  int64_t bytes_ = 0;
};

class OutputBudget {
 public:
  // So that a small limit, which is one of previews, lets some requests in.
  static constexpr int64_t kLeastForImages = 32 << 20;

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

  // Room for what a request's images take at worst, more than 0.
  OutputRoom Reserve(int64_t bytes) {
    const int64_t before = reserved_.fetch_add(bytes);
    if (before == 0 || before + bytes <= limit_for_images()) return {this, bytes};
    reserved_ -= bytes;
    return {};
  }
  int64_t reserved() const { return reserved_; }
  int64_t limit_for_images() const { return std::max(limit_, kLeastForImages); }

 private:
  friend class OutputRoom;

  const int64_t limit_;
  std::atomic<int64_t> taken_ = 0;
  std::atomic<int64_t> reserved_ = 0;
};

inline OutputRoom::~OutputRoom() {
  if (budget_ != nullptr) budget_->reserved_ -= bytes_;
}

}  // namespace denoised

#endif  // DENOISED_SERVER_SERVICE_OUTPUT_BUDGET_H_
