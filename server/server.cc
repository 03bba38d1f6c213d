#include "server/server.h"

#include <grpc/grpc.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/server_builder.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <cmath>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/support/clock.h"
#include "common/support/status_macros.h"
#include "server/metrics/call_metrics.h"

namespace denoised {
namespace {

using Clock = std::chrono::steady_clock;

constexpr char kServiceName[] = "denoised.v1.DigitService";
constexpr auto kPollInterval = std::chrono::milliseconds(20);

// For the last words to reach clients and connections to be closed by them, and then for closing them without.
constexpr double kFarewellSeconds = 4;
constexpr double kCloseSeconds = 4;
// A call that gRPC took just before it was told to take no more may not be counted yet.
constexpr double kQuietSeconds = 0.25;
constexpr int kMaxRequestBytes = 64 << 10;  // a request is a few dozen bytes

struct HostPort {
  std::string host;  // without the brackets of an IPv6 address
  int port = 0;
};

absl::StatusOr<HostPort> ParseHostPort(const std::string& flag, const std::string& address) {
  const size_t colon = address.rfind(':');
  HostPort parsed;
  if (colon == std::string::npos || !absl::SimpleAtoi(address.substr(colon + 1), &parsed.port) || parsed.port < 0 ||
      parsed.port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat(flag, " must be an address and a port, such as 0.0.0.0:50051, got \"", address, "\""));
  }
  parsed.host = address.substr(0, colon);
  if (absl::StartsWith(parsed.host, "[") && absl::EndsWith(parsed.host, "]")) {
    parsed.host = parsed.host.substr(1, parsed.host.size() - 2);  // an IPv6 address
  }
  return parsed;
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

DigitServiceOptions ServiceOptions(const ServerOptions& options) {
  DigitServiceOptions service = options.service;
  service.write_timeout = Nanoseconds(options.write_timeout_seconds);
  return service;
}

}  // namespace

Server::Server(const ServerOptions& options, ModelLoader load_model, const Credentials& credentials)
    : options_(options),
      load_model_(std::move(load_model)),
      access_(credentials.tokens, options.access.client_header),
      grpc_credentials_(MakeServerCredentials(credentials.certificates)),
      credential_watch_(credentials,
                        [this](const TlsMaterial& material) { metrics_.SetCertificateExpiry(material.not_after); }),
      health_({kServiceName}),
      service_(ServiceOptions(options), access_, metrics_) {
  metrics_.SetStatsSource([this] { return Stats(); });
}

Server::~Server() {
  if (grpc_server_ == nullptr) return;
  if (!closing_.joinable()) {
    health_.Drain();
    CloseToNewCalls();
    for (const std::shared_ptr<ServingModel>& model : LiveModels()) model->scheduler().Shutdown();
  }
  if (!closed_.WaitForNotificationWithTimeout(absl::Seconds(kFarewellSeconds))) {
    grpc_server_cancel_all_calls(grpc_server_->c_server());
  }
  closing_.join();
}

SchedulerStats Server::Stats() const {
  const std::shared_ptr<ServingModel> model = service_.model();
  return model == nullptr ? SchedulerStats{} : model->scheduler().stats();
}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options, const ModelLoader& load_model) {
  if (options.model.max_batch_rows == 1) {
    return absl::InvalidArgumentError("--max_batch_rows must be at least 2, because a guided image takes two rows");
  }
  DENOISED_RETURN_IF_ERROR(ParseHostPort("--listen", options.listen).status());
  DENOISED_ASSIGN_OR_RETURN(const Credentials credentials,
                            LoadCredentials(options.tls, options.access, options.listen));
  std::unique_ptr<Server> server(new Server(options, load_model, credentials));
  DENOISED_RETURN_IF_ERROR(server->StartGrpc());
  DENOISED_RETURN_IF_ERROR(server->StartMetricsEndpoint());
  DENOISED_RETURN_IF_ERROR(server->LoadModel());
  server->health_.SetServing(true);
  return server;
}

absl::Status Server::StartMetricsEndpoint() {
  if (options_.metrics_listen == kMetricsOff) return absl::OkStatus();
  DENOISED_ASSIGN_OR_RETURN(const HostPort address, ParseHostPort("--metrics_listen", options_.metrics_listen));
  DENOISED_ASSIGN_OR_RETURN(metrics_endpoint_, MetricsEndpoint::Start(
                                                   address.host, address.port, [this] { return metrics_.Scrape(); },
                                                   [this] { return health_.serving(); }));
  return absl::OkStatus();
}

absl::Status Server::StartGrpc() {
  static std::once_flag reflection;
  std::call_once(reflection, grpc::reflection::InitProtoReflectionServerBuilderPlugin);
  grpc::ServerBuilder builder;
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);  // two servers would share the port in silence
  builder.SetMaxReceiveMessageSize(kMaxRequestBytes);
  builder.AddListeningPort(options_.listen, grpc_credentials_, &port_);
  builder.RegisterService(&service_);
  builder.RegisterService(&health_);
  builder.experimental().SetInterceptorCreators(CallMetricsInterceptors(metrics_));
  grpc_server_ = builder.BuildAndStart();
  if (grpc_server_ == nullptr || port_ == 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", options_.listen,
                     ": the port is taken, or the address is not this machine's; choose another with --listen"));
  }
  return absl::OkStatus();
}

// Says how long a full queue takes, and whether what it holds can be lost for want of time.
void Server::CompareTimeouts(const ServingModel& model) const {
  const int steps = model.info().metadata.noise_schedule.num_train_timesteps;
  const double seconds = std::ceil(Seconds(model.scheduler().DurationOfFullQueue(steps)));
  spdlog::info("a full queue, {} images of {} steps, takes about {:.0f} s", model.scheduler().capacity(), steps,
               seconds);
  if (seconds > options_.drain_timeout_seconds) {
    spdlog::warn(
        "--drain_timeout={:.0f} is shorter than that: a stop could drop what was admitted; allow more time, and "
        "whoever "
        "starts this process too (terminationGracePeriodSeconds, docker stop --time), or lower --max_queued_images",
        options_.drain_timeout_seconds);
  }
}

absl::Status Server::LoadModel() {
  spdlog::info("loading {}", options_.model.checkpoint);
  DENOISED_ASSIGN_OR_RETURN(std::shared_ptr<ServingModel> model, load_model_(options_.model, &metrics_));
  const ModelInfo& info = model->info();
  spdlog::info("model {} ({}, {} parameters) on {}", info.version(), info.metadata.unet.architecture,
               info.parameter_count, info.device);
  if (const std::string engine = model->engine().Description(); !engine.empty()) spdlog::info("engine: {}", engine);
  spdlog::info("a denoising step takes up to {} network rows", model->scheduler().step_rows());
  CompareTimeouts(*model);
  {
    const absl::MutexLock lock(&mu_);
    std::erase_if(models_, [](const std::weak_ptr<ServingModel>& old) { return old.expired(); });
    models_.push_back(model);
  }
  service_.SetModel(std::move(model));
  return absl::OkStatus();
}

std::vector<std::shared_ptr<ServingModel>> Server::LiveModels() const {
  std::vector<std::shared_ptr<ServingModel>> live;
  const absl::MutexLock lock(&mu_);
  for (const std::weak_ptr<ServingModel>& known : models_) {
    if (std::shared_ptr<ServingModel> model = known.lock()) live.push_back(std::move(model));
  }
  return live;
}

absl::Status Server::ReloadModel() {
  const absl::Status status = LoadModel();
  metrics_.OnModelReload(status.ok());
  return status;
}

DrainReport Server::Drain() {
  health_.Drain();
  std::this_thread::sleep_for(Nanoseconds(options_.lame_duck_seconds));
  CloseToNewCalls();
  const Backlog backlog = MeasureBacklog();
  spdlog::info(
      "draining: {} requests with {} images left, which should take {:.0f} s; --drain_timeout gives them {:.0f} s",
      backlog.requests, backlog.images, std::ceil(Seconds(backlog.duration)), options_.drain_timeout_seconds);
  if (AwaitAdmitted()) {
    return {.closed = WaitFor(kFarewellSeconds, [this] { return closed_.HasBeenNotified(); }) || CutConnections()};
  }
  return DropTheRest();
}

Server::Backlog Server::MeasureBacklog() const {
  Backlog backlog{.requests = metrics_.requests_in_flight()};
  for (const std::shared_ptr<ServingModel>& model : LiveModels()) {
    const SchedulerStats stats = model->scheduler().stats();
    backlog.images += stats.waiting_images + stats.denoising_images;
    backlog.duration += model->scheduler().UntilIdle();
  }
  return backlog;
}

// The listener closes, and clients are told by GOAWAY to make their next calls elsewhere.
void Server::CloseToNewCalls() {
  closing_ = std::thread([this] {
    grpc_server_->Shutdown();  // NOTE: returns only after the last call and connection
    closed_.Notify();
  });
  for (const std::shared_ptr<ServingModel>& model : LiveModels()) model->scheduler().StopAdmitting();
}

// True if all that was admitted is finished. Calls of other services, which a client may keep open, are not waited for.
bool Server::AwaitAdmitted() {
  Clock::time_point busy = Clock::now();
  return WaitFor(options_.drain_timeout_seconds + kQuietSeconds, [this, &busy] {
    if (metrics_.requests_in_flight() > 0) busy = Clock::now();
    return closed_.HasBeenNotified() || Clock::now() - busy >= Nanoseconds(kQuietSeconds);
  });
}

DrainReport Server::DropTheRest() {
  const Backlog dropped = MeasureBacklog();
  metrics_.OnDrainDropped(dropped.images);
  spdlog::error(
      "--drain_timeout is over: {} requests are dropped, with {} images that were not drawn; they would have taken "
      "another {:.0f} s",
      dropped.requests, dropped.images, std::ceil(Seconds(dropped.duration)));
  for (const std::shared_ptr<ServingModel>& model : LiveModels()) model->scheduler().Shutdown();
  const bool closed = WaitFor(kFarewellSeconds, [this] { return closed_.HasBeenNotified(); }) || CutConnections();
  return {.dropped_requests = dropped.requests, .dropped_images = dropped.images, .closed = closed};
}

// True if nothing is left.
bool Server::CutConnections() {
  grpc_server_cancel_all_calls(grpc_server_->c_server());
  return WaitFor(kCloseSeconds, [this] { return closed_.HasBeenNotified(); });
}

}  // namespace denoised
