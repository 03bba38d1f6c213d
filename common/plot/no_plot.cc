// In place of plot.cc in builds without OpenCV.
#include "absl/status/status.h"
#include "common/plot/plot.h"

namespace denoised {

bool CanPlot() { return false; }

absl::StatusOr<std::string> DrawPlot(const std::vector<PlotLine>& /*lines*/, const PlotOptions& /*options*/) {
  return absl::UnimplementedError("this build draws no plots, as it was made without OpenCV");
}

}  // namespace denoised
