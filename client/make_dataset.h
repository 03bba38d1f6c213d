// File: make_dataset.h
//
// `denoise dataset`: many pictures of each class as a training set for others, in MNIST's format.
//
//   absl::Status status = MakeDataset(client, options);
//
// Image i of class c of C is the one that `denoise c --index i --seed S+c` draws, at place C i + c of the files, so
// that any beginning of them is balanced. As many calls are under way as keep the server's batches full. Progress goes
// to stderr, what came of it to stdout. Thread-compatible.
#ifndef DENOISED_CLIENT_MAKE_DATASET_H_
#define DENOISED_CLIENT_MAKE_DATASET_H_

#include "absl/status/status.h"
#include "client/calls/digit_client.h"
#include "client/options.h"

namespace denoised {

// Draws options.per_digit images of each class into the folder options.out, or those that it lacks. An error's message
// says how many are there; they are kept. CANCELLED, saying that alone, after DigitClient::Cancel; FAILED_PRECONDITION
// if the server changes its model meanwhile, or if that has more classes than labels can tell apart; and the errors of
// DatasetFiles and DigitClient.
absl::Status MakeDataset(DigitClient& client, const ClientOptions& options);

}  // namespace denoised

#endif  // DENOISED_CLIENT_MAKE_DATASET_H_
