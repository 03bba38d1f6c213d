// File: show_health.h
//
// `denoise health`: whether the server serves.
//
//   absl::Status status = ShowHealth(client, options);
//
// UNAVAILABLE if it does not. An error's message is one line or more for stderr. Thread-compatible.
#ifndef DENOISED_CLIENT_SHOW_HEALTH_H_
#define DENOISED_CLIENT_SHOW_HEALTH_H_

#include "absl/status/status.h"
#include "client/calls/digit_client.h"
#include "client/options.h"

namespace denoised {

// Asks the standard health service, and prints "serving", or with options.json {"status":"SERVING"}, on stdout.
absl::Status ShowHealth(DigitClient& client, const ClientOptions& options);

}  // namespace denoised

#endif  // DENOISED_CLIENT_SHOW_HEALTH_H_
