// File: training_set.h
//
// What to learn from, in any form that is understood: IDX files (mnist.h) or PNGs by class (png_folder.h).
//
//   absl::StatusOr<Dataset> data = LoadTrainingSet("letters", {.verify_checksums = false});
//
// Pure functions of the files.
#ifndef DENOISED_TRAINER_DATA_TRAINING_SET_H_
#define DENOISED_TRAINER_DATA_TRAINING_SET_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/data/dataset.h"

namespace denoised {

struct TrainingSetOptions {
  bool verify_checksums = true;  // of IDX files: they are MNIST's
  std::string class_names{};     // with commas between them; empty: see GivenClassNames
};

// What the classes in a folder are called: as the option says, else as FOLDER/class_names.txt does, a name in each
// line; none where nobody has named them. The errors of CheckClassNames.
absl::StatusOr<std::vector<std::string>> GivenClassNames(const std::string& folder, const std::string& class_names);

// IDX files where there are any, else PNGs. Classes are called as GivenClassNames says, else by their numbers or
// folders. IDX files without names have as many classes as the highest label says. Every class has an image. The errors
// of LoadMnist, LoadPngFolder and CheckClassNames; INVALID_ARGUMENT for a class without images.
absl::StatusOr<Dataset> LoadTrainingSet(const std::string& folder, const TrainingSetOptions& options);

}  // namespace denoised

#endif  // DENOISED_TRAINER_DATA_TRAINING_SET_H_
