// File: sweep.h
//
// Several variants side by side, to choose a checkpoint, a sampler, its steps or a guidance scale: a table in Markdown,
// and plots. Each variant is evaluated with the same seeds, so that they are compared in pairs: on the same noise and
// with the same draws of real images.
//
//   std::vector<Variant> variants = ...;   // equal counts, or their distances cannot be compared
//   std::fputs(FormatSweep(variants).c_str(), stdout);
//   absl::StatusOr<std::string> png = PlotDistances(variants);
//
// Pure and thread-safe.
#ifndef DENOISED_TRAINER_EVALUATION_SWEEP_H_
#define DENOISED_TRAINER_EVALUATION_SWEEP_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/evaluation/evaluation_report.h"

namespace denoised {

struct Variant {
  std::string name;
  std::vector<EvaluationReport> seeds;  // at least one
};

// What tells a report apart from the others of its sweep, as a folder's name: "ddim-50", "ddim" for the sampler's own
// steps (0), with guidance "ddim-50-g1.5".
std::string SweepName(const std::string& sampler, int steps, double guidance_scale);

// One row per variant: means over the seeds, the distance's with its standard deviation, and how far the distance is
// from that of the first variant, in pairs, with the standard error of the difference. Accuracy and the worst class are
// of all seeds' images together.
std::string FormatSweep(const std::vector<Variant>& variants);

// PNGs of the Frechet distance, and of the share of images read as something else, with the real images' own. Against
// the steps, a line per checkpoint, sampler and guidance scale; or, where all reports have the same steps, against the
// guidance scale. INVALID_ARGUMENT for no variants.
absl::StatusOr<std::string> PlotDistances(const std::vector<Variant>& variants);
absl::StatusOr<std::string> PlotMisread(const std::vector<Variant>& variants);

}  // namespace denoised

#endif  // DENOISED_TRAINER_EVALUATION_SWEEP_H_
