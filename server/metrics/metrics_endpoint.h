// File: metrics_endpoint.h
//
// The HTTP server for Prometheus: GET /metrics, and GET /healthz for probes that cannot speak gRPC.
//
//   auto endpoint = MetricsEndpoint::Start("0.0.0.0", 9464, [&] { return metrics.Scrape(); }, [&] { return serving; });
//
// Each connection serves one request, so that clients which keep theirs open cannot take all of its few threads.
//
// Not prometheus-cpp's Exposer: civetweb gives its threads less stack than OpenBLAS takes for thread-local storage, so
// it cannot start in a process that links LibTorch.
#ifndef DENOISED_SERVER_METRICS_METRICS_ENDPOINT_H_
#define DENOISED_SERVER_METRICS_METRICS_ENDPOINT_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace denoised {

class MetricsEndpoint {
 public:
  // `host` is a name or an address, IPv6 without brackets. Port 0 picks a free one. `scrape` gives the page and
  // `healthy` decides between 200 and 503; both are called by many threads. UNAVAILABLE when the address cannot be
  // bound.
  static absl::StatusOr<std::unique_ptr<MetricsEndpoint>> Start(const std::string& host, int port,
                                                                std::function<std::string()> scrape,
                                                                std::function<bool()> healthy);
  ~MetricsEndpoint();
  MetricsEndpoint(const MetricsEndpoint&) = delete;
  MetricsEndpoint& operator=(const MetricsEndpoint&) = delete;

  int port() const;

 private:
  struct Impl;
  explicit MetricsEndpoint(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace denoised

#endif  // DENOISED_SERVER_METRICS_METRICS_ENDPOINT_H_
