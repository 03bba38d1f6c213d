// File: metrics.h
//
// Every metric that denoised exports, in Prometheus' base units. Work is counted; gauges are read at the moment of a
// scrape.
//
//   Metrics metrics;
//   metrics.OnStep(...);                  // by the scheduler
//   std::string text = metrics.Scrape();  // Prometheus' text format
//
// Thread-safe.
#ifndef DENOISED_SERVER_METRICS_METRICS_H_
#define DENOISED_SERVER_METRICS_METRICS_H_

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/scheduler/scheduler.h"

namespace denoised {

// The labels of model_info.
struct ModelLabels {
  std::string version;
  std::string sha256;
  std::string architecture;
  std::string device;
};

class Metrics : public SchedulerObserver {
 public:
  Metrics();

  // SchedulerObserver.
  void OnStep(int rows, int padding_rows, std::chrono::nanoseconds step, std::chrono::nanoseconds network) override;
  void OnImageStarted(std::chrono::nanoseconds queue_wait) override;
  void OnImageFinished(SamplerType sampler, std::chrono::nanoseconds denoise_duration) override;
  void OnRejected(DropReason reason) override;
  void OnWasted(DropReason reason, uint64_t steps) override;

  // A GenerateDigit call that is about to be admitted, and one that was refused after all or is over.
  void OnRequestStarted() { requests_in_flight_.Increment(); }
  void OnRequestFinished() { requests_in_flight_.Decrement(); }
  int requests_in_flight() const { return static_cast<int>(requests_in_flight_.Value()); }
  void OnFirstPreview(std::chrono::nanoseconds since_admission);
  void OnConnectionCut() { connections_cut_.Increment(); }
  void OnConnectionRefused() { connections_refused_.Increment(); }
  // A call of the server's own port by itself.
  void OnLoopbackProbe(bool answered) { loopback_probes_.Add({{"result", answered ? "ok" : "error"}}).Increment(); }
  // Images that a drain ran out of time for.
  void OnDrainDropped(int64_t images) { drain_dropped_images_.Increment(static_cast<double>(images)); }
  void OnPreviewDropped() { previews_dropped_.Increment(); }

  // Any call of any service, named as the gRPC ecosystem does; type is "unary", "server_stream" and so on.
  struct Call {
    std::string type;
    std::string service;
    std::string method;
  };
  // Makes the series of a method exist, at zero: one that begins with its first event hides that event from rate().
  // `codes` as OnCallFinished gets them.
  void DeclareCall(const Call& call, const std::vector<std::string>& codes);
  void OnCallStarted(const Call& call);
  void OnCallFinished(const Call& call, const std::string& code, std::chrono::nanoseconds duration);

  // The model in use from now on; earlier ones disappear from model_info.
  void SetModel(const ModelLabels& model);

  // When the certificate that new connections get ends. Never called: no TLS, and no such metric.
  void SetCertificateExpiry(std::chrono::system_clock::time_point not_after);

  // How a reload ended: "ok", "error", or "rolled_back" for one that was ok until its first steps failed.
  void OnModelReload(const char* result) { model_reloads_.Add({{"result", result}}).Increment(); }

  // "stalled" or "failing": the engine was given up.
  void OnEngineTrouble(const char* cause) { engine_troubles_.Add({{"cause", cause}}).Increment(); }

  // Of all steps so far.
  struct StepTotals {
    double steps = 0;
    double rows = 0;
    double seconds = 0;
  };
  StepTotals step_totals() const;

  // Where the gauge of bytes that wait for readers comes from; called at each scrape. Null: none.
  void SetOutputSource(std::function<int64_t()> source);

  // Where the queue gauges come from; called at each scrape. Null: none.
  void SetStatsSource(std::function<SchedulerStats()> source);
  // How many lines of the log were lost so far; called at each scrape. Null: none.
  void SetLogLinesLostSource(std::function<int64_t()> source);
  // What became of spans so far, by the label `result`; called at each scrape. Null: none.
  void SetSpansSource(std::function<std::map<std::string, int64_t>()> source);
  // How many connections are open; called at each scrape. Null: none.
  void SetConnectionsSource(std::function<int()> source);

  std::string Scrape();

 private:
  prometheus::Histogram& HandlingSeconds(const Call& call);

  prometheus::Registry registry_;

  prometheus::Family<prometheus::Counter>& started_;
  prometheus::Family<prometheus::Counter>& handled_;
  prometheus::Family<prometheus::Histogram>& handling_seconds_;
  prometheus::Gauge& requests_in_flight_;
  prometheus::Gauge& queue_depth_;
  prometheus::Gauge& queue_oldest_seconds_;
  prometheus::Gauge& step_rows_;
  prometheus::Histogram& queue_wait_seconds_;
  prometheus::Family<prometheus::Histogram>& denoise_seconds_;
  prometheus::Histogram& time_to_first_preview_seconds_;
  prometheus::Histogram& step_seconds_;
  prometheus::Counter& steps_;
  prometheus::Counter& network_seconds_;
  prometheus::Histogram& batch_rows_;
  prometheus::Counter& padding_rows_;
  prometheus::Family<prometheus::Counter>& wasted_steps_;
  prometheus::Family<prometheus::Counter>& images_;
  prometheus::Family<prometheus::Counter>& rejected_;
  prometheus::Counter& previews_dropped_;
  prometheus::Gauge& output_bytes_;
  prometheus::Counter& log_lines_lost_;
  prometheus::Family<prometheus::Counter>& spans_;
  prometheus::Family<prometheus::Counter>& engine_troubles_;
  prometheus::Counter& drain_dropped_images_;
  prometheus::Gauge& connections_;
  prometheus::Counter& connections_cut_;
  prometheus::Counter& connections_refused_;
  prometheus::Family<prometheus::Counter>& loopback_probes_;
  prometheus::Family<prometheus::Gauge>& model_info_;
  prometheus::Family<prometheus::Counter>& model_reloads_;
  prometheus::Family<prometheus::Gauge>& tls_certificate_expiry_seconds_;

  absl::Mutex mu_;
  prometheus::Gauge* current_model_ ABSL_GUARDED_BY(mu_) = nullptr;
  std::optional<std::chrono::system_clock::time_point> certificate_expiry_ ABSL_GUARDED_BY(mu_);
  std::function<SchedulerStats()> stats_source_ ABSL_GUARDED_BY(mu_);
  std::function<int()> connections_source_ ABSL_GUARDED_BY(mu_);
  std::function<int64_t()> output_source_ ABSL_GUARDED_BY(mu_);
  std::function<int64_t()> log_lines_lost_source_ ABSL_GUARDED_BY(mu_);
  std::function<std::map<std::string, int64_t>()> spans_source_ ABSL_GUARDED_BY(mu_);
};

}  // namespace denoised

#endif  // DENOISED_SERVER_METRICS_METRICS_H_
