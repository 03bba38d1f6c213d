// File: output_files.h
//
// Where pictures go on disk, decided and proven writable before anything is drawn.
//
//   absl::StatusOr<OutputFiles> files = OutputFiles::Prepare("", "digit-7", 3, "frames");
//   files->image(1);         // digit-7-1.png
//   files->preview(1, 200);  // frames/digit-7-1-step-0200.png
//
// Thread-safe after Prepare.
#ifndef DENOISED_CLIENT_OUTPUT_FILES_H_
#define DENOISED_CLIENT_OUTPUT_FILES_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace denoised {

class OutputFiles {
 public:
  // `out`: a file, a folder (one that exists, or a name with a slash at its end), or empty for this folder. In a folder
  // the file is `name`.png. More than one image puts a number before the ending. `previews_dir`: a folder, or empty.
  // Makes missing folders. PERMISSION_DENIED and so on if one cannot be written to.
  static absl::StatusOr<OutputFiles> Prepare(const std::string& out, const std::string& name, uint32_t count,
                                             const std::string& previews_dir);

  std::string image(uint32_t image_index) const;
  std::string preview(uint32_t image_index, uint32_t step) const;

 private:
  OutputFiles() = default;

  std::string Number(uint32_t image_index) const;

  std::string folder_;
  std::string stem_;
  std::string extension_;
  std::string previews_dir_;
  uint32_t count_ = 1;
};

}  // namespace denoised

#endif  // DENOISED_CLIENT_OUTPUT_FILES_H_
