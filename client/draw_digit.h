// File: draw_digit.h
//
// `denoise 7`, `denoise sneaker`: images of one class.
//
//   absl::Status status = DrawDigit(client, options);
//
// Progress goes to stderr, the pictures and a line for each image to stdout. An error's message is one line or more for
// stderr. Files that were finished before the error stay. Thread-compatible.
#ifndef DENOISED_CLIENT_DRAW_DIGIT_H_
#define DENOISED_CLIENT_DRAW_DIGIT_H_

#include "absl/status/status.h"
#include "client/calls/digit_client.h"
#include "client/options.h"

namespace denoised {

// Writes options.count PNGs of options.digit or options.class_name, of which one must be set, and its frames where
// options.previews_dir is.
absl::Status DrawDigit(DigitClient& client, const ClientOptions& options);

}  // namespace denoised

#endif  // DENOISED_CLIENT_DRAW_DIGIT_H_
