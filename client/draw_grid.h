// File: draw_grid.h
//
// `denoise --grid`: every class of the model in one picture.
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

// How many pictures, one of each class, go into a row: the columns that leave the fewest places empty, of those that
// make the grid about square to two and a half times as wide as high. Ten classes are two rows of five.
int GridColumns(int classes);

// Writes one PNG with one image of each class, or with options.per_digit above 1 a column of that many for each class.
// Draws with one seed, told at the end when it was not given.
absl::Status DrawGrid(DigitClient& client, const ClientOptions& options);

}  // namespace denoised

#endif  // DENOISED_CLIENT_DRAW_GRID_H_
