// denoised: the inference server. See --help.
#include <signal.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/command_line/command_line.h"
#include "common/command_line/standard_output.h"
#include "common/command_line/unknown_variables.h"
#include "common/support/available_cores.h"
#include "common/support/cgroup_limits.h"
#include "common/support/file.h"
#include "common/support/periodic_task.h"
#include "common/support/service_manager.h"
#include "common/support/signal_queue.h"
#include "server/health_check.h"
#include "server/loading/load_serving_model.h"
#include "server/options.h"
#include "server/preflight.h"
#include "server/resources.h"
#include "server/server.h"
#include "server/telemetry/logging.h"

namespace denoised {
namespace {

// Exit status after a drain that had to drop requests.
constexpr int kDroppedRequests = 3;

void LogThreads(int threads) {
  spdlog::info("{}", DescribeThreads(threads, CountCores(CoresByAffinity(), ReadCgroupLimits())));
}

// What can be wrong with flags and variables that are obeyed all the same.
std::vector<std::string> Warnings(const CLI::App& app, const ServerOptions& options, const Origins& origins) {
  std::vector<std::string> warnings = UnknownVariables(app, "DENOISED", {});
  const CoreCount count = CountCores(CoresByAffinity(), ReadCgroupLimits());
  if (const std::optional<std::string> warning = WarnOfThreads(options.model.threads, count)) {
    warnings.push_back(WithOrigins(*warning, origins));
  }
  return warnings;
}

void LogWarnings(const std::vector<std::string>& warnings) {
  for (const std::string& warning : warnings) spdlog::warn("{}", warning);
}

void LogMemory() {
  const std::optional<std::string> warning = WarnOfMemory(PrivateMemory(), ReadCgroupLimits().memory_bytes);
  if (warning.has_value()) spdlog::warn("{}", *warning);
}

// With the port that was found where 0 was asked for.
std::string AddressInUse(const std::string& listen, int port) {
  return port == 0 ? listen : fmt::format("{}:{}", listen.substr(0, listen.rfind(':')), port);
}

void SayAlive() { NotifyServiceManager("WATCHDOG=1"); }

// The same, but a service manager that waits for that is told that the server lives.
ServerOptions Watched(ServerOptions options) {
  if (const auto timeout = WatchdogTimeout(); timeout.has_value()) {
    options.probe = ProbedWithin(options.probe, *timeout);
    options.on_alive = SayAlive;
  }
  return options;
}

int Stop(Server& server, int signal) {
  spdlog::info("{}: draining; a second signal ends it at once", signal == SIGINT ? "SIGINT" : "SIGTERM");
  NotifyServiceManager("STOPPING=1");
  // With the port closed there is nothing to probe; a stop is bounded by the manager's time for stops instead.
  std::optional<PeriodicTask> alive;
  if (const auto timeout = WatchdogTimeout(); timeout.has_value()) alive.emplace(*timeout / 4, SayAlive);
  const DrainReport report = server.Drain();
  if (report.dropped_requests > 0) {
    spdlog::error("stopped; {} requests were dropped, with {} images", report.dropped_requests, report.dropped_images);
    EndProcess(kDroppedRequests);  // what is left may hang: destructors would wait for it for ever
  }
  spdlog::info("stopped; every request was finished");
  if (!report.closed) EndProcess(EXIT_SUCCESS);
  return EXIT_SUCCESS;
}

// The last line of all: those of the log are written by another thread.
int PrintError(const absl::Status& status, const Origins& origins) {
  FlushLog(std::chrono::seconds(1));
  return ReportError("denoised", status, origins);
}

int Serve(const ServerOptions& options, const Origins& origins) {
  SignalQueue signals({SIGINT, SIGTERM, SIGHUP});
  signals.EndAtOnceAfter(0);  // while nothing is served yet, nobody has to be waited for
  LogThreads(options.model.threads);
  const absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(Watched(options), LoadServingModel);
  if (!server.ok()) return PrintError(server.status(), origins);
  signals.EndAtOnceAfter(1);
  spdlog::info("listening on {}{}", AddressInUse(options.listen, (*server)->port()),
               options.tls.cert.empty() ? "" : " with TLS");
  if (options.metrics_listen != kPortOff) {
    spdlog::info("metrics on http://{}:{}/metrics", options.metrics_listen.substr(0, options.metrics_listen.rfind(':')),
                 (*server)->metrics_port());
  }
  if ((*server)->http_port() != 0) {
    spdlog::info("a page on {}://{}/", options.tls.cert.empty() ? "http" : "https",
                 AddressInUse(options.http_listen, (*server)->http_port()));
  }
  LogMemory();
  NotifyServiceManager("READY=1");
  int signal = signals.Wait();
  for (; signal == SIGHUP; signal = signals.Wait()) (*server)->models().RequestReload("SIGHUP");
  return Stop(**server, signal);
}

// --healthcheck and --check.
int AskTheRunningServer(const ServerOptions& options, const Origins& origins) {
  constexpr double kTimeoutSeconds = 5;
  const absl::Status status = CheckHealth(options, kTimeoutSeconds);
  if (!status.ok()) return PrintError(status, origins);
  std::puts("serving");
  return EXIT_SUCCESS;
}
int TryToStart(const ServerOptions& options, const std::vector<std::string>& warnings, const Origins& origins) {
  const absl::StatusOr<std::string> report = Preflight(options, LoadServingModel);
  if (!report.ok()) {
    LogWarnings(warnings);
    return PrintError(report.status(), origins);
  }
  std::fputs(report->c_str(), stdout);
  for (const std::string& warning : warnings) std::printf("warning        %s\n", warning.c_str());
  return EXIT_SUCCESS;
}

int Main(int argc, char** argv) {
  ServerOptions options;
  bool health_check = false, check = false;
  CLI::App app("Serves a diffusion model that draws handwritten digits, over gRPC.", "denoised");
  app.footer(
      "Each option can also be set by an environment variable: --max_batch_rows by\n"
      "DENOISED_MAX_BATCH_ROWS, and so on.\n"
      "SIGTERM and SIGINT drain and stop, a second one ends at once; SIGHUP loads the\n"
      "checkpoint again.\n"
      "Exit status: 0 stopped with every request finished, 1 an error, 2 a wrong flag,\n"
      "3 stopped with requests dropped, 4 the engine was lost, 130 or 143 ended at once\n"
      "by SIGINT or SIGTERM.");
  AddServerOptions(app, options);
  CLI::Option* asked =
      app.add_flag("--healthcheck", health_check,
                   "Instead of serving, ask the server at --listen whether it serves: exit status 0, or 1");
  app.add_flag("--check", check, "Instead of serving, try flags, files and checkpoint, and say what would be served")
      ->excludes(asked);
  const std::set<std::string> typed = TypedOptions(app, argc, argv);
  if (const std::optional<int> code = ParseCommandLine(app, argc, argv)) return *code;
  const Origins origins = OriginsOf(app, typed);
  SetUpLogging(options.logging);
  if (health_check) return AskTheRunningServer(options, origins);
  const std::vector<std::string> warnings = Warnings(app, options, origins);
  if (!check) LogWarnings(warnings);
  if (options.model.checkpoint.empty()) {
    absl::StatusOr<std::string> found = FindShipped("mnist.pt");
    if (!found.ok()) {
      return PrintError(
          absl::Status(found.status().code(),
                       absl::StrCat(found.status().message(),
                                    "; name a checkpoint with --checkpoint, or train one with denoise-train")),
          origins);
    }
    options.model.checkpoint = *std::move(found);
  }
  return check ? TryToStart(options, warnings, origins) : Serve(options, origins);
}

}  // namespace
}  // namespace denoised

int main(int argc, char** argv) {
  const int code = denoised::Main(argc, argv);
  const bool logged = denoised::FlushLog(std::chrono::seconds(1));
  const int exit_code = denoised::FinishOutput("denoised", code);
  // Static destructors would wait for a reader of the log that stands still.
  if (!logged) std::_Exit(exit_code);
  return exit_code;
}
