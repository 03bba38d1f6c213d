#include "server/supervisor.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace denoised {

const char* EngineTroubleName(EngineTrouble trouble) {
  return trouble == EngineTrouble::kStalled ? "stalled" : "failing";
}

Supervisor::Supervisor(const SupervisorOptions& options, SupervisorHooks hooks)
    : options_(options), hooks_(std::move(hooks)) {}

void Supervisor::Start() {
  looks_.emplace(options_.tick, [this] { Tick(); });
}

void Supervisor::Tick() {
  if (dead_) return;
  const std::optional<Heartbeat> heartbeat = hooks_.heartbeat();
  if (!heartbeat.has_value()) return;
  if (const std::optional<EngineTrouble> trouble = Judge(*heartbeat)) Recover(*trouble);
}

std::optional<EngineTrouble> Supervisor::Judge(const Heartbeat& heartbeat) {
  const bool still = heartbeat.working && heartbeat.beats == std::exchange(last_beats_, heartbeat.beats);
  still_ticks_ = still ? still_ticks_ + 1 : 0;
  if (heartbeat.failed_steps == 0 && heartbeat.beats >= options_.beats_until_trusted) rebuilt_ = false;
  if (heartbeat.failed_steps >= options_.failed_steps) return EngineTrouble::kFailing;
  const bool stalled = options_.stall_timeout.count() > 0 && still_ticks_ * options_.tick >= options_.stall_timeout;
  return stalled ? std::optional(EngineTrouble::kStalled) : std::nullopt;
}

void Supervisor::Recover(EngineTrouble trouble) {
  const auto die = [this, trouble](const char* why) {
    dead_ = true;
    hooks_.die(absl::StrCat("the engine is ", EngineTroubleName(trouble), ", and ", why));
  };
  still_ticks_ = 0;
  if (!hooks_.end_work(trouble)) return die("its calls cannot be ended");
  if (hooks_.rebuild == nullptr) return;
  if (std::exchange(rebuilt_, true)) return die("it was built anew already");
  if (!hooks_.rebuild()) return die("it cannot be built anew");
}

}  // namespace denoised
