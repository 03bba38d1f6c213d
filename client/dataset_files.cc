#include "client/dataset_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <tuple>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/image/idx.h"
#include "common/support/class_names.h"
#include "common/support/digest.h"
#include "common/support/file.h"
#include "common/support/quoted.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kMaxManifestBytes = uint64_t{1} << 20;

std::string ImagesHeader(int64_t images, uint32_t size) {
  return IdxHeader({static_cast<uint32_t>(images), size, size});
}
std::string LabelsHeader(int64_t images) { return IdxHeader({static_cast<uint32_t>(images)}); }

absl::Status FileError(const std::string& path, int error) {
  return absl::ErrnoToStatus(error, absl::StrCat("cannot write ", path));
}

absl::Status WriteAt(int file, const std::string& path, std::string_view bytes, int64_t offset) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(file, bytes.data(), bytes.size(), offset);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return FileError(path, errno);
    bytes.remove_prefix(written);
    offset += written;
  }
  return absl::OkStatus();
}

// `bytes` at `offset`, and then the header, so that what it promises is there.
absl::Status Extend(const std::string& path, std::string_view header, int64_t offset, std::string_view bytes) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  if (file < 0) return FileError(path, errno);
  const absl::Cleanup close = [file] { ::close(file); };
  DENOISED_RETURN_IF_ERROR(WriteAt(file, path, bytes, offset));
  if (::fsync(file) != 0) return FileError(path, errno);
  DENOISED_RETURN_IF_ERROR(WriteAt(file, path, header, 0));
  return ::fsync(file) == 0 ? absl::OkStatus() : FileError(path, errno);
}

// A value as its flag would take it.
std::string ValueText(const Json& value) { return value.is_string() ? value.get<std::string>() : value.dump(); }

}  // namespace

DatasetFiles::DatasetFiles(const std::string& folder, uint32_t size, const Json& drawn_with,
                           const std::vector<std::string>& class_names)
    : folder_(folder),
      images_file_(folder + "/train-images-idx3-ubyte"),
      labels_file_(folder + "/train-labels-idx1-ubyte"),
      manifest_file_(folder + "/manifest.json"),
      names_file_(folder + "/class_names.txt"),
      size_(size),
      drawn_with_(drawn_with),
      class_names_(class_names) {}

absl::StatusOr<DatasetFiles> DatasetFiles::Open(const std::string& folder, uint32_t size, const Json& drawn_with,
                                                const std::vector<std::string>& class_names) {
  DENOISED_RETURN_IF_ERROR(EnsureWritableFolder(folder));
  DatasetFiles files(folder, size, drawn_with, class_names);
  std::error_code ignored;
  if (std::filesystem::exists(files.manifest_file_, ignored)) {
    DENOISED_RETURN_IF_ERROR(files.Resume());
    return files;
  }
  for (const std::string& file : {files.images_file_, files.labels_file_}) {
    if (!std::filesystem::exists(file, ignored)) continue;
    return absl::FailedPreconditionError(
        absl::StrCat(file, " is there, and no manifest.json that says what it is; name another folder with --out"));
  }
  return files;
}

absl::Status DatasetFiles::Resume() {
  DENOISED_ASSIGN_OR_RETURN(const std::string text, ReadFile(manifest_file_, kMaxManifestBytes));
  const Json manifest = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!manifest.is_object() || !manifest.contains("drawn_with") || !manifest["drawn_with"].is_object() ||
      !manifest.value("images", Json()).is_number_unsigned()) {
    return absl::FailedPreconditionError(
        absl::StrCat(manifest_file_, " is not one of `denoise dataset`; name another folder with --out"));
  }
  const Json& was = manifest["drawn_with"];
  for (auto& [name, value] : drawn_with_.items()) {
    const Json before = was.value(name, Json());
    if (value.is_null()) value = before;
    if (value == before) continue;
    return absl::FailedPreconditionError(
        absl::StrCat(folder_, " holds images drawn with ", name, " ", ValueText(before), ", not ", ValueText(value),
                     "; go on with them as they were begun, or name another folder with --out"));
  }
  images_ = manifest["images"].get<int64_t>();
  return Truncate();
}

// What an interrupted Append has left behind the last image that counts, and in the headers.
absl::Status DatasetFiles::Truncate() const {
  const std::tuple<std::string, std::string, uint64_t> files[] = {
      {images_file_, ImagesHeader(images_, size_), images_ * image_bytes()},
      {labels_file_, LabelsHeader(images_), images_}};
  for (const auto& [file, header, body] : files) {
    const uint64_t bytes = images_ == 0 ? 0 : header.size() + body;
    std::error_code error;
    if (images_ == 0 && !std::filesystem::exists(file, error)) continue;
    const uint64_t found = std::filesystem::file_size(file, error);
    if (error || found < bytes) {
      return absl::DataLossError(absl::StrCat(file, " is missing or shorter than manifest.json says; delete ", folder_,
                                              " or name another folder with --out"));
    }
    std::filesystem::resize_file(file, bytes, error);
    if (error) return FileError(file, error.value());
    if (images_ > 0) DENOISED_RETURN_IF_ERROR(Extend(file, header, static_cast<int64_t>(bytes), ""));
  }
  return absl::OkStatus();
}

absl::Status DatasetFiles::Append(std::string_view pixels, std::string_view labels) {
  if (images_ == 0) {
    DENOISED_RETURN_IF_ERROR(WriteManifest(nullptr));  // so that what follows is known to be ours
    DENOISED_RETURN_IF_ERROR(WriteClassNames());
  }
  const int64_t all = images_ + static_cast<int64_t>(labels.size());
  const std::string images_header = ImagesHeader(all, size_), labels_header = LabelsHeader(all);
  const auto images_offset = static_cast<int64_t>(images_header.size() + images_ * image_bytes());
  const auto labels_offset = static_cast<int64_t>(labels_header.size()) + images_;
  DENOISED_RETURN_IF_ERROR(Extend(images_file_, images_header, images_offset, pixels));
  DENOISED_RETURN_IF_ERROR(Extend(labels_file_, labels_header, labels_offset, labels));
  images_ = all;
  return WriteManifest(nullptr);
}

absl::Status DatasetFiles::Finish() {
  Json sha256 = Json::object();
  for (const std::string& file : {images_file_, labels_file_}) {
    DENOISED_ASSIGN_OR_RETURN(const std::string sum, Sha256HexOfFile(file));
    sha256[std::filesystem::path(file).filename().string()] = sum;
  }
  return WriteManifest(sha256);
}

absl::Status DatasetFiles::WriteClassNames() const {
  if (AreCalledByNumber(class_names_)) return absl::OkStatus();
  std::string lines;
  for (const std::string& name : class_names_) absl::StrAppend(&lines, Visible(name), "\n");
  return WriteFileAtomically(names_file_, lines);
}

absl::Status DatasetFiles::WriteManifest(const Json& sha256) const {
  const Json manifest = {{"format_version", 1}, {"complete", !sha256.is_null()}, {"images", images_},
                         {"size", size_},       {"class_names", class_names_},   {"drawn_with", drawn_with_},
                         {"sha256", sha256}};
  return WriteFileAtomically(manifest_file_, manifest.dump(2) + "\n");
}

}  // namespace denoised
