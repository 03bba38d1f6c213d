// File: server.h
//
// The whole server, wired: gRPC services, scheduler, metrics endpoint, and the way they start and stop.
//
//   absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(options, LoadServingModel);
//   ... until SIGTERM ...
//   const DrainReport report = (*server)->Drain();
//
// Stopping, in order: health turns NOT_SERVING and its watches end, while calls are still taken (lame duck, so that
// load balancers can look away); the port closes and every connection is told to go elsewhere (GOAWAY), while what was
// admitted is finished, in drain_timeout at most; what is left then is dropped with UNAVAILABLE, and counted.
#ifndef DENOISED_SERVER_SERVER_H_
#define DENOISED_SERVER_SERVER_H_

#include <grpcpp/server.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/support/periodic_task.h"
#include "common/support/steady_event.h"
#include "server/access/access_control.h"
#include "server/access/credential_watch.h"
#include "server/access/tls_credentials.h"
#include "server/gateway/digit_gateway.h"
#include "server/metrics/metrics.h"
#include "server/metrics/metrics_endpoint.h"
#include "server/models/model_manager.h"
#include "server/service/channelz_service.h"
#include "server/service/digit_service.h"
#include "server/service/health_service.h"
#include "server/service/reflection_service.h"
#include "server/service/serving_model.h"
#include "server/supervisor.h"
#include "server/telemetry/call_log.h"
#include "server/telemetry/logging.h"
#include "server/tracing/otlp_exporter.h"
#include "server/tracing/otlp_options.h"
#include "server/transport/call_limit.h"
#include "server/transport/connection_listener.h"
#include "server/transport/flood_limit.h"
#include "server/transport/loopback_probe.h"
#include "server/transport/transport_options.h"

namespace denoised {

// In the place of an address: no such port.
inline constexpr char kPortOff[] = "off";

// What Server::Drain takes at most beyond lame_duck and drain_timeout. Whoever stops the process must be as patient.
inline constexpr double kMostClosingSeconds = 17;

struct ServerOptions {
  ServingModelOptions model;
  DigitServiceOptions service;
  std::string listen = "0.0.0.0:50051";
  std::string metrics_listen = "0.0.0.0:9464";  // or kPortOff
  std::string http_listen = kPortOff;           // or an address
  double lame_duck_seconds = 2;
  double drain_timeout_seconds = 300;
  double write_timeout_seconds = 30;
  double stall_timeout_seconds = 30;    // of one step; 0: for ever
  double watch_checkpoint_seconds = 0;  // 0: a replaced file is not looked for
  TlsOptions tls;
  AccessOptions access;
  TransportOptions transport;
  ProbeOptions probe;  // an interval of 0: none
  LoggingOptions logging;
  OtlpOptions otlp;
  // After a drain the process ends within this, whatever the engine does.
  std::chrono::milliseconds longest_end = std::chrono::seconds(30);
  // Ends the process when the engine is beyond help; by default at once, with exit status kEngineLost.
  std::function<void()> die;
  // After each probe, on its thread, as long as /livez says yes and denoising steps go on or are not needed. Null:
  // nobody is told.
  std::function<void()> on_alive = nullptr;
};

// The exit status of a server whose engine hangs or fails and could not be built anew.
inline constexpr int kEngineLost = 4;

// What came of a drain.
struct DrainReport {
  int dropped_requests = 0;  // that had been admitted
  int64_t dropped_images = 0;
  bool closed = false;  // no call and no connection is left; if not, a thread may hang, and destructors with it
};

// Thread-safe after Start, except that Drain is called once.
class Server {
 public:
  // How the model comes to be; LoadServingModel of loading/load_serving_model.h, but for tests.
  using ModelLoader = ModelManager::Loader;

  // Binds both ports, then loads the model, and returns once it is warm and health says SERVING. Errors of the loader;
  // UNAVAILABLE for an occupied port; INVALID_ARGUMENT for a malformed address; those of LoadCredentials.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options, const ModelLoader& load_model);
  // Flags that contradict themselves or are no addresses: INVALID_ARGUMENT. The first thing that Start does.
  static absl::Status Validate(const ServerOptions& options);
  // Binds the ports and lets go of them: UNAVAILABLE, in the words of Start, if that cannot be done.
  static absl::Status TryToBind(const ServerOptions& options);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // 0 for a Unix socket.
  int port() const { return listener_->port(); }
  // 0 when it is off.
  int metrics_port() const { return metrics_endpoint_ == nullptr ? 0 : metrics_endpoint_->port(); }

  int http_port() const { return gateway_ == nullptr ? 0 : gateway_->port(); }

  // The model that is served, and the reloading of it.
  ModelManager& models() { return models_; }

  // Stops as said above, sends the spans that are left, and says in the log what it waits for and what it had to drop.
  // Returns within lame_duck, drain_timeout and kMostClosingSeconds, even if a step hangs.
  DrainReport Drain();

 private:
  Server(const ServerOptions& options, const ModelLoader& load_model, const Credentials& credentials,
         std::unique_ptr<OtlpExporter> spans);

  absl::Status StartMetricsEndpoint();
  absl::Status StartGrpc();
  absl::Status StartGateway();
  DigitGateway::Interceptors Interceptors();
  absl::Status BindGrpcPort();
  void StartProbe();
  void StartLimits();
  bool alive() const { return probe_ == nullptr || probe_->alive(); }
  bool StepsGoOn();
  void ServeModel(std::shared_ptr<ServingModel> model);

  void WatchTheEnd();

  // What the supervisor sees and does.
  SupervisorHooks Hooks();
  SupervisorHooks HooksOfReplaced();
  std::optional<Heartbeat> ModelsHeartbeat();
  std::optional<Heartbeat> ReplacedHeartbeat();
  bool EndWork(EngineTrouble trouble);
  bool EndReplacedWork(EngineTrouble trouble);
  bool EndCalls(const std::shared_ptr<ServingModel>& model, EngineTrouble trouble);
  void Die(const std::string& why) const;
  bool Rebuild();
  void CompareTimeouts(const ServingModel& model) const;
  SchedulerStats Stats() const;
  GatewayStatus GatewayStats() const;

  // Drain's parts.
  DrainReport FinishWork();
  struct Backlog {
    int requests = 0;
    int64_t images = 0;
    std::chrono::nanoseconds duration{};  // that it should take
  };
  Backlog MeasureBacklog() const;
  void CloseToNewCalls();
  bool AwaitAdmitted();
  DrainReport DropTheRest();
  bool AwaitClosed();
  bool CutConnections();

  // Constant after Start.
  const ServerOptions options_;

  std::optional<PeriodicTask> end_watch_;  // NOTE: before all that may not end

  const AccessControl access_;
  const std::shared_ptr<const TlsCertificates> certificates_;  // null without TLS
  const std::shared_ptr<grpc::ServerCredentials> grpc_credentials_;
  Metrics metrics_;
  const std::unique_ptr<OtlpExporter> spans_;  // null: not asked for
  CallLog calls_;
  const CredentialWatch credential_watch_;
  HealthService health_;
  ReflectionService reflection_;
  ChannelzService channelz_;  // registered if it is asked for
  DigitService service_;
  ModelManager models_;
  std::unique_ptr<MetricsEndpoint> metrics_endpoint_;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> acceptor_;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> probe_acceptor_;
  std::unique_ptr<grpc::Server> grpc_server_;  // NOTE: after its services, so that it ends before them
  std::unique_ptr<DigitGateway> gateway_;
  std::unique_ptr<ConnectionListener> listener_;
  Heartbeat probed_heartbeat_;  // at the last probe; of its thread alone
  std::unique_ptr<LoopbackProbe> probe_;
  std::unique_ptr<CallLimit> call_limit_;
  std::unique_ptr<FloodLimit> flood_limit_;
  std::unique_ptr<PeriodicTask> flood_watch_;
  std::unique_ptr<Supervisor> supervisor_;
  std::shared_ptr<ServingModel> supervised_;  // at its last look; of its thread alone
  std::unique_ptr<Supervisor> replaced_supervisor_;
  std::weak_ptr<ServingModel> replaced_, ended_;  // at its last look, and when it last found trouble; likewise
  SteadyEvent closed_;                            // by closing_
  std::thread closing_;
};

}  // namespace denoised

#endif  // DENOISED_SERVER_SERVER_H_
