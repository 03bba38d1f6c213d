// File: metrics_endpoint.h
//
// The HTTP server for Prometheus: GET /metrics; for probes that cannot speak gRPC GET /healthz, whether the server
// serves, and GET /livez, whether it would do so if it could and no restart is needed.
//
//   auto endpoint = MetricsEndpoint::Start("0.0.0.0", 9464, [&] { return metrics.Scrape(); }, [&] { return serving; });
//
// It may be shown to strangers, as far as their number of bytes, connections and seconds goes
// (server/http/http_server.h); what it tells is for those who run the server.
//
// Not prometheus-cpp's Exposer: civetweb gives its threads less stack than OpenBLAS takes for thread-local storage, so
// it cannot start in a process that links LibTorch.
#ifndef DENOISED_SERVER_METRICS_METRICS_ENDPOINT_H_
#define DENOISED_SERVER_METRICS_METRICS_ENDPOINT_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/http/http_server.h"

namespace denoised {

class MetricsEndpoint {
 public:
  // `host` is a name or an address, IPv6 without brackets. Port 0 picks a free one. `scrape` gives the page and
  // `healthy` and `alive` decide between 200 and 503; each is called by a thread of the endpoint. UNAVAILABLE when the
  // address cannot be bound.
  static absl::StatusOr<std::unique_ptr<MetricsEndpoint>> Start(
      const std::string& host, int port, std::function<std::string()> scrape, std::function<bool()> healthy,
      std::function<bool()> alive = [] { return true; });
  int port() const { return server_->port(); }

 private:
  explicit MetricsEndpoint(std::unique_ptr<HttpServer> server);

  std::unique_ptr<HttpServer> server_;
};

}  // namespace denoised

#endif  // DENOISED_SERVER_METRICS_METRICS_ENDPOINT_H_
