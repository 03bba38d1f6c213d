#include "client/await_server.h"

#include <cstdio>
#include <string>

#include "absl/strings/str_format.h"

namespace denoised {

absl::Status AwaitServer(DigitClient& client, const ClientOptions& options) {
  const double seconds = WaitSeconds(options);
  WaitOptions wait = {.wait_seconds = seconds, .timeout_seconds = options.call.timeout_seconds, .on_wait = {}};
  if (seconds > 0 && !options.quiet) {
    wait.on_wait = [seconds](const std::string& what) {
      absl::FPrintF(stderr, "denoise: %s; waiting up to %g s\n", what, seconds);
    };
  }
  return client.AwaitServer(wait);
}

}  // namespace denoised
