#include "server/transport/flood_limit.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"

namespace denoised {

namespace {

std::vector<ConnectionCalls>::const_iterator FindPeer(const std::vector<ConnectionCalls>& connections,
                                                      const SocketAddress& peer) {
  return std::find_if(connections.begin(), connections.end(),
                      [&peer](const ConnectionCalls& calls) { return SameEnd(calls.peer, peer); });
}

}  // namespace

FloodLimit::FloodLimit(const FloodBytes& max, Traffic traffic, Calls calls, Cut cut)
    : max_(max), traffic_(std::move(traffic)), calls_(std::move(calls)), cut_(std::move(cut)) {}

void FloodLimit::Check() {
  for (auto& [id, account] : accounts_) account.seen = false;
  const std::vector<ConnectionTraffic> all = traffic_();
  for (const ConnectionTraffic& now : all) {
    Account& account = accounts_[now.id];
    const int64_t sent = now.received - std::exchange(account.received, now.received);
    const int64_t taken = now.taken - std::exchange(account.taken, now.taken);
    const int64_t credit = std::min(taken, kTakenCredit + taken / 16);
    account.beyond = std::max<int64_t>(account.beyond + sent - credit, 0);
    account.unheard += sent;
    account.seen = true;
  }
  absl::erase_if(accounts_, [](const auto& entry) { return !entry.second.seen; });
  CutFloods(all);
  CutUnheard(all);
}

void FloodLimit::CutFloods(const std::vector<ConnectionTraffic>& all) {
  std::vector<ConnectionTraffic> suspects = Suspects(all);
  if (suspects.empty()) return;
  Grant(suspects);
  std::sort(suspects.begin(), suspects.end(), [this](const ConnectionTraffic& a, const ConnectionTraffic& b) {
    return accounts_[a.id].beyond > accounts_[b.id].beyond;
  });
  int64_t sum = Sum();
  for (const ConnectionTraffic& suspect : suspects) {
    const int64_t beyond = accounts_[suspect.id].beyond;
    if (beyond <= max_.each && sum <= max_.all) return;
    CutOff(suspect, absl::StrCat("it has sent ", beyond, " bytes beyond what its calls may have, of ", suspect.received,
                                 " in all"));
    sum -= beyond;
  }
}

// Looks several times before it cuts: an honest connection with thousands of calls a second has one that is just coming
// in some looks, not in all.
void FloodLimit::CutUnheard(const std::vector<ConnectionTraffic>& all) {
  constexpr std::chrono::milliseconds kBetween(1);
  const auto end = std::chrono::steady_clock::now() + kFloodPeriod;
  LookAtUnheard(all, /*parts=*/4);
  while (!UnheardSuspects(all, /*parts=*/1).empty() && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(kBetween);
    LookAtUnheard(all, /*parts=*/1);
  }
  int64_t sum = UnheardSum();
  for (const ConnectionTraffic& suspect : UnheardSuspects(all, /*parts=*/1)) {
    const int64_t unheard = accounts_[suspect.id].unheard;
    if (unheard <= max_.unheard && sum <= max_.unheard_of_all) return;
    CutOff(suspect, absl::StrCat("it has sent ", unheard, " bytes while requests of it were not whole"));
    sum -= unheard;
  }
}

// Forgets what those have sent all of whose calls have been heard of by now.
void FloodLimit::LookAtUnheard(const std::vector<ConnectionTraffic>& all, int64_t parts) {
  const std::vector<ConnectionTraffic> suspects = UnheardSuspects(all, parts);
  if (suspects.empty()) return;
  const std::vector<ConnectionCalls> connections = calls_();
  for (const ConnectionTraffic& suspect : suspects) {
    const auto found = FindPeer(connections, suspect.peer);
    if (found != connections.end() && found->open <= found->heard) accounts_[suspect.id].unheard = 0;
  }
}

// Who has sent more than such a part of its limit, or if all have of theirs, everybody; those that have sent the most
// first.
std::vector<ConnectionTraffic> FloodLimit::UnheardSuspects(const std::vector<ConnectionTraffic>& all,
                                                           int64_t parts) const {
  const int64_t innocent = UnheardSum() > max_.unheard_of_all / parts ? 0 : max_.unheard / parts;
  std::vector<ConnectionTraffic> suspects;
  for (const ConnectionTraffic& now : all) {
    const Account& account = accounts_.at(now.id);
    if (!account.cut && account.unheard > innocent) suspects.push_back(now);
  }
  std::sort(suspects.begin(), suspects.end(), [this](const ConnectionTraffic& a, const ConnectionTraffic& b) {
    return accounts_.at(a.id).unheard > accounts_.at(b.id).unheard;
  });
  return suspects;
}

int64_t FloodLimit::UnheardSum() const {
  int64_t sum = 0;
  for (const auto& [id, account] : accounts_) sum += account.cut ? 0 : account.unheard;
  return sum;
}

// Of those that are not cut.
int64_t FloodLimit::Sum() const {
  int64_t sum = 0;
  for (const auto& [id, account] : accounts_) sum += account.cut ? 0 : account.beyond;
  return sum;
}

// Who may have sent too much. If all together have, that is everybody who has sent something.
std::vector<ConnectionTraffic> FloodLimit::Suspects(const std::vector<ConnectionTraffic>& all) const {
  const int64_t innocent = Sum() > max_.all ? 0 : max_.each;
  std::vector<ConnectionTraffic> suspects;
  for (const ConnectionTraffic& now : all) {
    const Account& account = accounts_.at(now.id);
    if (!account.cut && account.beyond > innocent) suspects.push_back(now);
  }
  return suspects;
}

// Takes off what their new calls may have brought.
void FloodLimit::Grant(const std::vector<ConnectionTraffic>& suspects) {
  const std::vector<ConnectionCalls> connections = calls_();
  for (const ConnectionTraffic& suspect : suspects) {
    const auto found = FindPeer(connections, suspect.peer);
    if (found == connections.end()) continue;
    Account& account = accounts_[suspect.id];
    const int64_t calls = found->started - std::exchange(account.calls, found->started);
    account.beyond = std::max<int64_t>(account.beyond - calls * kCallBytes, 0);
  }
}

// Strangers could have it write a line for each of their connections.
void FloodLimit::CutOff(const ConnectionTraffic& connection, const std::string& why) {
  accounts_[connection.id].cut = true;
  if (!cut_(connection.peer)) return;
  const std::optional<int64_t> left_out = lines_.Take(LineBudget::Clock::now());
  if (!left_out.has_value()) return;
  const std::string more =
      *left_out == 0 ? "" : absl::StrCat("; ", *left_out, " more have been cut since the last such line");
  spdlog::warn("the connection of {} is cut: {}{}", AddressText(connection.peer), why, more);
}

}  // namespace denoised
