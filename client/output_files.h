// File: output_files.h
//
// Where pictures go, decided and proven writable before anything is drawn.
//
//   absl::StatusOr<OutputFiles> files = OutputFiles::Prepare("", "digit-7", 3, "frames");
//   files->WriteImage(1, png);         // digit-7-1.png
//   files->WritePreview(1, 200, png);  // frames/digit-7-1-step-0200.png
//
// Thread-safe after Prepare, but for the first preview.
#ifndef DENOISED_CLIENT_OUTPUT_FILES_H_
#define DENOISED_CLIENT_OUTPUT_FILES_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace denoised {

enum class OutputFormat { kPng, kGif, kApng };

// A class's name as that of a file: "T-shirt/top" as "T-shirt-top". Letters of any alphabet, digits, "-" and "_" stay.
std::string FileSafe(std::string_view name);

class OutputFiles {
 public:
  // `out`: a file, a folder (one that exists, or a name with a slash at its end), "-" for standard output, a device or
  // a pipe, or empty for this folder. In a folder the file is `name`.png. More than one image puts a number before the
  // ending. `previews_dir`: a folder, or empty. Makes missing folders. PERMISSION_DENIED and so on if one cannot be
  // written to; INVALID_ARGUMENT for an ending that promises another format than PNG, or with `animations` GIF or
  // APNG, for several images into what takes one, and for a terminal as standard output.
  static absl::StatusOr<OutputFiles> Prepare(const std::string& out, const std::string& name, uint32_t count,
                                             const std::string& previews_dir, bool animations = false);

  // Nothing is written.
  static OutputFiles None();

  // Another `name` for what is called by that of Prepare: the server says what a class is called that was asked for by
  // its number. Before anything is written. Errors as of Prepare.
  absl::Status Rename(const std::string& name);

  // What the ending of `out` asks for: a still picture, or the whole chain.
  OutputFormat format() const { return format_; }

  // Whether images go to standard output, where nothing else may go then.
  bool to_stdout() const { return to_stdout_; }

  // Whether images are written at all.
  bool kept() const { return !nowhere_; }

  // An image's path, or "standard output", or that it is not kept.
  std::string image(uint32_t image_index) const;
  std::string preview(uint32_t image_index, uint32_t step) const;

  absl::Status WriteImage(uint32_t image_index, std::string_view png) const;
  // The first one removes the frames that an earlier run left of an image by this name, or of images by its numbers,
  // so that no two chains mix.
  absl::Status WritePreview(uint32_t image_index, uint32_t step, std::string_view png);

 private:
  OutputFiles() = default;

  absl::Status CheckName(const std::string& out, bool animations) const;
  absl::Status PreparePreviews(const std::string& previews_dir);
  std::string Number(uint32_t image_index) const;
  void RemoveOldPreviews() const;

  std::string folder_;
  std::string stem_;
  std::string extension_;
  std::string previews_dir_;
  OutputFormat format_ = OutputFormat::kPng;
  uint32_t count_ = 1;
  bool has_given_name_ = false;  // by `out`, rather than by `name`
  bool to_stdout_ = false;
  bool nowhere_ = false;
  bool previewed_ = false;
};

}  // namespace denoised

#endif  // DENOISED_CLIENT_OUTPUT_FILES_H_
