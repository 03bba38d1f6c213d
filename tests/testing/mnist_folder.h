// File: mnist_folder.h
//
// Where the MNIST files are that tests read.
#ifndef DENOISED_TESTS_TESTING_MNIST_FOLDER_H_
#define DENOISED_TESTS_TESTING_MNIST_FOLDER_H_

#include <cstdlib>
#include <filesystem>
#include <string>

namespace denoised {

// A few hundred real images, in the source tree.
inline std::string SmallMnistFolder() { return DENOISED_SOURCE_DIR "/tests/data/mnist-small"; }

// All of MNIST: the folder in DENOISED_TEST_MNIST, or ../shared/mnist beside the source tree; empty when neither is
// there.
inline std::string WholeMnistFolder() {
  const char* named = std::getenv("DENOISED_TEST_MNIST");
  const std::string folder = named != nullptr ? named : DENOISED_SOURCE_DIR "/../shared/mnist";
  return std::filesystem::is_directory(folder) ? folder : "";
}

}  // namespace denoised

#endif  // DENOISED_TESTS_TESTING_MNIST_FOLDER_H_
