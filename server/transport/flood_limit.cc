#include "server/transport/flood_limit.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

namespace denoised {

FloodLimit::FloodLimit(int64_t max_bytes, Traffic traffic, Calls calls, Cut cut)
    : max_bytes_(max_bytes), traffic_(std::move(traffic)), calls_(std::move(calls)), cut_(std::move(cut)) {}

void FloodLimit::Check() {
  for (auto& [id, account] : accounts_) account.seen = false;
  std::vector<ConnectionTraffic> suspects;
  for (const ConnectionTraffic& now : traffic_()) {
    Account& account = accounts_[now.id];
    const int64_t more = (now.received - account.received) - (now.taken - account.taken);
    account.received = now.received;
    account.taken = now.taken;
    account.beyond = std::max<int64_t>(account.beyond + more, 0);
    account.seen = true;
    if (account.beyond > max_bytes_) suspects.push_back(now);
  }
  absl::erase_if(accounts_, [](const auto& entry) { return !entry.second.seen; });
  if (suspects.empty()) return;
  Grant(suspects);
  for (const ConnectionTraffic& suspect : suspects) {
    if (accounts_[suspect.id].beyond <= max_bytes_ || !cut_(suspect.peer)) continue;
    spdlog::warn("the connection of {} is cut after {} bytes: it sends other things than calls",
                 AddressText(suspect.peer), suspect.received);
  }
}

// Takes off what their new calls may have brought.
void FloodLimit::Grant(const std::vector<ConnectionTraffic>& suspects) {
  const std::vector<ConnectionCalls> connections = calls_();
  for (const ConnectionTraffic& suspect : suspects) {
    const auto found = std::find_if(connections.begin(), connections.end(), [&suspect](const ConnectionCalls& calls) {
      return SameEnd(calls.peer, suspect.peer);
    });
    if (found == connections.end()) continue;
    Account& account = accounts_[suspect.id];
    const int64_t calls = found->started - std::exchange(account.calls, found->started);
    account.beyond = std::max<int64_t>(account.beyond - calls * kCallBytes, 0);
  }
}

}  // namespace denoised
