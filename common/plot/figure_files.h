// File: figure_files.h
//
// Where a program's figures go: a JSON file, and a plot of them beside it, of the same name but with .png.
//
//   absl::StatusOr<FigureFiles> files = FigureFiles::Create("load.json", "--out");
//   absl::Status written = files->Write(ResultsToJson(results), PlotResults(results));
//   std::fputs(files->ToString().c_str(), stdout);  // both names
//
// Thread-safe as far as the file system is.
#ifndef DENOISED_COMMON_PLOT_FIGURE_FILES_H_
#define DENOISED_COMMON_PLOT_FIGURE_FILES_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace denoised {

class FigureFiles {
 public:
  // `json`: the path, or empty when no files are wanted. Before anything is measured: makes the folder where it is
  // missing, and proves that it can be written. INVALID_ARGUMENT when the path does not end in .json: "`flag` must end
  // in .json, got `json`", with `advice` after it; and EnsureWritableFolder's errors.
  static absl::StatusOr<FigureFiles> Create(const std::string& json, const std::string& flag,
                                            const std::string& advice = "");

  bool wanted() const { return !json_.empty(); }
  std::string folder() const;  // of both; "." for this one

  // Replaces both files, the figures first: these are written even if there is no plot, whose error is then returned.
  // A build that draws no plots writes the figures alone. Only where files are wanted.
  absl::Status Write(std::string_view figures, const absl::StatusOr<std::string>& plot) const;

  // The figures alone, as long as there is nothing to plot.
  absl::Status WriteFigures(std::string_view figures) const;

  // Two lines with the names, for the person who asked, or with one and why there is no other.
  std::string ToString() const;

 private:
  FigureFiles() = default;

  std::string json_;
  std::string png_;
};

}  // namespace denoised

#endif  // DENOISED_COMMON_PLOT_FIGURE_FILES_H_
