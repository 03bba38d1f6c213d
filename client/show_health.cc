#include "client/show_health.h"

#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/await_server.h"
#include "common/support/status_macros.h"

namespace denoised {

absl::Status ShowHealth(DigitClient& client, const ClientOptions& options) {
  DENOISED_RETURN_IF_ERROR(AwaitServer(client, options));
  DENOISED_ASSIGN_OR_RETURN(const std::string health, client.CheckHealth(options.call));
  const bool serving = health == "SERVING";
  if (options.json) {
    std::printf("{\"status\":\"%s\"}\n", health.c_str());
  } else if (serving) {
    std::puts("serving");
  }
  if (serving) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("the server at ", options.connection.server, " is up, but says ", health));
}

}  // namespace denoised
