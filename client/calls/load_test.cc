#include "client/calls/load_test.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <set>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "client/calls/answer.h"
#include "common/plot/plot.h"
#include "common/support/clock.h"
#include "common/support/quantile.h"

namespace denoised {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;

// An error of the request or of the connection, not of the load.
bool WillNotGetBetter(const absl::Status& status) {
  return !status.ok() && !absl::IsResourceExhausted(status) && !absl::IsDeadlineExceeded(status) &&
         !absl::IsInternal(status);
}

// One level. Requests begin on the caller's thread; answers come on gRPC's, which nothing here may hold up.
class LevelRun {
 public:
  LevelRun(DigitClient& client, const v1::GenerateDigitRequest& request, const LoadLevel& level,
           const LoadTestOptions& options)
      : client_(client),
        request_(request),
        counted_from_(Clock::now() + Nanoseconds(options.warmup_seconds)),
        counted_to_(counted_from_ + Nanoseconds(options.seconds)),
        random_(options.seed),
        next_seed_(options.seed),
        on_progress_(options.on_progress) {
    call_.timeout_seconds = options.timeout_seconds;
    result_.level = level;
    PlanFirst();
  }

  absl::StatusOr<LevelResult> Run() {
    while (const std::optional<Clock::time_point> due = AwaitNext()) Start(*due);
    const absl::MutexLock lock(&mu_);
    if (!fatal_.ok()) return fatal_;
    return Summarise();
  }

 private:
  struct Images {
    double queue_seconds = 0, denoise_seconds = 0;
    std::vector<Clock::time_point> arrivals;
  };

  bool closed() const { return result_.level.kind == LoadKind::kClosed; }
  Clock::duration RandomGap() {
    return Nanoseconds(std::exponential_distribution<double>(result_.level.value)(random_));
  }

  void PlanFirst() {
    const absl::MutexLock lock(&mu_);
    const Clock::time_point now = Clock::now();
    if (closed()) {
      for (int i = 0; i < static_cast<int>(result_.level.value); ++i) due_.insert(now);
    } else {
      due_.insert(now + RandomGap());
    }
  }

  // Waits until a request is due. Nothing once all are answered and no more will come.
  std::optional<Clock::time_point> AwaitNext() {
    const absl::MutexLock lock(&mu_);
    while (true) {
      if (client_.cancelled() && fatal_.ok()) fatal_ = absl::CancelledError(kCancelledText);
      if (!fatal_.ok()) due_.clear();
      std::erase_if(due_, [this](Clock::time_point due) { return due >= counted_to_; });
      if (due_.empty() && running_ == 0) return std::nullopt;
      if (!due_.empty() && *due_.begin() <= Clock::now()) break;
      // NOTE: must be false now: Await returns at once where its condition holds, without releasing mu_, and Finish
      // could never run.
      const size_t known = due_.size();
      const auto changed = [this, known]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
        return due_.size() != known || (due_.empty() ? running_ == 0 : !fatal_.ok());
      };
      const absl::Condition condition(&changed);
      const Clock::time_point wake = due_.empty() ? Clock::time_point::max() : *due_.begin();
      mu_.AwaitWithTimeout(condition, absl::FromChrono(std::min<Clock::duration>(wake - Clock::now(), kReport)));
      TellProgress();
    }
    const Clock::time_point due = *due_.begin();
    due_.erase(due_.begin());
    if (!closed()) due_.insert(due + RandomGap());
    ++running_;
    return due;
  }

  void TellProgress() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    const Clock::time_point now = Clock::now();
    if (!on_progress_ || now < next_report_) return;
    next_report_ = now + kReport;
    const double left = Seconds(counted_to_ - now);
    const std::string when = now < counted_from_ ? "warming up"
                             : left > 0          ? absl::StrFormat("%.0f s left", left)
                                                 : absl::StrFormat("waiting for %d answers", running_);
    on_progress_(absl::StrFormat("%s: %s, %d finished, %d refused, %d failed", LoadText(result_.level), when,
                                 result_.finished, result_.refused, result_.failed));
  }

  // `due`: when it should have begun.
  void Start(Clock::time_point due) {
    v1::GenerateDigitRequest request = request_;
    request.set_seed(next_seed_++);
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
    const absl::MutexLock lock(&mu_);
    for (const Clock::time_point arrival : images.arrivals) {
      if (arrival >= counted_from_ && arrival < counted_to_) ++images_;
    }
    if (due >= counted_from_) Count(due, now, images, status);
    if (WillNotGetBetter(status) && fatal_.ok()) fatal_ = status;
    if (closed()) due_.insert(status.ok() ? now : now + kPauseAfterError);
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
    const bool refused = absl::IsResourceExhausted(status);
    std::string& first = refused ? result_.first_refusal : result_.first_failure;
    if (first.empty()) first = std::string(status.message());
    ++(refused ? result_.refused : result_.failed);
  }

  LevelResult Summarise() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    LevelResult result = std::move(result_);
    std::sort(result.latencies.begin(), result.latencies.end());
    result.seconds = std::max(0.0, Seconds(last_answer_ - counted_from_));
    if (result.finished + result.refused + result.failed == 0) {
      result.first_failure = "no request that began in time was answered; measure longer with --duration";
    }
    result.images_per_second = static_cast<double>(images_) / Seconds(counted_to_ - counted_from_);
    if (finished_images_ > 0) {
      result.queue_seconds /= static_cast<double>(finished_images_);
      result.denoise_seconds /= static_cast<double>(finished_images_);
    }
    return result;
  }

  static constexpr std::chrono::milliseconds kReport{500};
  static constexpr std::chrono::milliseconds kPauseAfterError{50};  // a closed loop must not spin on refusals

  DigitClient& client_;
  const v1::GenerateDigitRequest request_;
  CallOptions call_ = {};
  const Clock::time_point counted_from_, counted_to_;
  // Of the caller's thread.
  std::mt19937_64 random_;
  uint64_t next_seed_;
  const std::function<void(const std::string&)> on_progress_;
  Clock::time_point next_report_ = Clock::now();

  absl::Mutex mu_;
  std::multiset<Clock::time_point> due_ ABSL_GUARDED_BY(mu_);  // when the next requests should begin
  int running_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t images_ ABSL_GUARDED_BY(mu_) = 0;           // that came within the counted time
  int64_t finished_images_ ABSL_GUARDED_BY(mu_) = 0;  // of finished requests that count
  Clock::time_point last_answer_ ABSL_GUARDED_BY(mu_);
  absl::Status fatal_ ABSL_GUARDED_BY(mu_);  // ends the level
  LevelResult result_;                       // .level is constant; the rest is guarded by mu_
};

std::string FirstLine(const std::string& text) { return text.substr(0, text.find('\n')); }

}  // namespace

absl::StatusOr<LevelResult> RunLevel(DigitClient& client, const v1::GenerateDigitRequest& request,
                                     const LoadLevel& level, const LoadTestOptions& options) {
  return LevelRun(client, request, level, options).Run();
}

std::string LoadText(const LoadLevel& level) {
  return level.kind == LoadKind::kClosed ? absl::StrFormat("%g in flight", level.value)
                                         : absl::StrFormat("%g a second", level.value);
}

std::string LevelHeader() {
  return absl::StrFormat("%-15s%9s%9s%8s%8s%8s%8s%7s%7s\n", "Load", "images/s", "finished", "p50 s", "p95 s", "p99 s",
                         "max s", "queued", "batch");
}

std::string FormatLevel(const LevelResult& result) {
  const auto latency = [&result](double share) { return QuantileOfSorted(result.latencies, share); };
  std::string text =
      absl::StrFormat("%-15s%9.2f%9d", LoadText(result.level), result.images_per_second, result.finished);
  if (result.finished == 0) {
    text += "  nothing was finished\n";
  } else {
    absl::StrAppendFormat(&text, "%8.3f%8.3f%8.3f%8.3f%7.2f%7.1f\n", latency(0.5), latency(0.95), latency(0.99),
                          latency(1), result.queue_seconds, result.batch_images());
  }
  if (result.refused > 0) {
    absl::StrAppendFormat(&text, "  %d refused, at first: %s\n", result.refused, FirstLine(result.first_refusal));
  }
  if (result.failed > 0) {
    absl::StrAppendFormat(&text, "  %d failed, at first: %s\n", result.failed, FirstLine(result.first_failure));
  } else if (!result.first_failure.empty()) {
    absl::StrAppendFormat(&text, "  %s\n", FirstLine(result.first_failure));
  }
  return text;
}

namespace {

Json ToJson(const LevelResult& result) {
  Json latency = Json::object();
  for (const auto& [name, share] : {std::pair{"p50", 0.5}, {"p90", 0.9}, {"p95", 0.95}, {"p99", 0.99}, {"max", 1.0}}) {
    latency[name] = result.latencies.empty() ? Json() : Json(QuantileOfSorted(result.latencies, share));
  }
  return {{"loop", result.level.kind == LoadKind::kClosed ? "closed" : "open"},
          {result.level.kind == LoadKind::kClosed ? "in_flight" : "requests_per_second", result.level.value},
          {"seconds", result.seconds},
          {"finished", result.finished},
          {"refused", result.refused},
          {"failed", result.failed},
          {"images_per_second", result.images_per_second},
          {"latency_seconds", latency},
          {"queue_seconds", result.queue_seconds},
          {"denoise_seconds", result.denoise_seconds},
          {"batch_images", result.batch_images()}};
}

}  // namespace

std::string LevelToJsonLine(const LevelResult& result) { return ToJson(result).dump() + "\n"; }

std::string ResultsToJson(const std::vector<LevelResult>& results) {
  Json json = Json::array();
  for (const LevelResult& result : results) json.push_back(ToJson(result));
  return Json{{"format_version", 1}, {"levels", json}}.dump(2) + "\n";
}

absl::StatusOr<std::string> PlotResults(const std::vector<LevelResult>& results) {
  const bool open = std::any_of(results.begin(), results.end(),
                                [](const LevelResult& result) { return result.level.kind == LoadKind::kOpen; });
  std::vector<LevelResult> shown;
  for (const LevelResult& result : results) {
    if ((result.level.kind == LoadKind::kOpen) == open && result.finished > 0) shown.push_back(result);
  }
  std::sort(shown.begin(), shown.end(),
            [](const LevelResult& a, const LevelResult& b) { return a.level.value < b.level.value; });
  std::vector<PlotLine> lines;
  for (const auto& [name, share] : {std::pair{"p99", 0.99}, {"p95", 0.95}, {"p50", 0.5}}) {
    PlotLine line = {.name = name, .points = true};
    for (const LevelResult& result : shown) {
      line.x.push_back(result.level.value);
      line.y.push_back(QuantileOfSorted(result.latencies, share));
    }
    lines.push_back(std::move(line));
  }
  return DrawPlot(lines, {.title = "Latency against load",
                          .x_label = open ? "requests a second, at random moments" : "requests in flight",
                          .y_label = "seconds",
                          .log_x = !open});
}

}  // namespace denoised
