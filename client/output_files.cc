#include "client/output_files.h"

#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/support/file.h"
#include "common/support/status_macros.h"

namespace denoised {

namespace fs = std::filesystem;

absl::StatusOr<OutputFiles> OutputFiles::Prepare(const std::string& out, const std::string& name, uint32_t count,
                                                 const std::string& previews_dir) {
  std::error_code error;
  fs::path path = out;
  if (out.empty() || !path.has_filename() || fs::is_directory(path, error)) path /= absl::StrCat(name, ".png");
  OutputFiles files;
  files.folder_ = path.parent_path().string();
  files.stem_ = path.stem().string();
  files.extension_ = path.extension().string();
  files.previews_dir_ = previews_dir;
  files.count_ = count;
  DENOISED_RETURN_IF_ERROR(EnsureWritableFolder(files.folder_.empty() ? "." : files.folder_));
  if (!previews_dir.empty()) DENOISED_RETURN_IF_ERROR(EnsureWritableFolder(previews_dir, "--previews_dir"));
  return files;
}

std::string OutputFiles::image(uint32_t image_index) const {
  return (fs::path(folder_) / absl::StrCat(stem_, Number(image_index), extension_)).string();
}

std::string OutputFiles::preview(uint32_t image_index, uint32_t step) const {
  const std::string name = absl::StrFormat("%s%s-step-%04d%s", stem_, Number(image_index), step, extension_);
  return (fs::path(previews_dir_) / name).string();
}

// "-07" for the eighth of a hundred; empty when there is only one.
std::string OutputFiles::Number(uint32_t image_index) const {
  if (count_ == 1) return "";
  const int digits = static_cast<int>(absl::StrCat(count_ - 1).size());
  return absl::StrFormat("-%0*d", digits, image_index);
}

}  // namespace denoised
