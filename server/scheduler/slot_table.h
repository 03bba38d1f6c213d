// File: slot_table.h
//
// Hands out an engine's slots. A handle carries the generation of its loan, so that a stale handle can neither free a
// slot twice nor reach another request's image:
//
//   SlotTable slots(16);
//   std::optional<SlotHandle> handle = slots.Acquire();
//   slots.Release(*handle);   // true
//   slots.Release(*handle);   // false: this loan is over
//
// Not thread-safe.
#ifndef DENOISED_SERVER_SCHEDULER_SLOT_TABLE_H_
#define DENOISED_SERVER_SCHEDULER_SLOT_TABLE_H_

#include <cstdint>
#include <optional>
#include <vector>

namespace denoised {

struct SlotHandle {
  int index = 0;
  uint64_t generation = 0;

  friend bool operator==(const SlotHandle&, const SlotHandle&) = default;
};

class SlotTable {
 public:
  explicit SlotTable(int size) : slots_(size) {
    for (int i = size; i-- > 0;) free_.push_back(i);
  }

  int size() const { return static_cast<int>(slots_.size()); }
  int free() const { return static_cast<int>(free_.size()); }

  // The free slot that was used last, whose memory is warm; nothing when all are out.
  std::optional<SlotHandle> Acquire() {
    if (free_.empty()) return std::nullopt;
    const int index = free_.back();
    free_.pop_back();
    slots_[index].held = true;
    return SlotHandle{index, ++slots_[index].generation};
  }

  bool IsCurrent(const SlotHandle& handle) const {
    return handle.index >= 0 && handle.index < size() && slots_[handle.index].held &&
           slots_[handle.index].generation == handle.generation;
  }

  // False, and nothing happens, unless the handle's loan is still running.
  bool Release(const SlotHandle& handle) {
    if (!IsCurrent(handle)) return false;
    slots_[handle.index].held = false;
    free_.push_back(handle.index);
    return true;
  }

 private:
  struct Slot {
    uint64_t generation = 0;
    bool held = false;
  };

  std::vector<Slot> slots_;
  std::vector<int> free_;
};

}  // namespace denoised

#endif  // DENOISED_SERVER_SCHEDULER_SLOT_TABLE_H_
