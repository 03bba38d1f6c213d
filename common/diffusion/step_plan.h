// File: step_plan.h
//
// The one idea of this project: every sampler is a table with one row per denoising step. With x the noisy image, e the
// network's output at (x, timestep, label) and z fresh standard normal noise, a row says
//
//   x0     = clamp(p*x + q*e, lo, hi)              the predicted clean image
//   x_next = a*x + b*x0 + c*x0_previous + d*z
//
// so that one update serves all samplers, and one batch may mix rows of different samplers at different steps.
//
//   absl::StatusOr<StepPlan> plan = MakeStepPlan(schedule, {.sampler = SamplerType::kDdim, .steps = 50});
//   for (const StepCoefficients& row : *plan) { ... }
//
// Plans are plain data: pure functions make them, and they are safe to share between threads once made.
#ifndef DENOISED_COMMON_DIFFUSION_STEP_PLAN_H_
#define DENOISED_COMMON_DIFFUSION_STEP_PLAN_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/diffusion/noise_schedule.h"

namespace denoised {

enum class SamplerType { kDdpm, kDdim, kDpmSolverPp2M };

// "ddpm", "ddim" and "dpm_solver_pp_2m", as metric labels have them.
std::string SamplerName(SamplerType sampler);

// Steps that a request with steps = 0 gets: T for DDPM, 50 for DDIM, 20 for DPM-Solver++(2M), never more than T.
int DefaultSteps(SamplerType sampler, int num_train_timesteps);

// Variance of the DDPM reverse step.
enum class VarianceType {
  kFixedSmall,  // the posterior variance, beta_t * (1 - alphas_cumprod[t-1]) / (1 - alphas_cumprod[t])
  kFixedLarge,  // beta_t
};

// The names that checkpoints use: "fixed_small" and "fixed_large".
std::string VarianceTypeName(VarianceType type);
absl::StatusOr<VarianceType> ParseVarianceType(const std::string& name);

struct StepPlanOptions {
  SamplerType sampler = SamplerType::kDdpm;
  int steps = 0;   // 1 to T; 0 means DefaultSteps
  double eta = 0;  // DDIM only: 0 is deterministic, 1 the DDPM of the same steps
  VarianceType variance_type = VarianceType::kFixedSmall;  // DDPM only
  bool clip_sample = true;                                 // clamp the predicted clean image to [-1, 1]
};

// One row of a plan; the letters are those of the formula at the top of this file.
struct StepCoefficients {
  int timestep = 0;                  // what the network is told, 0 to T-1
  float p = 0, q = 0;                // predicted clean image
  float lo = 0, hi = 0;              // its clamp; -inf and +inf when off
  float a = 0, b = 0, c = 0, d = 0;  // next image
};

using StepPlan = std::vector<StepCoefficients>;

// Builds the table. The first row is the noisiest. Timesteps are spaced "trailing": the last of T/steps each, so that
// the first row is always T-1 and the last row always leads to the clean image.
// Returns INVALID_ARGUMENT for steps outside 1 to T or eta outside [0, 1], saying the limit.
//
// Sources: DDPM: arXiv 2006.11239, equations 7 and 11, with the betas of the subsequence 1 - ab_t/ab_previous.
// DDIM: arXiv 2010.02502, equations 12 and 16, the noise recomputed from the clamped clean image.
// DPM-Solver++(2M): arXiv 2211.01095, algorithm 2, with the last step of first order.
absl::StatusOr<StepPlan> MakeStepPlan(const NoiseSchedule& schedule, const StepPlanOptions& options);

}  // namespace denoised

#endif  // DENOISED_COMMON_DIFFUSION_STEP_PLAN_H_
