#include "server/preflight.h"

#include <cmath>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/support/clock.h"
#include "common/support/counted.h"
#include "common/support/status_macros.h"
#include "server/access/credential_watch.h"
#include "server/health_check.h"
#include "server/transport/listen_address.h"

namespace denoised {
namespace {

std::string GoldenDraw(const ModelInfo& info) {
  if (info.golden_drawn_by.empty()) return "none in the checkpoint; denoise-train --add_golden_draw FILE adds one";
  return absl::StrCat("as ", info.golden_drawn_by, " drew it when the checkpoint was written");
}

std::string Page(const ServerOptions& options) {
  if (options.http_listen == kPortOff) return kPortOff;
  return absl::StrCat(options.tls.cert.empty() ? "http" : "https", "://", options.http_listen, "/");
}

bool SomebodyAnswers(const ServerOptions& options) {
  constexpr double kTimeoutSeconds = 5;
  const absl::Status health = CheckHealth(options, kTimeoutSeconds);
  return health.ok() || absl::IsFailedPrecondition(health);
}

std::string Describe(const ServerOptions& options, const ServingModel& model, bool ports_are_free) {
  const ModelInfo& info = model.info();
  const Scheduler& scheduler = model.scheduler();
  const int steps = LongestChain(info.metadata);
  std::string passed_over;
  for (const std::string& engine : info.passed_over) absl::StrAppend(&passed_over, "passed over    ", engine, "\n");
  return absl::StrFormat(
      "checkpoint     %s: %s, %s, %d parameters\n"
      "golden draw    %s\n"
      "device         %s, %s\n"
      "%s"
      "gRPC           %s%s%s\n"
      "metrics        %s\n"
      "page           %s\n"
      "%s"
      "at once        %d network rows in a step\n"
      "a full queue   %d images; of %s each they take about %.0f s\n"
      "a stop         takes as long as what was admitted, %.0f s at most\n",
      options.model.checkpoint, info.version(), info.metadata.unet.architecture, info.parameter_count, GoldenDraw(info),
      info.device, model.engine().Description(), passed_over, options.listen,
      options.tls.cert.empty() ? "" : " with TLS", options.access.tokens.empty() ? "" : ", for holders of tokens",
      options.metrics_listen, Page(options),
      ports_are_free ? "" : "ports          taken by a server that answers, which has to stop before this one starts\n",
      scheduler.step_rows(), scheduler.capacity(), Counted(steps, "step"),
      std::ceil(Seconds(scheduler.DurationOfFullQueue(steps))),
      options.lame_duck_seconds + options.drain_timeout_seconds);
}

}  // namespace

absl::StatusOr<std::string> Preflight(const ServerOptions& options, const Server::ModelLoader& load_model) {
  DENOISED_RETURN_IF_ERROR(Server::Validate(options));
  DENOISED_RETURN_IF_ERROR(LoadCredentials(options.tls, options.access, options.listen).status());
  const absl::Status bound = Server::TryToBind(options);
  if (!bound.ok() && !SomebodyAnswers(options)) return bound;
  DENOISED_ASSIGN_OR_RETURN(const std::shared_ptr<ServingModel> model, load_model(options.model, nullptr));
  return Describe(options, *model, bound.ok());
}

}  // namespace denoised
