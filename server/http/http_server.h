// File: http_server.h
//
// A small HTTP/1.1 server that may be shown to strangers. Whatever they do, memory, descriptors, threads and time are
// bounded, and a client that behaves is answered:
//
// - One thread does all reading and writing, a second one runs the handlers that take a while. No client holds either.
// - A request has a largest size (413, 431) and a time in which it must be complete (408); so has reading the answer.
// - Connections are limited, to an eighth of the process's descriptors at most. When one more comes, the one that has
//   waited for its client longest is closed, though not one that has come in this moment: then newcomers wait to be
//   accepted.
// - An eighth of the connections is kept for those that do not wait for a handler: with more than the others waiting,
//   one more is told so (503), and what is answered at once, such as a probe, still is.
// - When the process has no descriptor left, a few that are held in reserve serve this port.
// - A connection serves one request.
// - By TLS a handshake has a time of its own; connections in it count as others do. The moment above begins anew when
//   it begins and ends. Who speaks plain HTTP to such a port is told so.
//
//   HttpRoutes routes;
//   routes.Add("GET", "/hello", [](const HttpRequest&) { return HttpResponse{.body = "hello\n"}; });
//   absl::StatusOr<std::unique_ptr<HttpServer>> server = HttpServer::Start({.host = "0.0.0.0", .port = 8080}, routes);
//
// Built on Boost.Asio and Boost.Beast. Thread-safe.
#ifndef DENOISED_SERVER_HTTP_HTTP_SERVER_H_
#define DENOISED_SERVER_HTTP_HTTP_SERVER_H_

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "server/http/http_routes.h"
#include "server/http/http_tls.h"
#include "server/http/request_reader.h"

namespace denoised {

struct HttpServerOptions {
  // A name or an address, IPv6 without brackets; empty, 0.0.0.0 and :: are every address of this machine, IPv4 and
  // IPv6.
  std::string host = {};
  int port = 0;           // 0 picks a free one
  std::string flag = {};  // that sets them, to be named in errors: "--http_listen"
  int max_connections = 256;
  std::optional<HttpTls> tls = std::nullopt;  // none: plain text
  HttpRequestLimits limits = {};
  std::chrono::milliseconds handshake_timeout{10000};  // of TLS
  std::chrono::milliseconds idle_timeout{5000};        // until the next byte of a request
  std::chrono::milliseconds request_timeout{10000};    // until all of a request is there
  std::chrono::milliseconds response_timeout{10000};   // until the client has taken all of the answer
  // Until it has taken a piece of one that comes in pieces, beyond what that takes at this rate.
  std::chrono::milliseconds piece_timeout{10000};
  double piece_bytes_per_second = 16384;
  std::chrono::milliseconds linger_timeout{1000};  // until the client has closed after the answer
  // Hears of each answer to a request with a status of 400 or more, before it is sent, on the I/O thread; of the
  // request there is only the peer where it could not be read.
  std::function<void(const HttpRequest& request, const HttpResponse& answer)> on_error = nullptr;
};

class HttpServer {
 public:
  // The handlers are called by one thread at a time, or two where routes differ in it (HttpRoutes::Where). UNAVAILABLE
  // when the address cannot be bound.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const HttpServerOptions& options, HttpRoutes routes);

  // Closes the port and all connections, for good; whoever is still to answer has gone in vain.
  void CloseConnections();

  // The same, and waits for the handler that is running.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // How many connections a server that is started now takes at a time, as the process's limit of descriptors is now.
  static int ConnectionLimit(const HttpServerOptions& options);

  int port() const;

  // Waits until no client has yet to get what it has asked for, and is then true, or until the time is over. New ones
  // are taken meanwhile.
  bool AwaitAnswers(std::chrono::milliseconds timeout);

 private:
  struct Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace denoised

#endif  // DENOISED_SERVER_HTTP_HTTP_SERVER_H_
