// File: dataset.h
//
// Images with a class each, as the network wants them.
#ifndef DENOISED_TRAINER_DATA_DATASET_H_
#define DENOISED_TRAINER_DATA_DATASET_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace denoised {

struct Dataset {
  std::vector<uint8_t> pixels;           // [N, 32, 32], 0 black to 255 white
  std::vector<uint8_t> labels;           // [N], places in class_names
  std::vector<std::string> class_names;  // 1 to kMostClasses
  // File name without .gz and SHA-256 of its unpacked bytes, for the checkpoint's record.
  std::vector<std::pair<std::string, std::string>> sha256;

  size_t size() const { return labels.size(); }
};

}  // namespace denoised

#endif  // DENOISED_TRAINER_DATA_DATASET_H_
