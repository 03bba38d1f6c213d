// File: bench.h
//
// `denoise bench`: loads the server and measures it.
//
//   absl::Status status = Bench(client, options);
//
// An error's message is one line or more for stderr. The levels that were done before it have been printed and written.
// Thread-compatible.
#ifndef DENOISED_CLIENT_BENCH_H_
#define DENOISED_CLIENT_BENCH_H_

#include "absl/status/status.h"
#include "client/calls/digit_client.h"
#include "client/options.h"

namespace denoised {

// Prints a table on stdout, and with options.out (a name ending in .json) writes the figures and a plot of them.
// Without levels: 1, 2, 4, ... 32 requests in flight.
absl::Status Bench(DigitClient& client, const ClientOptions& options);

}  // namespace denoised

#endif  // DENOISED_CLIENT_BENCH_H_
