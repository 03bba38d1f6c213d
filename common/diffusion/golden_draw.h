// File: golden_draw.h
//
// A few short chains by which an engine proves that it draws what its network says, before anybody relies on it:
//
//   const std::vector<GoldenRow> rows = GoldenRows(schedule, {.classes = 10, .null_label = 10});
//   const GoldenImages images = DrawPlainly(rows, null_label, network);      // the reference, in fp32
//   absl::Status proof = CheckEngine(*engine, rows, images, {.largest_rms = 0.02f});
//
// The rows differ in sampler, label and seed, and one is guided where the network has learnt the null label: so they
// touch the initial noise, the noise of the steps, the predicted image of the step before, the guidance and the clamp.
// Each is drawn alone, then all in company.
//
// Pure, and thread-safe but for the engine.
#ifndef DENOISED_COMMON_DIFFUSION_GOLDEN_DRAW_H_
#define DENOISED_COMMON_DIFFUSION_GOLDEN_DRAW_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/diffusion/engine.h"
#include "common/diffusion/noise_schedule.h"
#include "common/diffusion/step_plan.h"

namespace denoised {

// One chain, of a few steps.
struct GoldenRow {
  SamplerType sampler = SamplerType::kDdpm;
  StepPlan plan = {};
  int label = 0;
  float guidance_scale = 1;
  uint64_t seed = 0;
};

struct GoldenOptions {
  int classes = 10;
  std::optional<int> null_label = std::nullopt;  // none: no row is guided
  VarianceType variance_type = VarianceType::kFixedSmall;
  bool clip_sample = true;
};

// The rows are the same for the same schedule and options, for ever: their images may be kept.
std::vector<GoldenRow> GoldenRows(const NoiseSchedule& schedule, const GoldenOptions& options);

// Finished images, [rows][kModelPixels].
using GoldenImages = std::vector<std::vector<float>>;

// Rows, and what they should look like.
struct GoldenReference {
  std::vector<GoldenRow> rows;
  GoldenImages images;
};

// The network's output e [kModelPixels] for one image x [kModelPixels], by whatever is plainest.
using PlainNetwork = std::function<void(const float* x, int timestep, int label, float* e)>;

// The images as the formulas say, one network call after the other.
GoldenImages DrawPlainly(const std::vector<GoldenRow>& rows, int null_label, const PlainNetwork& network);

// OK if every image is within largest_rms (of its pixels, as a root mean square) of the expected one. INTERNAL, saying
// which is how far off, if not. There is one of each for each row.
absl::Status CompareImages(const std::vector<GoldenRow>& rows, const GoldenImages& images, const GoldenImages& expected,
                           float largest_rms);

struct GoldenTolerance {
  float largest_rms = 0;         // of a finished image's pixels, against the reference
  bool exact_in_company = true;  // bit for bit as alone; else within largest_rms of the reference
  int company = 16;              // network rows of the widest step, at least two
};

// OK if the engine draws these images. INTERNAL, saying which row is how far off, if not, or if it fails. Leaves
// nothing behind: a slot is filled anew when a chain begins.
absl::Status CheckEngine(Engine& engine, const std::vector<GoldenRow>& rows, const GoldenImages& expected,
                         const GoldenTolerance& tolerance);

}  // namespace denoised

#endif  // DENOISED_COMMON_DIFFUSION_GOLDEN_DRAW_H_
