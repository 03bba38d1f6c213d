// File: draw_grid.h
//
// `denoise --grid`: all ten digits in one picture.
//
//   absl::Status status = DrawGrid(client, options);
//
// Progress goes to stderr, the picture and a line about it to stdout. An error's message is one line or more for
// stderr; then no file is written, and `client` has been cancelled. Thread-compatible.
#ifndef DENOISED_CLIENT_DRAW_GRID_H_
#define DENOISED_CLIENT_DRAW_GRID_H_

#include "absl/status/status.h"
#include "client/calls/digit_client.h"
#include "client/options.h"

namespace denoised {

// Writes one PNG: two rows of five, or with options.per_digit above 1 a column of that many for each digit. Draws with
// one seed, told at the end when it was not given.
absl::Status DrawGrid(DigitClient& client, const ClientOptions& options);

}  // namespace denoised

#endif  // DENOISED_CLIENT_DRAW_GRID_H_
