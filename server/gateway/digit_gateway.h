// File: digit_gateway.h
//
// The service for whoever speaks HTTP rather than gRPC, and a page that shows it.
//
//   GET  /                        the page
//   POST /v1/digits:generate      a GenerateDigitRequest as proto3 JSON; answered by a line of JSON for each event
//   GET  /v1/digits/7.png?seed=42 a picture; its class by number or by name, Ankle%20boot.png
//   GET  /v1/model                GetModel
//   GET  /v1/status               what is waiting and being drawn, and counts of steps
//   GET  /openapi.json            all of this for programs
//
// Each request becomes a call of the server's own services, within the process: validation, admission, tokens, shares,
// log lines and metrics are those of gRPC, and so are the words of errors. `Authorization: Bearer`, `X-Request-Id`,
// `Traceparent` and the header that names clients are passed on; who calls is who has the HTTP connection, with the
// name in its certificate where TLS asks for one.
//
// Thread-safe.
#ifndef DENOISED_SERVER_GATEWAY_DIGIT_GATEWAY_H_
#define DENOISED_SERVER_GATEWAY_DIGIT_GATEWAY_H_

#include <grpcpp/server.h>
#include <grpcpp/support/server_interceptor.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "denoised/v1/digit_service.grpc.pb.h"
#include "server/access/access_control.h"
#include "server/access/tls_certificates.h"
#include "server/gateway/digit_call.h"
#include "server/http/http_server.h"

namespace denoised {

struct GatewayOptions {
  std::string host;
  int port = 0;                                                   // 0: any that is free
  std::string client_header;                                      // AccessOptions::client_header
  std::shared_ptr<const TlsCertificates> certificates = nullptr;  // null: plain text
  // HttpServerOptions' of events.
  std::chrono::milliseconds piece_timeout{30000};
  double piece_bytes_per_second = 16384;
  // A handshake of TLS that came to nothing, in words; on the HTTP server's I/O thread.
  std::function<void(const std::string& how)> on_failed_handshake = nullptr;
  // A request that was answered with an error before it was a call, such as "GET /nowhere: 404: nothing is here"; on
  // the same thread.
  std::function<void(const std::string& what, const std::string& peer)> on_refused = nullptr;
};

// Counts since the start, and how things are.
struct GatewayStatus {
  int64_t queued_images = 0;
  int64_t denoising_images = 0;
  double oldest_wait_seconds = 0;
  int step_rows = 0;  // at most
  double steps = 0;
  double step_rows_total = 0;
  double step_seconds_total = 0;
};

class DigitGateway {
 public:
  using Interceptors = std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>>;

  // `service` is called within the process, seen by `interceptors`; `access` decides who may see the status. Both
  // outlive the gateway. UNAVAILABLE when the address cannot be bound.
  static absl::StatusOr<std::unique_ptr<DigitGateway>> Start(const GatewayOptions& options,
                                                             v1::DigitService::CallbackService& service,
                                                             Interceptors interceptors, const AccessControl& access,
                                                             std::function<GatewayStatus()> status);

  // Closes all connections, by which what is under way is cancelled, and waits for it: before the service ends.
  ~DigitGateway();
  DigitGateway(const DigitGateway&) = delete;
  DigitGateway& operator=(const DigitGateway&) = delete;

  int port() const { return server_->port(); }

  // From now on requests are refused; those under way go on.
  void StopAdmitting();

  // Waits until every client has what it asked for, and is then true, or until the time is over.
  bool AwaitAnswers(std::chrono::milliseconds timeout) { return server_->AwaitAnswers(timeout); }

 private:
  DigitGateway(const GatewayOptions& options, v1::DigitService::CallbackService& service, const AccessControl& access,
               std::function<GatewayStatus()> status);

  HttpRoutes Routes();
  std::function<void()> Generate(const HttpRequest& request, std::shared_ptr<HttpResponder> responder);
  std::function<void()> Draw(const HttpRequest& request, std::shared_ptr<HttpResponder> responder);
  std::function<void()> DescribeModel(const HttpRequest& request, std::shared_ptr<HttpResponder> responder);
  HttpResponse DescribeStatus(const HttpRequest& request) const;

  CallMetadata MetadataOf(const HttpRequest& request) const;
  std::function<void()> Run(const std::shared_ptr<DigitCall>& call, const v1::GenerateDigitRequest& drawing,
                            const HttpRequest& request);
  // Whether there may be one more call; it is to be left.
  absl::Status Enter();
  void Leave();

  // Constant after Start.
  const GatewayOptions options_;
  const AccessControl& access_;
  const std::function<GatewayStatus()> status_;
  const std::unique_ptr<v1::DigitService::CallbackService> inner_service_;
  std::unique_ptr<grpc::Server> inner_server_;
  std::unique_ptr<v1::DigitService::Stub> stub_;
  std::unique_ptr<HttpServer> server_;

  absl::Mutex mu_;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  int calls_ ABSL_GUARDED_BY(mu_) = 0;  // under way
};

}  // namespace denoised

#endif  // DENOISED_SERVER_GATEWAY_DIGIT_GATEWAY_H_
