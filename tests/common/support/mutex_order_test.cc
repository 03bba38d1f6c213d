// cmake/absl_mutex_order.cc: no Abseil takes a program's life for the order of its locks.
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <new>

#include "absl/synchronization/mutex.h"

namespace denoised {
namespace {

// What short-lived objects do to the heap: one mutex after another at the same two addresses, locked in either order.
void LockInBothOrders() {
  struct alignas(absl::Mutex) Place {
    std::array<std::byte, sizeof(absl::Mutex)> bytes;
  };
  std::array<Place, 2> places = {};
  for (const size_t first : {0, 1, 0, 1}) {
    auto* const outer = new (&places[first]) absl::Mutex;
    auto* const inner = new (&places[1 - first]) absl::Mutex;
    {
      const absl::MutexLock outer_lock(outer);
      const absl::MutexLock inner_lock(inner);
    }
    inner->~Mutex();
    outer->~Mutex();
  }
}

TEST(MutexOrderTest, MutexesAtTheAddressesOfOthersMayBeLockedTheOtherWayRound) {
  const auto lock_and_end = [] {
    LockInBothOrders();
    std::exit(0);
  };
  EXPECT_EXIT(lock_and_end(), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace denoised
