#include "server/metrics/metrics_endpoint.h"

#include <utility>

namespace denoised {
namespace {

constexpr char kContentType[] = "text/plain; version=0.0.4; charset=utf-8";

HttpHandler MetricsPage(std::function<std::string()> scrape) {
  return [scrape = std::move(scrape)](const HttpRequest&) {
    return HttpResponse{.content_type = kContentType, .body = scrape()};
  };
}

HttpHandler HealthPage(std::function<bool()> healthy) {
  return [healthy = std::move(healthy)](const HttpRequest&) {
    return healthy() ? HttpResponse{.body = "serving\n"} : HttpResponse{.status = 503, .body = "not serving\n"};
  };
}

HttpHandler LivenessPage(std::function<bool()> alive) {
  return [alive = std::move(alive)](const HttpRequest&) {
    return alive() ? HttpResponse{.body = "alive\n"}
                   : HttpResponse{.status = 503, .body = "the server does not answer at its own port\n"};
  };
}

}  // namespace

MetricsEndpoint::MetricsEndpoint(std::unique_ptr<HttpServer> server) : server_(std::move(server)) {}

absl::StatusOr<std::unique_ptr<MetricsEndpoint>> MetricsEndpoint::Start(const std::string& host, int port,
                                                                        std::function<std::string()> scrape,
                                                                        std::function<bool()> healthy,
                                                                        std::function<bool()> alive) {
  HttpRoutes routes;
  routes.Add("GET", "/metrics", MetricsPage(std::move(scrape)));
  // A probe does not wait for scrapes.
  routes.Add("GET", "/healthz", HealthPage(std::move(healthy)), HttpRoutes::Where::kIoThread);
  routes.Add("GET", "/livez", LivenessPage(std::move(alive)), HttpRoutes::Where::kIoThread);
  absl::StatusOr<std::unique_ptr<HttpServer>> server =
      HttpServer::Start({.host = host, .port = port, .flag = "--metrics_listen"}, std::move(routes));
  if (!server.ok()) return server.status();
  return std::unique_ptr<MetricsEndpoint>(new MetricsEndpoint(*std::move(server)));
}

}  // namespace denoised
