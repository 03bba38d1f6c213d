#include "server/transport/call_limit.h"

#include <malloc.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/transport/open_calls.h"

namespace denoised {
namespace {

constexpr auto kPeriod = std::chrono::milliseconds(50);
constexpr auto kSettling = std::chrono::seconds(15);  // until gRPC has ended the calls of what was cut
constexpr size_t kNamed = 5;                          // connections in a line of the log

}  // namespace

CallLimit::CallLimit(int64_t max_calls, Cut cut)
    : max_calls_(max_calls), cut_(std::move(cut)), task_(kPeriod, [this] { Check(); }) {}

// Connections are looked at one by one only if so many calls have been started that there could be too many.
void CallLimit::Check() {
  if (return_memory_at_.has_value() && Clock::now() >= *return_memory_at_) {
    return_memory_at_.reset();
    malloc_trim(0);
  }
  const int64_t started = CallsStarted();
  if (open_ + started - started_ <= max_calls_) return;
  started_ = started;
  open_ = 0;
  std::vector<ConnectionCalls> connections = OpenCalls();
  for (const ConnectionCalls& each : connections) open_ += each.open;
  std::sort(connections.begin(), connections.end(), [](const auto& a, const auto& b) { return a.open > b.open; });
  const int64_t before = open_;
  std::vector<std::string> cut;
  for (const ConnectionCalls& each : connections) {
    if (open_ <= max_calls_) break;
    if (cut_(each.peer)) cut.push_back(absl::StrCat(AddressText(each.peer), " with ", each.open));
    open_ -= each.open;  // NOTE: of one that has gone as well, or others would be cut while gRPC clears up behind it
  }
  if (cut.empty()) return;
  return_memory_at_ = Clock::now() + kSettling;
  const std::optional<int64_t> left_out = lines_.Take(LineBudget::Clock::now());
  if (!left_out.has_value()) return;
  const size_t number = cut.size();
  if (number > kNamed) cut.resize(kNamed);
  spdlog::warn("{} calls are open, more than --max_calls={}: of {} connections, those with the most are cut: {}{}{}",
               before, max_calls_, connections.size(), absl::StrJoin(cut, ", "),
               number > kNamed ? absl::StrCat(" and ", number - kNamed, " more") : "",
               *left_out > 0 ? absl::StrCat("; so it was ", *left_out, " more times since the last such line") : "");
}

}  // namespace denoised
