#include "server/server.h"

#include <grpc/grpc.h>
#include <grpcpp/server_builder.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <future>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/support/clock.h"
#include "common/support/status_macros.h"
#include "server/http/http_server.h"
#include "server/metrics/call_metrics.h"
#include "server/service/unreadable_request.h"
#include "server/transport/descriptor_limit.h"
#include "server/transport/heard_calls.h"
#include "server/transport/lingering_close.h"
#include "server/transport/listen_address.h"
#include "server/transport/open_calls.h"

namespace denoised {
namespace {

using Clock = std::chrono::steady_clock;

constexpr char kServiceName[] = "denoised.v1.DigitService";
constexpr char kHealthName[] = "grpc.health.v1.Health";
constexpr char kReflectionName[] = "grpc.reflection.v1alpha.ServerReflection";
constexpr char kChannelzName[] = "grpc.channelz.v1.Channelz";
constexpr int kReservedDescriptors = 16;  // for checkpoints and logs, when connections have taken the others
// For clients of HTTP to take what was drawn for them, and for a collector to take the last spans.
constexpr auto kLastWords = std::chrono::seconds(2);
constexpr auto kPollInterval = std::chrono::milliseconds(20);

// For the last words to reach clients and connections to be closed by them, and then for closing them without.
constexpr double kFarewellSeconds = 4;
constexpr double kCloseSeconds = 4;
// Between two looks at whether the server's destruction still goes on.
constexpr std::chrono::milliseconds kEndTick(100);
// A call that a port took just before it was told to take no more may not be counted yet.
constexpr double kQuietSeconds = 0.25;
// HTTP's answers, gRPC's, the cut, those who have yet to read, and spans.
static_assert(kQuietSeconds + 2 * kFarewellSeconds + kCloseSeconds < kMostClosingSeconds - 2 * kLastWords.count());

// `whose` is empty or begins with a blank.
std::string TroubleText(EngineTrouble trouble, const char* whose) {
  return trouble == EngineTrouble::kFailing
             ? absl::StrCat("the engine", whose, " fails step after step")
             : absl::StrCat("a denoising step", whose, " has taken longer than --stall_timeout");
}

// Waits until `done`, at most so long; true if it came to that.
bool WaitFor(double seconds, const std::function<bool()>& done) {
  const Clock::time_point end = Clock::now() + Nanoseconds(seconds);
  while (!done()) {
    if (Clock::now() >= end) return false;
    std::this_thread::sleep_for(kPollInterval);
  }
  return true;
}

absl::Status CheckHttpAddress(const std::string& flag, const std::string& text, int usual_port) {
  if (text == kPortOff) return absl::OkStatus();
  DENOISED_ASSIGN_OR_RETURN(const ListenAddress address, ListenAddress::Parse(flag, text));
  if (address.unix_path.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(flag, " must be an address and a port, such as 127.0.0.1:", usual_port,
                                                 "; it takes no Unix socket"));
}

absl::Status CheckAddressesDiffer(const ServerOptions& options) {
  std::vector<std::pair<std::string, ListenAddress>> before;
  for (const auto& [flag, text] : {std::pair("--listen", options.listen),
                                   {"--metrics_listen", options.metrics_listen},
                                   {"--http_listen", options.http_listen}}) {
    if (text == kPortOff) continue;
    DENOISED_ASSIGN_OR_RETURN(const ListenAddress address, ListenAddress::Parse(flag, text));
    for (const auto& [other_flag, other] : before) {
      if (!address.Excludes(other)) continue;
      return absl::InvalidArgumentError(absl::StrCat(other_flag, " and ", flag, " cannot both have port ", address.port,
                                                     ": give one of them another"));
    }
    before.emplace_back(flag, address);
  }
  return absl::OkStatus();
}

absl::Status CheckHttpIsSafe(const ServerOptions& options) {
  if (options.http_listen == kPortOff) return absl::OkStatus();
  return CheckTokensAreSafe(options.access, "--http_listen", options.http_listen, "127.0.0.1:8080",
                            /*tls=*/!options.tls.cert.empty());
}

// More calls of one connection than are ever admitted, so that the queue's answer comes before a silent wait.
TransportOptions TransportFor(const ServerOptions& options) {
  constexpr int kOtherCalls = 100;  // watches of health, GetModel and the like
  constexpr int kMostRows = 256;    // where the number is left to the device
  TransportOptions transport = options.transport;
  const int rows = options.model.max_batch_rows == 0 ? kMostRows : options.model.max_batch_rows;
  transport.max_streams = std::max(transport.max_streams, options.model.max_queued_images + rows + kOtherCalls);
  return transport;
}

std::vector<std::string> ServiceNames(const ServerOptions& options) {
  std::vector<std::string> names = {kServiceName, kHealthName};
  if (options.transport.channelz) names.emplace_back(kChannelzName);
  return names;
}

std::vector<std::string> CountedServices(const ServerOptions& options) {
  std::vector<std::string> names = ServiceNames(options);
  names.emplace_back(kReflectionName);
  return names;
}

// What connections to the gRPC port leave for others: for those to the HTTP ports too, as many as those take.
int ReservedDescriptors(const ServerOptions& options) {
  int reserved = kReservedDescriptors;
  for (const std::string& listen : {options.metrics_listen, options.http_listen}) {
    if (listen != kPortOff) reserved += HttpServer::ConnectionLimit({});
  }
  return reserved;
}

absl::StatusOr<std::unique_ptr<ConnectionListener>> BindForGrpc(const std::string& listen,
                                                                const ListenerOptions& options) {
  DENOISED_ASSIGN_OR_RETURN(const ListenAddress address, ListenAddress::Parse("--listen", listen));
  absl::StatusOr<std::unique_ptr<ConnectionListener>> listener = ConnectionListener::Bind(address, options);
  if (listener.ok()) return listener;
  const char* reason = "the port is taken, or the address is not this machine's";
  if (!address.unix_path.empty()) {
    reason = listener.status().message() == std::strerror(EADDRINUSE)
                 ? "another server has it, or what is there is no socket and is kept"
                 : "no socket can be made there";
  }
  return absl::UnavailableError(absl::StrCat("cannot listen on ", listen, ": ", reason, " (",
                                             listener.status().message(), "); choose another with --listen"));
}

// Null where there is to be none.
absl::StatusOr<std::unique_ptr<HttpServer>> BindForHttp(const std::string& flag, const std::string& listen) {
  if (listen == kPortOff) return nullptr;
  DENOISED_ASSIGN_OR_RETURN(const ListenAddress address, ListenAddress::Parse(flag, listen));
  return HttpServer::Start({.host = address.host, .port = address.port, .flag = flag}, HttpRoutes());
}

DigitServiceOptions ServiceOptions(const ServerOptions& options) {
  DigitServiceOptions service = options.service;
  service.read_limits.grace = Nanoseconds(options.write_timeout_seconds);
  return service;
}

}  // namespace

Server::Server(const ServerOptions& options, const ModelLoader& load_model, const Credentials& credentials,
               std::unique_ptr<OtlpExporter> spans)
    : options_(options),
      access_(credentials.tokens, options.access.client_header),
      certificates_(credentials.certificates),
      grpc_credentials_(MakeServerCredentials(credentials.certificates)),
      spans_(std::move(spans)),
      calls_({.sink = spans_.get(), .sample_ratio = options.otlp.sample_ratio}),
      credential_watch_(credentials,
                        [this](const TlsMaterial& material) { metrics_.SetCertificateExpiry(material.not_after); }),
      health_({kServiceName}),
      reflection_(ServiceNames(options)),
      channelz_(access_),
      service_(ServiceOptions(options), access_, metrics_, calls_),
      models_({.model = options.model, .watch_interval = Nanoseconds(options.watch_checkpoint_seconds)}, load_model,
              metrics_, [this](std::shared_ptr<ServingModel> model) { ServeModel(std::move(model)); }) {
  DeclareCallMetrics(ServiceNames(options), metrics_);
  metrics_.SetStatsSource([this] { return Stats(); });
  metrics_.SetLogLinesLostSource(LogLinesLost);
  if (spans_ == nullptr) return;
  metrics_.SetSpansSource([this] {
    const SpanCounts counts = spans_->counts();
    return std::map<std::string, int64_t>{
        {"exported", counts.exported}, {"queue_full", counts.queue_full}, {"failed", counts.failed}};
  });
}

Server::~Server() {
  supervisor_.reset();
  replaced_supervisor_.reset();
  WatchTheEnd();
  metrics_endpoint_.reset();  // its pages ask for what ends below
  gateway_.reset();
  if (grpc_server_ == nullptr) return;
  if (!closing_.joinable()) {
    health_.Drain();
    CloseToNewCalls();
    for (const std::shared_ptr<ServingModel>& model : models_.live()) model->scheduler().Shutdown();
  }
  if (!closed_.WaitFor(Nanoseconds(kFarewellSeconds))) {
    grpc_server_cancel_all_calls(grpc_server_->c_server());
  }
  closing_.join();
}

// The scheduler's thread is waited for, and nobody else notices any more that it hangs. Counted in ticks, as a process
// may be stopped as a whole.
void Server::WatchTheEnd() {
  end_watch_.emplace(kEndTick, [this, ticks = 0]() mutable {
    if (++ticks != options_.longest_end / kEndTick) return;
    Die("a denoising step does not end, or loading a checkpoint does not");
  });
}

// ---- The engine's supervision ----

SupervisorHooks Server::Hooks() {
  return {.heartbeat = [this] { return ModelsHeartbeat(); },
          .end_work = [this](EngineTrouble trouble) { return EndWork(trouble); },
          .rebuild = [this] { return Rebuild(); },
          .die = [this](const std::string& why) { Die(why); }};
}

// Of the generation that has been replaced and lives on for its calls.
SupervisorHooks Server::HooksOfReplaced() {
  return {.heartbeat = [this] { return ReplacedHeartbeat(); },
          .end_work = [this](EngineTrouble trouble) { return EndReplacedWork(trouble); },
          .rebuild = nullptr,
          .die = [this](const std::string& why) { Die(why); }};
}

void Server::Die(const std::string& why) const {
  spdlog::critical("{}: the process ends with exit status {}, so that another one can do better", why, kEngineLost);
  if (options_.die) return options_.die();
  EndProcess(kEngineLost);
}

std::optional<Heartbeat> Server::ModelsHeartbeat() {
  supervised_ = service_.model();
  return supervised_ == nullptr ? std::nullopt : std::optional(supervised_->scheduler().heartbeat());
}

std::optional<Heartbeat> Server::ReplacedHeartbeat() {
  const std::shared_ptr<ServingModel> serving = service_.model(), ended = ended_.lock();
  if (serving == nullptr) return std::nullopt;  // none has been replaced: the one there is, is being built anew
  for (const std::shared_ptr<ServingModel>& model : models_.live()) {
    const Heartbeat heartbeat = model->scheduler().heartbeat();
    if (model == serving || model == ended || !heartbeat.working) continue;  // without calls there is nothing to save
    replaced_ = model;
    return heartbeat;
  }
  return std::nullopt;
}

// Health says NOT_SERVING, new calls are refused, and those under way end with UNAVAILABLE.
bool Server::EndWork(EngineTrouble trouble) {
  const std::shared_ptr<ServingModel> model = std::exchange(supervised_, nullptr);
  const bool serves = service_.model() == model;  // or it was on probation, and the one before serves again
  if (serves) {
    health_.SetServing(false);
    service_.SetModel(nullptr);
  }
  spdlog::error("{}: its calls end{}", TroubleText(trouble, ""), serves ? ", and the engine is built anew" : "");
  return EndCalls(model, trouble);
}

// The other generation goes on serving.
bool Server::EndReplacedWork(EngineTrouble trouble) {
  const std::shared_ptr<ServingModel> model = replaced_.lock();
  if (model == nullptr) return true;
  ended_ = model;
  spdlog::error("{}: its calls end", TroubleText(trouble, " of the model that was replaced"));
  return EndCalls(model, trouble);
}

bool Server::EndCalls(const std::shared_ptr<ServingModel>& model, EngineTrouble trouble) {
  metrics_.OnEngineTrouble(EngineTroubleName(trouble));
  if (trouble == EngineTrouble::kFailing) {
    models_.Forget(model);
    model->scheduler().GiveUp(
        absl::UnavailableError("the engine failed step after step in the middle of this image; try another replica"));
    return true;
  }
  models_.Disown(model);
  return model->scheduler().Abandon(
      absl::UnavailableError("the engine stopped answering in the middle of this image; try another replica"));
}

// A device that hangs may do so again, and then nobody can be asked any more.
bool Server::Rebuild() {
  constexpr std::chrono::seconds kMostSeconds(60);
  if (models_.stopping()) return false;
  if (service_.model() != nullptr) {  // the one before a generation on probation
    health_.SetServing(true);
    return true;
  }
  const auto status = std::make_shared<std::promise<absl::Status>>();
  std::future<absl::Status> result = status->get_future();
  const int64_t load = models_.RequestReload("the engine is lost");
  try {
    std::thread([this, load, status] { status->set_value(models_.AwaitReload(load)); }).detach();
  } catch (const std::system_error& e) {
    spdlog::error("the engine cannot be built anew: no thread can be had ({})", e.code().message());
    return false;
  }
  if (result.wait_for(kMostSeconds) != std::future_status::ready) return false;
  const absl::Status reloaded = result.get();
  if (absl::IsCancelled(reloaded)) return true;  // it drains since, and needs no new engine
  if (!reloaded.ok()) {
    spdlog::error("the engine could not be built anew: {}", std::string(reloaded.message()));
    return false;
  }
  health_.SetServing(true);
  spdlog::info("a new engine serves");
  return true;
}

// Of all models together: one that was replaced goes on with its calls.
SchedulerStats Server::Stats() const {
  SchedulerStats sum;
  for (const std::shared_ptr<ServingModel>& model : models_.live()) {
    const SchedulerStats stats = model->scheduler().stats();
    sum.waiting_images += stats.waiting_images;
    sum.denoising_images += stats.denoising_images;
    sum.oldest_wait = std::max(sum.oldest_wait, stats.oldest_wait);
    sum.step_rows = std::max(sum.step_rows, stats.step_rows);
  }
  return sum;
}

absl::Status Server::Validate(const ServerOptions& options) {
  if (options.model.max_batch_rows == 1) {
    return absl::InvalidArgumentError("--max_batch_rows must be at least 2, because a guided image takes two rows");
  }
  DENOISED_RETURN_IF_ERROR(ListenAddress::Parse("--listen", options.listen).status());
  DENOISED_RETURN_IF_ERROR(CheckHttpAddress("--metrics_listen", options.metrics_listen, 9464));
  DENOISED_RETURN_IF_ERROR(CheckHttpAddress("--http_listen", options.http_listen, 8080));
  DENOISED_RETURN_IF_ERROR(CheckAddressesDiffer(options));
  DENOISED_RETURN_IF_ERROR(CheckOtlpOptions(options.otlp));
  return CheckHttpIsSafe(options);
}

// All at once, so that none is the other's.
absl::Status Server::TryToBind(const ServerOptions& options) {
  const auto grpc = BindForGrpc(options.listen, {});
  DENOISED_RETURN_IF_ERROR(grpc.status());
  const auto metrics = BindForHttp("--metrics_listen", options.metrics_listen);
  DENOISED_RETURN_IF_ERROR(metrics.status());
  return BindForHttp("--http_listen", options.http_listen).status();
}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options, const ModelLoader& load_model) {
  DENOISED_RETURN_IF_ERROR(Validate(options));
  DENOISED_ASSIGN_OR_RETURN(const Credentials credentials,
                            LoadCredentials(options.tls, options.access, options.listen));
  DENOISED_ASSIGN_OR_RETURN(std::unique_ptr<OtlpExporter> spans, OtlpExporter::Start(options.otlp));
  std::unique_ptr<Server> server(new Server(options, load_model, credentials, std::move(spans)));
  DENOISED_RETURN_IF_ERROR(server->StartGrpc());
  DENOISED_RETURN_IF_ERROR(server->StartMetricsEndpoint());
  DENOISED_RETURN_IF_ERROR(server->StartGateway());
  spdlog::info("loading {}", options.model.checkpoint);
  DENOISED_RETURN_IF_ERROR(server->models_.Start());
  server->health_.SetServing(true);
  const SupervisorOptions supervision{.stall_timeout = Nanoseconds(options.stall_timeout_seconds)};
  server->supervisor_ = std::make_unique<Supervisor>(supervision, server->Hooks());
  server->supervisor_->Start();
  server->replaced_supervisor_ = std::make_unique<Supervisor>(supervision, server->HooksOfReplaced());
  server->replaced_supervisor_->Start();
  return server;
}

absl::Status Server::StartMetricsEndpoint() {
  if (options_.metrics_listen == kPortOff) return absl::OkStatus();
  DENOISED_ASSIGN_OR_RETURN(const ListenAddress address,
                            ListenAddress::Parse("--metrics_listen", options_.metrics_listen));
  DENOISED_ASSIGN_OR_RETURN(metrics_endpoint_, MetricsEndpoint::Start(
                                                   address.host, address.port, [this] { return metrics_.Scrape(); },
                                                   [this] { return health_.serving(); }, [this] { return alive(); }));
  return absl::OkStatus();
}

absl::Status Server::StartGateway() {
  if (options_.http_listen == kPortOff) return absl::OkStatus();
  DENOISED_ASSIGN_OR_RETURN(const ListenAddress address, ListenAddress::Parse("--http_listen", options_.http_listen));
  const GatewayOptions gateway = {
      .host = address.host,
      .port = address.port,
      .client_header = options_.access.client_header,
      .certificates = certificates_,
      .piece_timeout = std::chrono::ceil<std::chrono::milliseconds>(Nanoseconds(options_.write_timeout_seconds)),
      .piece_bytes_per_second = options_.service.read_limits.bytes_per_second,
      .on_failed_handshake = LogFailedHandshake,
      .on_refused = RefusedRequestLog()};
  DENOISED_ASSIGN_OR_RETURN(
      gateway_, DigitGateway::Start(gateway, service_, Interceptors(), access_, [this] { return GatewayStats(); }));
  return absl::OkStatus();
}

GatewayStatus Server::GatewayStats() const {
  const SchedulerStats stats = Stats();
  const Metrics::StepTotals totals = metrics_.step_totals();
  return {.queued_images = stats.waiting_images,
          .denoising_images = stats.denoising_images,
          .oldest_wait_seconds = Seconds(stats.oldest_wait),
          .step_rows = stats.step_rows,
          .steps = totals.steps,
          .step_rows_total = totals.rows,
          .step_seconds_total = totals.seconds};
}

// What finds a request that cannot be read, counts each call and writes its line.
DigitGateway::Interceptors Server::Interceptors() {
  DigitGateway::Interceptors interceptors;
  interceptors.push_back(UnreadableRequestInterceptor());
  interceptors.push_back(HeardCallsInterceptor());
  interceptors.push_back(CallMetricsInterceptor(CountedServices(options_), metrics_));
  interceptors.push_back(calls_.Interceptor());
  return interceptors;
}

absl::Status Server::StartGrpc() {
  DENOISED_RETURN_IF_ERROR(BindGrpcPort());
  grpc::ServerBuilder builder;
  SetTransportOptions(TransportFor(options_), builder);
  using Experimental = grpc::ServerBuilder::experimental_type;
  constexpr auto kFromFd = Experimental::ExternalConnectionType::FROM_FD;
  acceptor_ = builder.experimental().AddExternalConnectionAcceptor(kFromFd, grpc_credentials_);
  probe_acceptor_ = builder.experimental().AddExternalConnectionAcceptor(kFromFd, grpc::InsecureServerCredentials());
  builder.RegisterService(&service_);
  builder.RegisterService(&health_);
  for (grpc::Service* service : reflection_.services()) builder.RegisterService(service);
  if (options_.transport.channelz) builder.RegisterService(&channelz_);
  builder.experimental().SetInterceptorCreators(Interceptors());
  grpc_server_ = builder.BuildAndStart();
  if (grpc_server_ == nullptr) return absl::InternalError("gRPC does not start; --log_level=debug shows what it says");
  listener_->Start([this](const AcceptedConnection& connection) {
    grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters parameters;
    parameters.listener_fd = connection.listener;
    parameters.fd = connection.socket;
    (connection.from_probe ? probe_acceptor_ : acceptor_)->HandleNewConnection(&parameters);
  });
  StartProbe();
  StartLimits();
  return absl::OkStatus();
}

absl::Status Server::BindGrpcPort() {
  const int descriptors = RaiseDescriptorLimit();
  DENOISED_ASSIGN_OR_RETURN(listener_,
                            BindForGrpc(options_.listen, {.max_connections = options_.transport.max_connections,
                                                          .descriptor_limit = descriptors,
                                                          .reserved_descriptors = ReservedDescriptors(options_),
                                                          .on_refused = [this] { metrics_.OnConnectionRefused(); },
                                                          .on_cut = [this] { metrics_.OnConnectionCut(); }}));
  metrics_.SetConnectionsSource([this] { return listener_->connections(); });
  return absl::OkStatus();
}

void Server::StartProbe() {
  if (options_.probe.interval_seconds <= 0) return;
  probe_ = std::make_unique<LoopbackProbe>(
      options_.probe, listener_->loopback(), [this](const SocketAddress& own) { listener_->ExpectProbe(own); },
      [this](bool answered, bool alive) {
        metrics_.OnLoopbackProbe(answered);
        if (StepsGoOn() && alive && options_.on_alive) options_.on_alive();
      });
}

// False if the loop of steps has had work since the last probe and has made nothing of it.
bool Server::StepsGoOn() {
  const std::shared_ptr<ServingModel> model = service_.model();
  const Heartbeat now = model == nullptr ? Heartbeat() : model->scheduler().heartbeat();
  const Heartbeat before = std::exchange(probed_heartbeat_, now);
  return !now.working || !before.working || now.beats != before.beats;
}

void Server::StartLimits() {
  const TransportOptions transport = TransportFor(options_);
  const auto cut = [this](const SocketAddress& peer) { return listener_->Cut(peer); };
  call_limit_ = std::make_unique<CallLimit>(std::max<int64_t>(transport.max_calls, transport.max_streams), cut);
  flood_limit_ = std::make_unique<FloodLimit>(
      FloodBytes{.each = transport.max_flood_bytes,
                 .all = transport.max_flood_bytes_of_all,
                 .unheard = transport.max_unheard_bytes,
                 .unheard_of_all = transport.max_unheard_bytes_of_all},
      [this] { return listener_->Traffic(); }, OpenCalls, cut);
  flood_watch_ = std::make_unique<PeriodicTask>(kFloodPeriod, [this] { flood_limit_->Check(); });
}

// Says how long a full queue takes, and whether what it holds can be lost for want of time.
void Server::CompareTimeouts(const ServingModel& model) const {
  const int steps = LongestChain(model.info().metadata);
  const double seconds = std::ceil(Seconds(model.scheduler().DurationOfFullQueue(steps)));
  spdlog::info("a full queue, {} images of {} steps, takes about {:.0f} s", model.scheduler().capacity(), steps,
               seconds);
  const TransportOptions& transport = options_.transport;
  if (transport.max_connection_age_seconds > 0 && seconds > transport.max_connection_age_grace_seconds) {
    spdlog::warn(
        "--max_connection_age_grace={:.0f} is shorter than that: calls that wait long could be cut; allow more "
        "time, or turn --max_connection_age off by 0",
        transport.max_connection_age_grace_seconds);
  }
  if (seconds > options_.drain_timeout_seconds) {
    spdlog::warn(
        "--drain_timeout={:.0f} is shorter than that: a stop could drop what was admitted; allow more time, "
        "and whoever starts this process too (terminationGracePeriodSeconds, docker stop --time), or lower "
        "--max_queued_images",
        options_.drain_timeout_seconds);
  }
}

// Makes new calls use this model.
void Server::ServeModel(std::shared_ptr<ServingModel> model) {
  const ModelInfo& info = model->info();
  spdlog::info("model {} ({}, {} parameters) on {}", info.version(), info.metadata.unet.architecture,
               info.parameter_count, info.device);
  if (const std::string engine = model->engine().Description(); !engine.empty()) spdlog::info("engine: {}", engine);
  for (const std::string& engine : info.passed_over) spdlog::warn("passed over: {}", engine);
  spdlog::info("a denoising step takes up to {} network rows", model->scheduler().step_rows());
  if (model->scheduler().OughtToMeasureAgain()) {
    const StepMeasurement measurement = model->scheduler().measurement();
    spdlog::warn(
        "the machine was busy while steps were timed: the shortest times differ by {:.0f} %, the mean is {:.0f} % "
        "longer; they are measured again when there is nothing to draw",
        100 * measurement.spread(), 100 * measurement.delay());
  }
  CompareTimeouts(*model);
  service_.SetModel(std::move(model));
}

DrainReport Server::Drain() {
  const DrainReport report = FinishWork();
  if (spans_ != nullptr) spans_->Flush(kLastWords);
  return report;
}

DrainReport Server::FinishWork() {
  models_.Stop();
  health_.Drain();
  std::this_thread::sleep_for(Nanoseconds(options_.lame_duck_seconds));
  CloseToNewCalls();
  const Backlog backlog = MeasureBacklog();
  spdlog::info(
      "draining: {} requests with {} images left, which should take {:.0f} s; --drain_timeout gives them {:.0f} s",
      backlog.requests, backlog.images, std::ceil(Seconds(backlog.duration)), options_.drain_timeout_seconds);
  if (AwaitAdmitted()) return {.closed = AwaitClosed()};
  return DropTheRest();
}

Server::Backlog Server::MeasureBacklog() const {
  Backlog backlog{.requests = metrics_.requests_in_flight()};
  for (const std::shared_ptr<ServingModel>& model : models_.live()) {
    const SchedulerStats stats = model->scheduler().stats();
    backlog.images += stats.waiting_images + stats.denoising_images;
    backlog.duration += model->scheduler().UntilIdle();
  }
  return backlog;
}

// The listener closes, and clients are told by GOAWAY to make their next calls elsewhere.
void Server::CloseToNewCalls() {
  if (probe_ != nullptr) probe_->Stop();
  listener_->Stop();
  if (gateway_ != nullptr) gateway_->StopAdmitting();
  reflection_.Drain();
  closing_ = std::thread([this] {
    grpc_server_->Shutdown();  // NOTE: returns only after the last call and connection
    closed_.Set();
  });
  for (const std::shared_ptr<ServingModel>& model : models_.live()) model->scheduler().StopAdmitting();
}

// True if all that was admitted is finished. Calls of other services, which a client may keep open, are not waited for.
bool Server::AwaitAdmitted() {
  Clock::time_point busy = Clock::now();
  return WaitFor(options_.drain_timeout_seconds + kQuietSeconds, [this, &busy] {
    if (metrics_.requests_in_flight() > 0) {
      busy = Clock::now();
      return false;
    }
    const bool nobody_comes = closed_.is_set() && gateway_ == nullptr;  // HTTP's calls are not that server's
    return nobody_comes || Clock::now() - busy >= Nanoseconds(kQuietSeconds);
  });
}

DrainReport Server::DropTheRest() {
  const Backlog dropped = MeasureBacklog();
  metrics_.OnDrainDropped(dropped.images);
  spdlog::error(
      "--drain_timeout is over: {} requests are dropped, with {} images that were not drawn; they would have taken "
      "another {:.0f} s",
      dropped.requests, dropped.images, std::ceil(Seconds(dropped.duration)));
  for (const std::shared_ptr<ServingModel>& model : models_.live()) model->scheduler().Shutdown();
  return {.dropped_requests = dropped.requests, .dropped_images = dropped.images, .closed = AwaitClosed()};
}

// True if no call is left, of either port.
bool Server::AwaitClosed() {
  const bool answered = gateway_ == nullptr || gateway_->AwaitAnswers(kLastWords);
  const bool closed = WaitFor(kFarewellSeconds, [this] { return closed_.is_set(); }) || CutConnections();
  AwaitLingering(Nanoseconds(kFarewellSeconds));  // for clients that have yet to read what was sent
  return answered && closed;
}

// True if nothing is left.
bool Server::CutConnections() {
  grpc_server_cancel_all_calls(grpc_server_->c_server());
  return WaitFor(kCloseSeconds, [this] { return closed_.is_set(); });
}

}  // namespace denoised
