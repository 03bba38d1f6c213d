// File: show_model.h
//
// `denoise --model`: the model that the server serves, and its limits.
//
//   absl::Status status = ShowModel(client, options);
//
// An error's message is one line or more for stderr. Thread-compatible.
#ifndef DENOISED_CLIENT_SHOW_MODEL_H_
#define DENOISED_CLIENT_SHOW_MODEL_H_

#include "absl/status/status.h"
#include "client/calls/digit_client.h"
#include "client/options.h"

namespace denoised {

// Prints the server's GetModelResponse as a table on stdout.
absl::Status ShowModel(DigitClient& client, const ClientOptions& options);

}  // namespace denoised

#endif  // DENOISED_CLIENT_SHOW_MODEL_H_
