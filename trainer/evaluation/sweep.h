// File: sweep.h
//
// Several evaluations side by side, to choose a sampler, its steps or a guidance scale: a table in Markdown, and plots.
//
//   std::vector<EvaluationReport> reports = ...;   // equal counts, or their distances cannot be compared
//   std::fputs(FormatSweep(reports).c_str(), stdout);
//   absl::StatusOr<std::string> png = PlotDistances(reports);
//
// Pure and thread-safe.
#ifndef DENOISED_TRAINER_EVALUATION_SWEEP_H_
#define DENOISED_TRAINER_EVALUATION_SWEEP_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/evaluation/evaluation_report.h"

namespace denoised {

// What tells a report apart from the others of its sweep, as a folder's name: "ddim-50", "ddim" for the sampler's own
// steps (0), with guidance "ddim-50-g1.5".
std::string SweepName(const std::string& sampler, int steps, double guidance_scale);

// One row per report.
std::string FormatSweep(const std::vector<EvaluationReport>& reports);

// PNGs of the Frechet distance to the test images, and of the share of digits read as something else, with the real
// digits' own. Against the steps, a line per sampler and guidance scale; or, where all reports have the same steps,
// against the guidance scale. INVALID_ARGUMENT for no reports.
absl::StatusOr<std::string> PlotDistances(const std::vector<EvaluationReport>& reports);
absl::StatusOr<std::string> PlotMisread(const std::vector<EvaluationReport>& reports);

}  // namespace denoised

#endif  // DENOISED_TRAINER_EVALUATION_SWEEP_H_
