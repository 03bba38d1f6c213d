// File: pattern_set.h
//
// A data set of as many classes as a test wants, which small networks learn in seconds: each class has a coarse random
// pattern of its own, and its images are that pattern, brighter or darker, with noise.
//
//   const Dataset data = PatternSet(/*classes=*/26, /*images_per_class=*/24);
//   WritePatternSet(data, folder);   // as train-... IDX files
#ifndef DENOISED_TESTS_TESTING_PATTERN_SET_H_
#define DENOISED_TESTS_TESTING_PATTERN_SET_H_

#include <random>
#include <string>
#include <vector>

#include "common/image/idx.h"
#include "common/image/image.h"
#include "tests/testing/temp_folder.h"
#include "trainer/data/class_names.h"
#include "trainer/data/dataset.h"

namespace denoised {

// Class after class. Another `seed` gives other images of the same patterns.
inline Dataset PatternSet(int classes, int images_per_class, unsigned seed = 1) {
  constexpr int kCells = 4;  // of a pattern, in each direction
  Dataset data;
  data.class_names = NumbersAsNames(classes);
  std::mt19937 patterns(7), random(seed);
  for (int label = 0; label < classes; ++label) {
    std::vector<int> cells(kCells * kCells);
    for (int& cell : cells) cell = patterns() % 2 == 0 ? 0 : 180;
    for (int image = 0; image < images_per_class; ++image) {
      const int brighter = static_cast<int>(random() % 40);
      for (int i = 0; i < kModelPixels; ++i) {
        const int row = i / kModelSize * kCells / kModelSize, column = i % kModelSize * kCells / kModelSize;
        const int noise = static_cast<int>(random() % 30);
        data.pixels.push_back(static_cast<uint8_t>(cells[row * kCells + column] + brighter + noise));
      }
      data.labels.push_back(static_cast<uint8_t>(label));
    }
  }
  return data;
}

// `prefix` as Split has it: "train", "t10k" or "samples".
inline void WritePatternSet(const Dataset& data, const TempFolder& folder, const std::string& prefix = "train") {
  const auto count = static_cast<uint32_t>(data.size());
  folder.Write(prefix + "-images-idx3-ubyte",
               IdxHeader({count, kModelSize, kModelSize}) + std::string(data.pixels.begin(), data.pixels.end()));
  folder.Write(prefix + "-labels-idx1-ubyte", IdxHeader({count}) + std::string(data.labels.begin(), data.labels.end()));
}

}  // namespace denoised

#endif  // DENOISED_TESTS_TESTING_PATTERN_SET_H_
