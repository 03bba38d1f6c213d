#include "common/plot/figure_files.h"

#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/plot/plot.h"
#include "common/support/file.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

constexpr char kJson[] = ".json";

}  // namespace

absl::StatusOr<FigureFiles> FigureFiles::Create(const std::string& json, const std::string& flag,
                                                const std::string& advice) {
  FigureFiles files;
  if (json.empty()) return files;
  if (!absl::EndsWith(json, kJson)) {
    return absl::InvalidArgumentError(absl::StrCat(flag, " must end in .json, got ", json, advice));
  }
  files.json_ = json;
  files.png_ = absl::StrCat(absl::StripSuffix(json, kJson), ".png");
  DENOISED_RETURN_IF_ERROR(EnsureWritableFolder(files.folder()));
  return files;
}

std::string FigureFiles::folder() const {
  const std::string folder = std::filesystem::path(json_).parent_path().string();
  return folder.empty() ? "." : folder;
}

absl::Status FigureFiles::Write(std::string_view figures, const absl::StatusOr<std::string>& plot) const {
  DENOISED_RETURN_IF_ERROR(WriteFigures(figures));
  if (!CanPlot()) return absl::OkStatus();
  DENOISED_RETURN_IF_ERROR(plot.status());
  return WriteFileAtomically(png_, *plot);
}

absl::Status FigureFiles::WriteFigures(std::string_view figures) const { return WriteFileAtomically(json_, figures); }

std::string FigureFiles::ToString() const {
  const std::string plot = CanPlot() ? png_ : "none, as this build was made without OpenCV";
  return absl::StrCat("Figures:  ", json_, "\nPlot:     ", plot, "\n");
}

}  // namespace denoised
