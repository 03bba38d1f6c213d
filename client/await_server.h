// File: await_server.h
//
// What each of denoise's commands does first, once it knows that it can write its result.
//
//   DENOISED_RETURN_IF_ERROR(AwaitServer(client, options));
//
// Thread-compatible.
#ifndef DENOISED_CLIENT_AWAIT_SERVER_H_
#define DENOISED_CLIENT_AWAIT_SERVER_H_

#include "absl/status/status.h"
#include "client/calls/digit_client.h"
#include "client/options.h"

namespace denoised {

// Connects, and waits for a server that is not there yet as long as --wait says, which is told on stderr. Errors are
// those of DigitClient::AwaitServer.
absl::Status AwaitServer(DigitClient& client, const ClientOptions& options);

}  // namespace denoised

#endif  // DENOISED_CLIENT_AWAIT_SERVER_H_
