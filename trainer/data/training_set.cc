#include "trainer/data/training_set.h"

#include <array>
#include <filesystem>
#include <system_error>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/support/status_macros.h"
#include "trainer/data/class_names.h"
#include "trainer/data/mnist.h"
#include "trainer/data/png_folder.h"

namespace denoised {
namespace {

bool HasIdxFiles(const std::string& folder) {
  std::error_code error;
  for (std::filesystem::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename();
    if (absl::StartsWith(name, "train-images") || absl::StartsWith(name, "train-labels")) return true;
  }
  return false;
}

absl::Status CheckEveryClassIsThere(const std::string& folder, const Dataset& data) {
  std::array<bool, kMostClasses> there = {};
  for (const uint8_t label : data.labels) there[label] = true;
  for (size_t label = 0; label < data.class_names.size(); ++label) {
    if (there[label]) continue;
    return absl::InvalidArgumentError(absl::StrCat("class ", label, ", \"", data.class_names[label],
                                                   "\", has no images in ", folder,
                                                   ": a network cannot learn it; number the classes without gaps"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<std::string>> GivenClassNames(const std::string& folder, const std::string& class_names) {
  if (!class_names.empty()) return ParseClassNames("--class_names", class_names);
  const std::string path = absl::StrCat(folder, "/class_names.txt");
  if (std::error_code ignored; std::filesystem::exists(path, ignored)) return ReadClassNames(path);
  return std::vector<std::string>();
}

absl::StatusOr<Dataset> LoadTrainingSet(const std::string& folder, const TrainingSetOptions& options) {
  DENOISED_ASSIGN_OR_RETURN(const std::vector<std::string> names, GivenClassNames(folder, options.class_names));
  if (!HasIdxFiles(folder) && HasClassFolders(folder)) return LoadPngFolder(folder, names);
  absl::StatusOr<Dataset> data =
      LoadMnist(folder, Split::kTrain, {.verify_checksums = options.verify_checksums, .class_names = names});
  if (absl::IsNotFound(data.status())) {
    return absl::NotFoundError(absl::StrCat(
        data.status().message(), "; a data set of one's own may also be a folder of PNGs for each class in it"));
  }
  if (!data.ok()) return data.status();
  DENOISED_RETURN_IF_ERROR(CheckEveryClassIsThere(folder, *data));
  return data;
}

}  // namespace denoised
