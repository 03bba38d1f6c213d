#include "client/load_test.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "common/plot.h"
#include "google/protobuf/util/time_util.h"

namespace denoised {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;

double Seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

double Seconds(const google::protobuf::Duration& duration) {
  return static_cast<double>(google::protobuf::util::TimeUtil::DurationToNanoseconds(duration)) * 1e-9;
}

Clock::duration ToDuration(double seconds) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

// One level, from its first request to its last answer. Answers come on gRPC's threads.
class LevelRun {
 public:
  LevelRun(DigitClient& client, const v1::GenerateDigitRequest& request, const LoadLevel& level,
           const LoadTestOptions& options)
      : client_(client),
        request_(request),
        counted_from_(Clock::now() + ToDuration(options.warmup_seconds)),
        counted_to_(counted_from_ + ToDuration(options.seconds)),
        random_(options.seed),
        next_seed_(options.seed) {
    result_.level = level;
    call_.timeout_seconds = options.timeout_seconds;
  }

  LevelResult Run() {
    if (result_.level.kind == LoadKind::kClosed) {
      for (int i = 0; i < static_cast<int>(result_.level.value); ++i) Start(Clock::now());
    } else {
      AskAtRandomMoments();
    }
    const absl::MutexLock lock(&mu_);
    mu_.Await(absl::Condition(
        +[](LevelRun* run) ABSL_EXCLUSIVE_LOCKS_REQUIRED(run->mu_) { return run->running_ == 0; }, this));
    return Summarise();
  }

 private:
  struct Images {
    double queue_seconds = 0, denoise_seconds = 0;
    std::vector<Clock::time_point> arrivals;
  };

  void AskAtRandomMoments() {
    std::exponential_distribution<double> gap(result_.level.value);
    for (Clock::time_point due = Clock::now() + ToDuration(gap(random_)); due < counted_to_;
         due += ToDuration(gap(random_))) {
      std::this_thread::sleep_until(due);
      Start(due);
    }
  }

  // `due`: when it should have begun.
  void Start(Clock::time_point due) {
    v1::GenerateDigitRequest request = request_;
    {
      const absl::MutexLock lock(&mu_);
      ++running_;
      request.set_seed(next_seed_++);
    }
    auto images = std::make_shared<Images>();
    client_.StartGenerateDigit(
        request, call_,
        [images](const v1::GenerateDigitResponse& event) {
          if (!event.has_image()) return absl::OkStatus();
          images->arrivals.push_back(Clock::now());
          images->queue_seconds += Seconds(event.image().queue_duration());
          images->denoise_seconds += Seconds(event.image().denoise_duration());
          return absl::OkStatus();
        },
        [this, due, images](const absl::Status& status) { Finish(due, *images, status); });
  }

  void Finish(Clock::time_point due, const Images& images, const absl::Status& status) {
    const Clock::time_point now = Clock::now();
    const bool again = result_.level.kind == LoadKind::kClosed && now < counted_to_ && !absl::IsCancelled(status);
    if (again && !status.ok()) std::this_thread::sleep_for(kPauseAfterError);
    if (again) Start(now);
    const absl::MutexLock lock(&mu_);
    for (const Clock::time_point arrival : images.arrivals) {
      if (arrival >= counted_from_ && arrival < counted_to_) ++images_;
    }
    if (due >= counted_from_) Count(due, now, images, status);
    --running_;
  }

  void Count(Clock::time_point due, Clock::time_point now, const Images& images, const absl::Status& status)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    last_answer_ = std::max(last_answer_, now);
    if (status.ok()) {
      ++result_.finished;
      result_.latencies.push_back(Seconds(now - due));
      finished_images_ += static_cast<int64_t>(images.arrivals.size());
      result_.queue_seconds += images.queue_seconds;
      result_.denoise_seconds += images.denoise_seconds;
      return;
    }
    if (result_.first_failure.empty()) result_.first_failure = std::string(status.message());
    ++(absl::IsResourceExhausted(status) ? result_.refused : result_.failed);
  }

  LevelResult Summarise() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    LevelResult result = std::move(result_);
    std::sort(result.latencies.begin(), result.latencies.end());
    result.seconds = std::max(0.0, Seconds(last_answer_ - counted_from_));
    result.images_per_second = static_cast<double>(images_) / Seconds(counted_to_ - counted_from_);
    if (finished_images_ > 0) {
      result.queue_seconds /= static_cast<double>(finished_images_);
      result.denoise_seconds /= static_cast<double>(finished_images_);
    }
    return result;
  }

  static constexpr std::chrono::milliseconds kPauseAfterError{50};  // a closed loop must not spin on refusals

  DigitClient& client_;
  const v1::GenerateDigitRequest request_;
  CallOptions call_;
  const Clock::time_point counted_from_, counted_to_;
  std::mt19937_64 random_;

  absl::Mutex mu_;
  int running_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t next_seed_ ABSL_GUARDED_BY(mu_);
  int64_t images_ ABSL_GUARDED_BY(mu_) = 0;           // that came within the counted time
  int64_t finished_images_ ABSL_GUARDED_BY(mu_) = 0;  // of finished requests that count
  Clock::time_point last_answer_ ABSL_GUARDED_BY(mu_);
  LevelResult result_;  // .level is constant; the rest is guarded by mu_
};

std::string LoadText(const LoadLevel& level) {
  return level.kind == LoadKind::kClosed ? absl::StrFormat("%g in flight", level.value)
                                         : absl::StrFormat("%g a second", level.value);
}

}  // namespace

double LevelResult::LatencyQuantile(double share) const {
  if (latencies.empty()) return std::numeric_limits<double>::quiet_NaN();
  const auto rank = static_cast<size_t>(std::ceil(share * static_cast<double>(latencies.size())));
  return latencies[std::clamp<size_t>(rank, 1, latencies.size()) - 1];
}

absl::StatusOr<std::vector<LevelResult>> RunLoadTest(DigitClient& client, const v1::GenerateDigitRequest& request,
                                                     const std::vector<LoadLevel>& levels,
                                                     const LoadTestOptions& options) {
  std::vector<LevelResult> results;
  for (const LoadLevel& level : levels) {
    LevelResult result = LevelRun(client, request, level, options).Run();
    if (result.finished == 0) {
      return absl::UnavailableError(absl::StrCat(
          "not one request of ", LoadText(level), " was finished within ", options.seconds, " seconds",
          result.first_failure.empty() ? "; give more with --duration" : absl::StrCat(": ", result.first_failure)));
    }
    results.push_back(std::move(result));
  }
  return results;
}

std::string FormatResults(const std::vector<LevelResult>& results) {
  std::string table = absl::StrFormat("%-16s %10s %9s %9s %9s %9s %9s %9s %8s %8s\n", "Load", "images/s", "p50 s",
                                      "p90 s", "p95 s", "p99 s", "max s", "queued s", "in batch", "refused");
  for (const LevelResult& result : results) {
    absl::StrAppendFormat(&table, "%-16s %10.2f %9.3f %9.3f %9.3f %9.3f %9.3f %9.3f %8.1f %8d\n",
                          LoadText(result.level), result.images_per_second, result.LatencyQuantile(0.5),
                          result.LatencyQuantile(0.9), result.LatencyQuantile(0.95), result.LatencyQuantile(0.99),
                          result.LatencyQuantile(1), result.queue_seconds, result.batch_images(), result.refused);
    if (result.failed > 0) {
      absl::StrAppendFormat(&table, "  %d of these failed, the first: %s\n", result.failed, result.first_failure);
    }
  }
  return table;
}

std::string ResultsToJson(const std::vector<LevelResult>& results) {
  Json json = Json::array();
  for (const LevelResult& result : results) {
    Json latency = Json::object();
    for (const auto& [name, share] :
         {std::pair{"p50", 0.5}, {"p90", 0.9}, {"p95", 0.95}, {"p99", 0.99}, {"max", 1.0}}) {
      latency[name] = result.LatencyQuantile(share);
    }
    json.push_back({{"loop", result.level.kind == LoadKind::kClosed ? "closed" : "open"},
                    {result.level.kind == LoadKind::kClosed ? "in_flight" : "requests_per_second", result.level.value},
                    {"seconds", result.seconds},
                    {"finished", result.finished},
                    {"refused", result.refused},
                    {"failed", result.failed},
                    {"images_per_second", result.images_per_second},
                    {"latency_seconds", latency},
                    {"queue_seconds", result.queue_seconds},
                    {"denoise_seconds", result.denoise_seconds},
                    {"batch_images", result.batch_images()}});
  }
  return Json{{"format_version", 1}, {"levels", json}}.dump(2) + "\n";
}

absl::StatusOr<std::string> PlotResults(const std::vector<LevelResult>& results) {
  const bool open = std::any_of(results.begin(), results.end(),
                                [](const LevelResult& result) { return result.level.kind == LoadKind::kOpen; });
  std::vector<LevelResult> shown;
  for (const LevelResult& result : results) {
    if ((result.level.kind == LoadKind::kOpen) == open) shown.push_back(result);
  }
  std::sort(shown.begin(), shown.end(),
            [](const LevelResult& a, const LevelResult& b) { return a.level.value < b.level.value; });
  std::vector<PlotLine> lines;
  for (const auto& [name, share] : {std::pair{"99 %", 0.99}, {"95 %", 0.95}, {"50 %", 0.5}}) {
    PlotLine line = {.name = absl::StrCat(name, " at most"), .points = true};
    for (const LevelResult& result : shown) {
      line.x.push_back(result.level.value);
      line.y.push_back(result.LatencyQuantile(share));
    }
    lines.push_back(std::move(line));
  }
  return DrawPlot(lines, {.title = "Latency against load",
                          .x_label = open ? "requests a second, at random moments" : "requests in flight",
                          .y_label = "seconds",
                          .log_x = !open});
}

}  // namespace denoised
