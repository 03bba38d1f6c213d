// File: health_check.h
//
// `denoised --healthcheck`: asks the server that these options would start whether it serves, for Docker's HEALTHCHECK
// and probes that run a command.
//
//   absl::Status status = CheckHealth(options, /*timeout_seconds=*/5);
#ifndef DENOISED_SERVER_HEALTH_CHECK_H_
#define DENOISED_SERVER_HEALTH_CHECK_H_

#include "absl/status/status.h"
#include "server/server.h"

namespace denoised {

// OK if it serves. FAILED_PRECONDITION if it says that it does not, UNAVAILABLE if it does not answer, INVALID_ARGUMENT
// for --listen with port 0, of which nobody knows where it is. Over TLS it takes any certificate, as it asks its own
// machine. Where clients need one, which it has not, it asks /livez and /healthz at --metrics_listen; without that port
// it shows the server's own, which --tls_client_ca must have signed then.
absl::Status CheckHealth(const ServerOptions& options, double timeout_seconds);

}  // namespace denoised

#endif  // DENOISED_SERVER_HEALTH_CHECK_H_
