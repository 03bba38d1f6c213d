// File: turn_queue.h
//
// Images in the order of their turns, and how much work lies before any turn.
//
//   TurnQueue<Request*> waiting;
//   waiting.Add(turn, request, {.images = 4, .row_steps = 4000});   // a round of four images
//   waiting.Take(turn, {.images = 1, .row_steps = 1000});           // one of them has begun
//   waiting.front()->item;                                          // whose turn is the earliest
//   waiting.Before(later).row_steps;                                // what is ahead of that turn
//
// Entries lie sorted in blocks, each with its sum. With n entries each operation costs two binary searches, a move of
// at most kBlock entries, and for sums a look at n / kBlock numbers: under two microseconds at 100,000 entries. Not
// thread-safe.
#ifndef DENOISED_SERVER_SCHEDULER_TURN_QUEUE_H_
#define DENOISED_SERVER_SCHEDULER_TURN_QUEUE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "server/scheduler/turn.h"

namespace denoised {

struct Work {
  int64_t images = 0;
  int64_t row_steps = 0;  // network rows, each step counted

  Work& operator+=(const Work& other) {
    images += other.images;
    row_steps += other.row_steps;
    return *this;
  }
  Work& operator-=(const Work& other) {
    images -= other.images;
    row_steps -= other.row_steps;
    return *this;
  }
};

template <typename Item>
class TurnQueue {
 public:
  struct Entry {
    Turn turn;
    Item item{};
    Work work;  // at least one image
  };

  bool empty() const { return blocks_.empty(); }
  const Work& total() const { return total_; }

  // The entry with the earliest turn; null if there is none.
  const Entry* front() const { return blocks_.empty() ? nullptr : &blocks_.front().entries.front(); }

  // No two entries have the same turn.
  void Add(const Turn& turn, Item item, const Work& work) {
    if (blocks_.empty()) blocks_.emplace_back();
    Block& block = blocks_[std::min(BlockOf(turn), blocks_.size() - 1)];
    block.entries.insert(PlaceIn(block, turn), {.turn = turn, .item = item, .work = work});
    block.sum += work;
    total_ += work;
    if (block.entries.size() > kBlock) Split(static_cast<size_t>(&block - blocks_.data()));
  }

  // Takes work out of the entry with this turn, which goes with its last image. False if there is no such entry.
  bool Take(const Turn& turn, const Work& work) {
    const size_t index = BlockOf(turn);
    if (index == blocks_.size()) return false;
    Block& block = blocks_[index];
    const auto entry = PlaceIn(block, turn);
    if (turn < entry->turn) return false;
    entry->work -= work;
    block.sum -= work;
    total_ -= work;
    if (entry->work.images == 0) block.entries.erase(entry);
    if (block.entries.empty()) blocks_.erase(blocks_.begin() + static_cast<ptrdiff_t>(index));
    return true;
  }

  // Of all entries with earlier turns.
  Work Before(const Turn& turn) const {
    Work sum;
    const size_t index = BlockOf(turn);
    for (size_t i = 0; i < index; ++i) sum += blocks_[i].sum;
    if (index == blocks_.size()) return sum;
    for (const Entry& entry : blocks_[index].entries) {
      if (!(entry.turn < turn)) break;
      sum += entry.work;
    }
    return sum;
  }

  // Of the first so many images, at most total().images.
  int64_t RowStepsOfFirst(int64_t images) const {
    Work sum;
    for (const Block& block : blocks_) {
      if (sum.images + block.sum.images < images) {
        sum += block.sum;
        continue;
      }
      for (const Entry& entry : block.entries) {
        if (sum.images + entry.work.images >= images) {
          return sum.row_steps + entry.work.row_steps * (images - sum.images) / entry.work.images;
        }
        sum += entry.work;
      }
    }
    return sum.row_steps;
  }

  template <typename Function>
  void ForEach(Function function) const {
    for (const Block& block : blocks_) {
      for (const Entry& entry : block.entries) function(entry);
    }
  }

 private:
  static constexpr size_t kBlock = 256;

  struct Block {
    std::vector<Entry> entries;  // by turn, never empty
    Work sum;
  };

  // The first block whose last turn is not before this one; the number of blocks if there is none.
  size_t BlockOf(const Turn& turn) const {
    const auto block = std::partition_point(blocks_.begin(), blocks_.end(), [&](const Block& b) {
      return !b.entries.empty() && b.entries.back().turn < turn;
    });
    return static_cast<size_t>(block - blocks_.begin());
  }

  static typename std::vector<Entry>::iterator PlaceIn(Block& block, const Turn& turn) {
    return std::partition_point(block.entries.begin(), block.entries.end(),
                                [&](const Entry& entry) { return entry.turn < turn; });
  }

  void Split(size_t index) {
    Block upper;
    std::vector<Entry>& entries = blocks_[index].entries;
    const auto middle = entries.begin() + static_cast<ptrdiff_t>(entries.size() / 2);
    upper.entries.assign(middle, entries.end());
    entries.erase(middle, entries.end());
    for (const Entry& entry : upper.entries) upper.sum += entry.work;
    blocks_[index].sum -= upper.sum;
    blocks_.insert(blocks_.begin() + static_cast<ptrdiff_t>(index) + 1, std::move(upper));
  }

  std::vector<Block> blocks_;
  Work total_;
};

}  // namespace denoised

#endif  // DENOISED_SERVER_SCHEDULER_TURN_QUEUE_H_
