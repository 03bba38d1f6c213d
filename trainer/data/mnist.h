// File: mnist.h
//
// The MNIST digits, or any other data set in the IDX format, as the network wants them.
//
//   absl::StatusOr<Dataset> data = LoadMnist("data", Split::kTrain, {.verify_checksums = true});
//
// IDX files: http://yann.lecun.com/exdb/mnist/, "FILE FORMATS FOR THE MNIST DATABASE". Pure functions of the files.
#ifndef DENOISED_TRAINER_DATA_MNIST_H_
#define DENOISED_TRAINER_DATA_MNIST_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/data/class_names.h"
#include "trainer/data/dataset.h"

namespace denoised {

enum class Split {
  kTrain,  // files "train-..."
  kTest,   // "t10k-..."
  kDrawn,  // "samples-...", as denoise-eval keeps what it has drawn; there are no sums to check
};

struct MnistOptions {
  // Compares the unpacked files with MNIST's own SHA-256 sums. Off for another data set in the same format.
  bool verify_checksums = true;
  // Of labels 0, 1 and so on; none: the numbers up to the highest label there is.
  std::vector<std::string> class_names = NumbersAsNames(10);
};

// Images of 32x32 pixels stay as they are, others are resized: model_pixels.h.
//
// Reads <prefix>-images-idx3-ubyte and <prefix>-labels-idx1-ubyte, the prefix as Split says, from `folder`; their names
// may have a dot before "idx", and .gz at the end. Whether they are gzipped is seen from their bytes. Errors name the
// file, what is wrong and what to do:
//   NOT_FOUND         a file is missing
//   DATA_LOSS         truncated, a gzip error, or a checksum that is not MNIST's
//   INVALID_ARGUMENT  wrong magic number, image size, label or a count that differs between the two files
absl::StatusOr<Dataset> LoadMnist(const std::string& folder, Split split, const MnistOptions& options);

}  // namespace denoised

#endif  // DENOISED_TRAINER_DATA_MNIST_H_
