// File: png_folder.h
//
// A data set of one's own: a folder with a folder of PNGs for each class.
//
//   letters/alpha/0.png, letters/alpha/1.png, ..., letters/beta/0.png, ...
//
//   absl::StatusOr<Dataset> data = LoadPngFolder("letters", {});
//
// Classes are named by their folders and come in the order of these names, numbers by their value. Pure functions of
// the files.
#ifndef DENOISED_TRAINER_DATA_PNG_FOLDER_H_
#define DENOISED_TRAINER_DATA_PNG_FOLDER_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/data/dataset.h"

namespace denoised {

// Whether there is a folder in it that could be a class.
bool HasClassFolders(const std::string& folder);

// Every image is resized to 32x32; colours become grey. Names with a dot at their beginning are passed over.
// `class_names`, where there are any, are exactly the folders' names and give their order. Errors name the file:
//   NOT_FOUND         there is no such folder
//   INVALID_ARGUMENT  a class without images, a file that is no PNG, images of different sizes or that are not square,
//                     names that are not those of the folders, more than kMostClasses of them
absl::StatusOr<Dataset> LoadPngFolder(const std::string& folder, const std::vector<std::string>& class_names);

}  // namespace denoised

#endif  // DENOISED_TRAINER_DATA_PNG_FOLDER_H_
