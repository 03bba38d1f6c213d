// File: plot.h
//
// Line plots as PNGs, for figures over epochs, steps or load.
//
//   absl::StatusOr<std::string> png =
//       DrawPlot({{.name = "mean loss", .x = {1, 2, 3}, .y = {0.2, 0.1, 0.05}}},
//                {.title = "Training", .x_label = "epoch", .y_label = "loss", .log_y = true});
//
// Each line is named where it ends, so there is no legend to look up. Pure and thread-safe.
#ifndef DENOISED_COMMON_PLOT_PLOT_H_
#define DENOISED_COMMON_PLOT_PLOT_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace denoised {

struct PlotLine {
  std::string name;
  std::vector<double> x = {}, y = {};  // equally many, x ascending; y that is not finite leaves a gap
  bool points = false;                 // a dot at every point, for few and far between
  bool dashed = false;                 // a yardstick, not a measurement
};

struct PlotOptions {
  std::string title = "";  // ASCII, as all texts
  std::string x_label = "", y_label = "";
  bool log_x = false, log_y = false;  // for values above 0
};

// Whether this build draws plots: it does with OpenCV.
bool CanPlot();

// A PNG of 1200x720 pixels. UNIMPLEMENTED if not CanPlot(). INVALID_ARGUMENT when there is nothing to draw, lengths
// differ, or a logarithmic axis meets a value that is not above 0.
absl::StatusOr<std::string> DrawPlot(const std::vector<PlotLine>& lines, const PlotOptions& options);

// Round numbers that cover low to high, at most about `count` of them: 1, 2 or 5 times a power of ten apart, or on a
// logarithmic axis 1, 2 and 5 times powers of ten.
std::vector<double> AxisTicks(double low, double high, int count, bool logarithmic);

}  // namespace denoised

#endif  // DENOISED_COMMON_PLOT_PLOT_H_
