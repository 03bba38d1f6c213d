// File: commands.h
//
// What `denoise` does: draw one digit, draw all ten into a grid, load the server, describe the model. Each talks to the
// server through `client`, shows progress on stderr and its result on stdout.
//
// An error's message is one line or more for stderr. Files that were finished before the error stay.
#ifndef DENOISED_CLIENT_COMMANDS_H_
#define DENOISED_CLIENT_COMMANDS_H_

#include "absl/status/status.h"
#include "client/calls/digit_client.h"
#include "client/options.h"

namespace denoised {

// Writes options.count PNGs of options.digit, and its frames where options.previews_dir is set.
absl::Status DrawDigit(DigitClient& client, const ClientOptions& options);

// Writes one PNG: two rows of five, or with options.per_digit above 1 a column of that many for each digit. Draws with
// one seed, told at the end when it was not given.
absl::Status DrawGrid(DigitClient& client, const ClientOptions& options);

// Runs `denoise bench`: a table on stdout, and with options.out (a name ending in .json) the figures and a plot of
// them. Without levels: 1, 2, 4, ... 32 requests in flight.
absl::Status Bench(DigitClient& client, const ClientOptions& options);

// Prints the server's GetModelResponse as a table.
absl::Status ShowModel(DigitClient& client, const ClientOptions& options);

}  // namespace denoised

#endif  // DENOISED_CLIENT_COMMANDS_H_
