#include "client/await_server.h"

#include <cstdio>
#include <string>

#include "absl/strings/str_format.h"

namespace denoised {
namespace {

// A server on this machine that is there will serve, though it may take a while on a busy one.
constexpr double kLoadingSeconds = 60;

}  // namespace

absl::Status AwaitServer(DigitClient& client, const ClientOptions& options) {
  const double seconds = WaitSeconds(options);
  WaitOptions wait = {.wait_seconds = seconds,
                      .loading_seconds = options.wait.empty() && seconds > 0 ? kLoadingSeconds : seconds,
                      .timeout_seconds = options.call.timeout_seconds,
                      .until_serving = options.health && !options.wait.empty(),
                      .on_wait = {}};
  if (seconds > 0 && !options.quiet) {
    wait.on_wait = [](const std::string& what) { absl::FPrintF(stderr, "denoise: %s\n", what); };
  }
  return client.AwaitServer(wait);
}

}  // namespace denoised
