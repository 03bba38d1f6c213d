#include "trainer/data/png_folder.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/image/image.h"
#include "common/image/png.h"
#include "common/support/counted.h"
#include "common/support/digest.h"
#include "common/support/file.h"
#include "common/support/status_macros.h"
#include "trainer/data/class_names.h"
#include "trainer/data/model_pixels.h"

namespace denoised {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxPngBytes = 16 << 20;

bool IsHidden(const fs::path& path) { return absl::StartsWith(path.filename().string(), "."); }

// 2 before 10, and numbers before words.
bool ComesBefore(const std::string& a, const std::string& b) {
  int64_t x = 0, y = 0;
  const bool a_is_number = absl::SimpleAtoi(a, &x), b_is_number = absl::SimpleAtoi(b, &y);
  if (a_is_number && b_is_number && x != y) return x < y;
  if (a_is_number != b_is_number) return a_is_number;
  return a < b;
}

// The names of what a folder holds, but for hidden ones, in order.
absl::StatusOr<std::vector<std::string>> NamesIn(const std::string& folder, bool folders) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (!IsHidden(it->path()) && it->is_directory(ignored) == folders) names.push_back(it->path().filename());
  }
  if (error) return absl::NotFoundError(absl::StrCat("cannot read the folder ", folder, ": ", error.message()));
  std::sort(names.begin(), names.end(), ComesBefore);
  return names;
}

absl::Status CheckOrder(const std::string& folder, const std::vector<std::string>& folders,
                        const std::vector<std::string>& class_names) {
  for (const std::string& name : class_names) {
    if (std::find(folders.begin(), folders.end(), name) != folders.end()) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("class \"", name, "\" is named, but there is no folder ", folder, "/", name));
  }
  for (const std::string& name : folders) {
    if (std::find(class_names.begin(), class_names.end(), name) != class_names.end()) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(folder, "/", name, " is not among the names of the classes; name it, or move it elsewhere"));
  }
  return absl::OkStatus();
}

class Reader {
 public:
  explicit Reader(std::string folder) : folder_(std::move(folder)) {}

  absl::StatusOr<Dataset> Read(std::vector<std::string> class_names) {
    data_.class_names = std::move(class_names);
    for (size_t label = 0; label < data_.class_names.size(); ++label) {
      DENOISED_RETURN_IF_ERROR(ReadClass(static_cast<uint8_t>(label)));
    }
    const size_t classes = data_.class_names.size();
    data_.sha256 = {
        {absl::StrCat(Counted(data_.size(), "PNG"), " in ", Counted(classes, "folder")), Sha256Hex(listing_)}};
    return std::move(data_);
  }

 private:
  absl::Status ReadClass(uint8_t label) {
    const std::string folder = absl::StrCat(folder_, "/", data_.class_names[label]);
    DENOISED_ASSIGN_OR_RETURN(const std::vector<std::string> below, NamesIn(folder, /*folders=*/true));
    if (!below.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(folder, "/", below[0],
                       " is a folder within a class, and images in it would not be read: move them up, or it away"));
    }
    DENOISED_ASSIGN_OR_RETURN(const std::vector<std::string> files, NamesIn(folder, /*folders=*/false));
    if (files.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("class \"", data_.class_names[label], "\" has no images: ", folder,
                                                     " holds no PNG; put some in, or remove the folder"));
    }
    for (const std::string& file : files) {
      DENOISED_RETURN_IF_ERROR(ReadImage(absl::StrCat(folder, "/", file)));
      data_.labels.push_back(label);
    }
    return absl::OkStatus();
  }

  absl::Status ReadImage(const std::string& path) {
    if (!absl::EndsWith(absl::AsciiStrToLower(path), ".png")) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, " is not named .png, and only PNGs are read; convert it, or move it elsewhere"));
    }
    DENOISED_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path, kMaxPngBytes));
    const absl::StatusOr<GreyImage> image = DecodePng(bytes);
    if (!image.ok()) {
      return absl::Status(image.status().code(), absl::StrCat("cannot read ", path, ": ", image.status().message()));
    }
    if (HasTransparentPixels(bytes)) {
      return absl::InvalidArgumentError(
          absl::StrCat(path,
                       " is transparent in places, which could mean black or white: put it on a background; MNIST's "
                       "is black, with white strokes"));
    }
    DENOISED_RETURN_IF_ERROR(CheckSize(path, *image));
    DENOISED_RETURN_IF_ERROR(AppendModelPixels(*image, data_.pixels));
    absl::StrAppend(&listing_, path.substr(folder_.size()), " ", Sha256Hex(bytes), "\n");
    return absl::OkStatus();
  }

  absl::Status CheckSize(const std::string& path, const GreyImage& image) {
    if (!size_.has_value()) {
      DENOISED_RETURN_IF_ERROR(CheckImageSize(path, image.width, image.height));
      size_ = image.width;
    }
    if (image.width == *size_ && image.height == *size_) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(path, " has ", image.width, "x", image.height,
                                                   " pixels, those before it ", *size_, "x", *size_,
                                                   ": make them all of one size"));
  }

  const std::string folder_;
  Dataset data_;
  std::string listing_;  // of paths below the folder and their SHA-256
  std::optional<int> size_;
};

}  // namespace

bool HasClassFolders(const std::string& folder) {
  const absl::StatusOr<std::vector<std::string>> folders = NamesIn(folder, /*folders=*/true);
  return folders.ok() && !folders->empty();
}

absl::StatusOr<Dataset> LoadPngFolder(const std::string& folder, const std::vector<std::string>& class_names) {
  DENOISED_ASSIGN_OR_RETURN(std::vector<std::string> folders, NamesIn(folder, /*folders=*/true));
  DENOISED_RETURN_IF_ERROR(CheckClassNames(folder, folders));
  if (class_names.empty()) return Reader(folder).Read(std::move(folders));
  DENOISED_RETURN_IF_ERROR(CheckOrder(folder, folders, class_names));
  return Reader(folder).Read(class_names);
}

}  // namespace denoised
