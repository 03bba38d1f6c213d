#include "server/metrics/metrics.h"

#include <prometheus/text_serializer.h>

#include <cmath>
#include <sstream>
#include <string>
#include <utility>

#include "absl/strings/str_format.h"
#include "common/support/build_info.h"
#include "common/support/clock.h"
#include "server/metrics/process_metrics.h"

namespace denoised {
namespace {

using prometheus::Histogram;

// Each boundary 10^(1/48) times, or 4.9 %, the one before: a quantile read off the buckets is wrong by less. Rounded to
// four digits, so that labels stay short.
Histogram::BucketBoundaries FineBuckets(double least, double most) {
  constexpr double kPerDecade = 48;
  Histogram::BucketBoundaries boundaries;
  const double first = std::round(std::log10(least) * kPerDecade);
  for (double i = first; boundaries.empty() || boundaries.back() < most; ++i) {
    boundaries.push_back(std::stod(absl::StrFormat("%.3e", std::pow(10, i / kPerDecade))));
  }
  return boundaries;
}

// From a fast sampler on a GPU to a full queue before a full chain on a busy CPU.
const Histogram::BucketBoundaries kDrawSeconds = FineBuckets(0.001, 600);
const Histogram::BucketBoundaries kStepSeconds = FineBuckets(0.00005, 1);
// Of calls that draw nothing.
const Histogram::BucketBoundaries kOtherCallSeconds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 60};
const Histogram::BucketBoundaries kRows = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512};

template <typename Builder>
auto& MakeFamily(prometheus::Registry& registry, Builder builder, const char* name, const char* help) {
  return builder.Name(name).Help(help).Register(registry);
}

prometheus::Family<prometheus::Counter>& CounterFamily(prometheus::Registry& registry, const char* name,
                                                       const char* help) {
  return MakeFamily(registry, prometheus::BuildCounter(), name, help);
}

prometheus::Counter& OneCounter(prometheus::Registry& registry, const char* name, const char* help) {
  return CounterFamily(registry, name, help).Add({});
}

prometheus::Gauge& OneGauge(prometheus::Registry& registry, const char* name, const char* help) {
  return MakeFamily(registry, prometheus::BuildGauge(), name, help).Add({});
}

prometheus::Family<Histogram>& HistogramFamily(prometheus::Registry& registry, const char* name, const char* help) {
  return MakeFamily(registry, prometheus::BuildHistogram(), name, help);
}

Histogram& OneHistogram(prometheus::Registry& registry, const char* name, const char* help,
                        const Histogram::BucketBoundaries& buckets) {
  return HistogramFamily(registry, name, help).Add({}, buckets);
}

prometheus::Labels CallLabels(const Metrics::Call& call) {
  return {{"grpc_type", call.type}, {"grpc_service", call.service}, {"grpc_method", call.method}};
}

prometheus::Labels HandledLabels(const Metrics::Call& call, const std::string& code) {
  prometheus::Labels labels = CallLabels(call);
  labels.emplace("grpc_code", code);
  return labels;
}

}  // namespace

Metrics::Metrics()
    : started_(CounterFamily(registry_, "grpc_server_started_total", "Calls started on the server")),
      handled_(CounterFamily(registry_, "grpc_server_handled_total", "Calls finished on the server, by status code")),
      handling_seconds_(HistogramFamily(registry_, "grpc_server_handling_seconds",
                                        "Time from the start of a call to its status, in seconds")),
      requests_in_flight_(OneGauge(registry_, "denoised_requests_in_flight", "Admitted GenerateDigit calls now open")),
      queue_depth_(OneGauge(registry_, "denoised_queue_depth", "Images that wait for a free row now")),
      queue_oldest_seconds_(OneGauge(registry_, "denoised_queue_oldest_seconds",
                                     "How long the oldest request with a waiting image has waited, in seconds")),
      step_rows_(
          OneGauge(registry_, "denoised_step_rows",
                   "Network rows that a denoising step takes at most, as measured at start or in a pause since")),
      queue_wait_seconds_(OneHistogram(registry_, "denoised_queue_wait_seconds",
                                       "Time from admission to an image's first denoising step, in seconds",
                                       kDrawSeconds)),
      denoise_seconds_(HistogramFamily(registry_, "denoised_denoise_seconds",
                                       "Time from an image's first denoising step to its last, in seconds")),
      time_to_first_preview_seconds_(OneHistogram(registry_, "denoised_time_to_first_preview_seconds",
                                                  "Time from admission to a request's first preview, in seconds",
                                                  kDrawSeconds)),
      step_seconds_(OneHistogram(registry_, "denoised_step_seconds",
                                 "Time of one denoising step of the whole batch, in seconds", kStepSeconds)),
      steps_(OneCounter(registry_, "denoised_steps_total", "Denoising steps of whole batches")),
      network_seconds_(OneCounter(registry_, "denoised_network_seconds_total",
                                  "The part of the step time that was spent inside the network, in seconds")),
      batch_rows_(OneHistogram(registry_, "denoised_batch_rows", "Network rows of a denoising step", kRows)),
      padding_rows_(
          OneCounter(registry_, "denoised_padding_rows_total", "Network rows computed only to fill up a batch size")),
      wasted_steps_(
          CounterFamily(registry_, "denoised_wasted_steps_total",
                        "Denoising steps of images that did not reach their client, guided ones twice, by reason")),
      images_(CounterFamily(registry_, "denoised_images_total", "Images finished")),
      rejected_(CounterFamily(registry_, "denoised_rejected_total", "Requests refused at admission")),
      previews_dropped_(OneCounter(registry_, "denoised_previews_dropped_total",
                                   "Previews that were due but not sent, because the reader was slow")),
      output_bytes_(
          OneGauge(registry_, "denoised_output_bytes", "Bytes that wait for clients to read them, in memory")),
      log_lines_lost_(OneCounter(registry_, "denoised_log_lines_lost_total",
                                 "Lines of the log that were dropped, because whoever reads it stood still")),
      spans_(CounterFamily(registry_, "denoised_spans_total",
                           "Spans of traces, by what became of them on the way to --otlp_endpoint")),
      engine_troubles_(CounterFamily(registry_, "denoised_engine_troubles_total",
                                     "Engines given up because a step hung or steps failed one after the other")),
      drain_dropped_images_(OneCounter(registry_, "denoised_drain_dropped_images_total",
                                       "Admitted images that were dropped because --drain_timeout was over")),
      connections_(OneGauge(registry_, "denoised_connections", "Connections to the gRPC port that are open now")),
      connections_cut_(OneCounter(registry_, "denoised_connections_cut_total",
                                  "Connections to the gRPC port that were cut: too many calls, or a flood of frames")),
      connections_refused_(OneCounter(registry_, "denoised_connections_refused_total",
                                      "Connections to the gRPC port that were closed at once for want of room")),
      loopback_probes_(CounterFamily(registry_, "denoised_loopback_probes_total",
                                     "The server's calls of its own gRPC port, by whether they were answered")),
      model_info_(MakeFamily(registry_, prometheus::BuildGauge(), "denoised_model_info", "The model being served")),
      model_reloads_(CounterFamily(registry_, "denoised_model_reloads_total",
                                   "Reloads of the checkpoint, by SIGHUP or because its file was replaced")),
      tls_certificate_expiry_seconds_(
          MakeFamily(registry_, prometheus::BuildGauge(), "denoised_tls_certificate_expiry_seconds",
                     "Until the certificate that new connections get expires, in seconds; below 0 it has")) {
  MakeFamily(registry_, prometheus::BuildGauge(), "denoised_build_info", "The build of the server")
      .Add({{"version", kVersion}, {"revision", kSourceRevision}})
      .Set(1);
  // A series that appears only with its first event hides that event from rate().
  for (const SamplerType sampler : {SamplerType::kDdpm, SamplerType::kDdim, SamplerType::kDpmSolverPp2M}) {
    images_.Add({{"sampler", SamplerName(sampler)}});
    denoise_seconds_.Add({{"sampler", SamplerName(sampler)}}, kDrawSeconds);
  }
  for (const DropReason reason :
       {DropReason::kQueueFull, DropReason::kClientFull, DropReason::kDeadline, DropReason::kDraining}) {
    rejected_.Add({{"reason", DropReasonName(reason)}});
  }
  for (const DropReason reason : {DropReason::kCancelled, DropReason::kDeadline, DropReason::kDraining,
                                  DropReason::kSlowReader, DropReason::kEngineError}) {
    wasted_steps_.Add({{"reason", DropReasonName(reason)}});
  }
  for (const char* result : {"ok", "error"}) {
    loopback_probes_.Add({{"result", result}});
  }
  for (const char* result : {"ok", "error", "rolled_back"}) model_reloads_.Add({{"result", result}});
  for (const char* cause : {"stalled", "failing"}) engine_troubles_.Add({{"cause", cause}});
  for (const char* result : {"exported", "queue_full", "failed"}) spans_.Add({{"result", result}});
  CollectProcessMetrics();  // opens what it reads, while there are descriptors
}

void Metrics::OnStep(int rows, int padding_rows, std::chrono::nanoseconds step, std::chrono::nanoseconds network) {
  step_seconds_.Observe(Seconds(step));
  steps_.Increment();
  network_seconds_.Increment(Seconds(network));
  batch_rows_.Observe(rows);
  padding_rows_.Increment(padding_rows);
}

void Metrics::OnImageStarted(std::chrono::nanoseconds queue_wait) { queue_wait_seconds_.Observe(Seconds(queue_wait)); }

void Metrics::OnImageFinished(SamplerType sampler, std::chrono::nanoseconds denoise_duration) {
  images_.Add({{"sampler", SamplerName(sampler)}}).Increment();
  denoise_seconds_.Add({{"sampler", SamplerName(sampler)}}, kDrawSeconds).Observe(Seconds(denoise_duration));
}

void Metrics::OnRejected(DropReason reason) { rejected_.Add({{"reason", DropReasonName(reason)}}).Increment(); }

void Metrics::OnWasted(DropReason reason, uint64_t steps) {
  wasted_steps_.Add({{"reason", DropReasonName(reason)}}).Increment(static_cast<double>(steps));
}

void Metrics::OnFirstPreview(std::chrono::nanoseconds since_admission) {
  time_to_first_preview_seconds_.Observe(Seconds(since_admission));
}

prometheus::Histogram& Metrics::HandlingSeconds(const Call& call) {
  return handling_seconds_.Add(CallLabels(call), call.method == "GenerateDigit" ? kDrawSeconds : kOtherCallSeconds);
}

void Metrics::DeclareCall(const Call& call, const std::vector<std::string>& codes) {
  started_.Add(CallLabels(call));
  HandlingSeconds(call);
  for (const std::string& code : codes) handled_.Add(HandledLabels(call, code));
}

void Metrics::OnCallStarted(const Call& call) { started_.Add(CallLabels(call)).Increment(); }

void Metrics::OnCallFinished(const Call& call, const std::string& code, std::chrono::nanoseconds duration) {
  HandlingSeconds(call).Observe(Seconds(duration));
  handled_.Add(HandledLabels(call, code)).Increment();
}

void Metrics::SetModel(const ModelLabels& model) {
  const absl::MutexLock lock(&mu_);
  if (current_model_ != nullptr) model_info_.Remove(current_model_);
  current_model_ = &model_info_.Add({{"version", model.version},
                                     {"sha256", model.sha256},
                                     {"architecture", model.architecture},
                                     {"device", model.device}});
  current_model_->Set(1);
}

void Metrics::SetCertificateExpiry(std::chrono::system_clock::time_point not_after) {
  const absl::MutexLock lock(&mu_);
  certificate_expiry_ = not_after;
}

void Metrics::SetOutputSource(std::function<int64_t()> source) {
  const absl::MutexLock lock(&mu_);
  output_source_ = std::move(source);
}

void Metrics::SetStatsSource(std::function<SchedulerStats()> source) {
  const absl::MutexLock lock(&mu_);
  stats_source_ = std::move(source);
}

void Metrics::SetLogLinesLostSource(std::function<int64_t()> source) {
  const absl::MutexLock lock(&mu_);
  log_lines_lost_source_ = std::move(source);
}

void Metrics::SetSpansSource(std::function<std::map<std::string, int64_t>()> source) {
  const absl::MutexLock lock(&mu_);
  spans_source_ = std::move(source);
}

void Metrics::SetConnectionsSource(std::function<int()> source) {
  const absl::MutexLock lock(&mu_);
  connections_source_ = std::move(source);
}

Metrics::StepTotals Metrics::step_totals() const {
  return {.steps = steps_.Value(),
          .rows = batch_rows_.Collect().histogram.sample_sum,
          .seconds = step_seconds_.Collect().histogram.sample_sum};
}

std::string Metrics::Scrape() {
  {
    const absl::MutexLock lock(&mu_);
    const SchedulerStats stats = stats_source_ ? stats_source_() : SchedulerStats{};
    queue_depth_.Set(stats.waiting_images);
    queue_oldest_seconds_.Set(Seconds(stats.oldest_wait));
    step_rows_.Set(stats.step_rows);
    if (certificate_expiry_.has_value()) {
      tls_certificate_expiry_seconds_.Add({}).Set(Seconds(*certificate_expiry_ - std::chrono::system_clock::now()));
    }
    connections_.Set(connections_source_ ? connections_source_() : 0);
    if (log_lines_lost_source_) {
      log_lines_lost_.Increment(static_cast<double>(log_lines_lost_source_()) - log_lines_lost_.Value());
    }
    for (const auto& [result, count] : spans_source_ ? spans_source_() : std::map<std::string, int64_t>{}) {
      prometheus::Counter& counter = spans_.Add({{"result", result}});
      counter.Increment(static_cast<double>(count) - counter.Value());
    }
    output_bytes_.Set(output_source_ ? static_cast<double>(output_source_()) : 0);
  }
  std::vector<prometheus::MetricFamily> families = registry_.Collect();
  for (prometheus::MetricFamily& family : CollectProcessMetrics()) families.push_back(std::move(family));
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, families);
  return out.str();
}

}  // namespace denoised
