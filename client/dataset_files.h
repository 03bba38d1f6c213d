// File: dataset_files.h
//
// A data set that grows on disk, in MNIST's format: train-images-idx3-ubyte, train-labels-idx1-ubyte, and
// manifest.json, which says how many images are in them, with what they were drawn, and what the classes are called.
// Where those are not called by their numbers, class_names.txt tells it to denoise-train, a name in each line.
//
//   absl::StatusOr<DatasetFiles> files = DatasetFiles::Open("synthetic", 32, drawn_with, class_names);
//   while (files->images() < all) DENOISED_RETURN_IF_ERROR(files->Append(pixels, labels));
//   DENOISED_RETURN_IF_ERROR(files->Finish());
//
// The manifest is replaced after each Append, and names no image before its bytes are on the disk: whatever is
// interrupted, power cuts included, the next Open goes on after the last Append that ended. Thread-compatible.
#ifndef DENOISED_CLIENT_DATASET_FILES_H_
#define DENOISED_CLIENT_DATASET_FILES_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace denoised {

class DatasetFiles {
 public:
  // Makes the folder, or goes on with what is in it. Images of size x size bytes. `drawn_with`: what decides the
  // pixels, by name. A name in it whose value is null takes what an earlier run had. Errors, which say what to do:
  //   FAILED_PRECONDITION  the folder holds images drawn with something else, or that this program did not write
  //   DATA_LOSS            its files are shorter than the manifest says
  //   and those of EnsureWritableFolder
  static absl::StatusOr<DatasetFiles> Open(const std::string& folder, uint32_t size,
                                           const nlohmann::ordered_json& drawn_with,
                                           const std::vector<std::string>& class_names);

  int64_t images() const { return images_; }
  // With the nulls filled in that an earlier run knew.
  const nlohmann::ordered_json& drawn_with() const { return drawn_with_; }

  // Some images more: `labels` one byte each, `pixels` in the same order. RESOURCE_EXHAUSTED for a full disk.
  absl::Status Append(std::string_view pixels, std::string_view labels);

  // Writes the files' SHA-256 into the manifest.
  absl::Status Finish();

  const std::string& images_file() const { return images_file_; }
  const std::string& labels_file() const { return labels_file_; }

 private:
  DatasetFiles(const std::string& folder, uint32_t size, const nlohmann::ordered_json& drawn_with,
               const std::vector<std::string>& class_names);
  absl::Status Resume();
  absl::Status Truncate() const;
  absl::Status WriteClassNames() const;
  absl::Status WriteManifest(const nlohmann::ordered_json& sha256) const;
  size_t image_bytes() const { return size_t{size_} * size_; }

  std::string folder_, images_file_, labels_file_, manifest_file_, names_file_;
  uint32_t size_;
  nlohmann::ordered_json drawn_with_;
  std::vector<std::string> class_names_;
  int64_t images_ = 0;
};

}  // namespace denoised

#endif  // DENOISED_CLIENT_DATASET_FILES_H_
