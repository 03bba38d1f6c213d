// Turns absl::Mutex's watch over the order of locks off, in every program. Debian 13's Abseil is built with that watch,
// which must hear of every mutex that ends; of those in code compiled with NDEBUG it does not. It takes a new mutex for
// an old one at the same address, finds circles that there are not, and ends the process.
#include "absl/synchronization/mutex.h"

#ifdef NDEBUG
namespace {

[[maybe_unused]] const bool ignored = [] {
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  return true;
}();

}  // namespace
#endif
