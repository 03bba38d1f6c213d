#include "server/metrics/metrics_endpoint.h"

#include <httplib.h>
#include <sys/socket.h>

#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace denoised {

struct MetricsEndpoint::Impl {
  httplib::Server server;
  std::thread thread;
  int port = 0;
};

namespace {

constexpr int kThreads = 4;
constexpr int kPatienceSeconds = 2;  // with a connection that sends nothing, and so holds a thread
constexpr char kContentType[] = "text/plain; version=0.0.4; charset=utf-8";

// An IPv6 address as it is written before a port.
std::string Bracketed(const std::string& host) {
  return host.find(':') == std::string::npos ? host : absl::StrCat("[", host, "]");
}

}  // namespace

MetricsEndpoint::MetricsEndpoint(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

MetricsEndpoint::~MetricsEndpoint() {
  impl_->server.stop();
  impl_->thread.join();
}

int MetricsEndpoint::port() const { return impl_->port; }

absl::StatusOr<std::unique_ptr<MetricsEndpoint>> MetricsEndpoint::Start(const std::string& host, int port,
                                                                        std::function<std::string()> scrape,
                                                                        std::function<bool()> healthy) {
  auto impl = std::make_unique<Impl>();
  httplib::Server& server = impl->server;
  server.new_task_queue = [] { return new httplib::ThreadPool(kThreads); };
  // NOTE: an idle connection holds one of the threads; a probe must not wait for those that other clients keep.
  server.set_keep_alive_max_count(1);
  server.set_keep_alive_timeout(kPatienceSeconds);
  server.set_read_timeout(kPatienceSeconds);
  // NOTE: the library's default would share the port with another process in silence (SO_REUSEPORT).
  server.set_socket_options([](socket_t socket) {
    const int yes = 1;
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  });
  server.Get("/metrics", [scrape = std::move(scrape)](const httplib::Request&, httplib::Response& response) {
    response.set_content(scrape(), kContentType);
  });
  server.Get("/healthz", [healthy = std::move(healthy)](const httplib::Request&, httplib::Response& response) {
    const bool ok = healthy();
    response.status = ok ? 200 : 503;
    response.set_content(ok ? "serving\n" : "not serving\n", "text/plain");
  });
  impl->port = port == 0 ? server.bind_to_any_port(host.c_str()) : server.bind_to_port(host.c_str(), port) ? port : -1;
  if (impl->port < 0) {
    return absl::UnavailableError(absl::StrCat("cannot listen on ", Bracketed(host), ":", port,
                                               " for metrics: the port is taken, or the address is not this machine's; "
                                               "choose another with --metrics_listen"));
  }
  impl->thread = std::thread([&server] { server.listen_after_bind(); });
  // NOTE: stop() does nothing before the loop has begun, and the destructor would wait forever.
  while (!server.is_running()) std::this_thread::yield();
  return std::unique_ptr<MetricsEndpoint>(new MetricsEndpoint(std::move(impl)));
}

}  // namespace denoised
