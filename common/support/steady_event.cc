#include "common/support/steady_event.h"

#include <algorithm>

namespace denoised {
namespace {

// Longer ones would overflow when they are added to now.
constexpr std::chrono::hours kLongest(24 * 365);

}  // namespace

// NOTE: waiters are told with the lock held, as whoever sees the event may destroy it.
void SteadyEvent::Set() {
  const std::lock_guard lock(mu_);
  set_ = true;
  changed_.notify_all();
}

void SteadyEvent::Clear() {
  const std::lock_guard lock(mu_);
  set_ = false;
}

bool SteadyEvent::is_set() const {
  const std::lock_guard lock(mu_);
  return set_;
}

void SteadyEvent::Wait() const {
  std::unique_lock lock(mu_);
  changed_.wait(lock, [this] { return set_; });
}

bool SteadyEvent::WaitFor(std::chrono::nanoseconds timeout) const {
  std::unique_lock lock(mu_);
  return changed_.wait_for(lock, std::min<std::chrono::nanoseconds>(timeout, kLongest), [this] { return set_; });
}

}  // namespace denoised
