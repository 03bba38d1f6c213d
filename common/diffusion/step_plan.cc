#include "common/diffusion/step_plan.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace denoised {
namespace {

// A step from alphas_cumprod `ab` to `ab_next` (1 at the end of the chain).
struct Transition {
  int timestep;
  double ab;
  double ab_next;
};

std::vector<Transition> TrailingTransitions(const NoiseSchedule& schedule, int steps) {
  const int T = schedule.num_train_timesteps();
  std::vector<Transition> transitions(steps);
  for (int k = 0; k < steps; ++k) {
    const double position = static_cast<double>(T) * (steps - k) / steps;
    transitions[k].timestep = static_cast<int>(std::lround(position)) - 1;
    transitions[k].ab = schedule.alphas_cumprod()[transitions[k].timestep];
  }
  for (int k = 0; k < steps; ++k) transitions[k].ab_next = k + 1 < steps ? transitions[k + 1].ab : 1.0;
  return transitions;
}

// The double-precision letters of a row, before they are cast.
struct Row {
  double p, q;
  double a = 0, b = 0, c = 0, d = 0;
};

Row CleanImageRow(PredictionType prediction, double ab) {
  if (prediction == PredictionType::kVPrediction) return {.p = std::sqrt(ab), .q = -std::sqrt(1 - ab)};
  return {.p = 1 / std::sqrt(ab), .q = -std::sqrt(1 - ab) / std::sqrt(ab)};
}

void AddDdpm(const Transition& step, VarianceType variance_type, Row& row) {
  const double alpha = step.ab / step.ab_next;  // of the subsequence
  const double beta = 1 - alpha;
  row.a = std::sqrt(alpha) * (1 - step.ab_next) / (1 - step.ab);
  row.b = std::sqrt(step.ab_next) * beta / (1 - step.ab);
  const double posterior_variance = beta * (1 - step.ab_next) / (1 - step.ab);
  const bool last = step.ab_next == 1.0;
  row.d = last ? 0 : std::sqrt(variance_type == VarianceType::kFixedLarge ? beta : posterior_variance);
}

void AddDdim(const Transition& step, double eta, Row& row) {
  const double sigma = eta * std::sqrt((1 - step.ab_next) / (1 - step.ab)) * std::sqrt(1 - step.ab / step.ab_next);
  const double direction = std::sqrt(std::max(0.0, 1 - step.ab_next - sigma * sigma));
  row.a = direction / std::sqrt(1 - step.ab);
  row.b = std::sqrt(step.ab_next) - row.a * std::sqrt(step.ab);
  row.d = sigma;
}

double LogSnrHalf(double ab) { return 0.5 * std::log(ab / (1 - ab)); }

// `previous_ab` is that of the step before, or 0 for the first step, which has no history.
void AddDpmSolverPp2M(const Transition& step, double previous_ab, Row& row) {
  if (step.ab_next == 1.0) {  // no noise is left: the clean image itself
    row.b = 1;
    return;
  }
  const double h = LogSnrHalf(step.ab_next) - LogSnrHalf(step.ab);
  const double weight = -std::sqrt(step.ab_next) * std::expm1(-h);
  row.a = std::sqrt((1 - step.ab_next) / (1 - step.ab));
  row.b = weight;
  if (previous_ab > 0) {
    const double r = (LogSnrHalf(step.ab) - LogSnrHalf(previous_ab)) / h;
    row.b = weight * (1 + 1 / (2 * r));
    row.c = -weight / (2 * r);
  }
}

StepCoefficients Cast(int timestep, const Row& row, bool clip_sample) {
  const float limit = clip_sample ? 1.0f : std::numeric_limits<float>::infinity();
  return {.timestep = timestep,
          .p = static_cast<float>(row.p),
          .q = static_cast<float>(row.q),
          .lo = -limit,
          .hi = limit,
          .a = static_cast<float>(row.a),
          .b = static_cast<float>(row.b),
          .c = static_cast<float>(row.c),
          .d = static_cast<float>(row.d)};
}

}  // namespace

std::string SamplerName(SamplerType sampler) {
  switch (sampler) {
    case SamplerType::kDdpm:
      return "ddpm";
    case SamplerType::kDdim:
      return "ddim";
    case SamplerType::kDpmSolverPp2M:
      return "dpm_solver_pp_2m";
  }
  return "unknown";
}

int DefaultSteps(SamplerType sampler, int num_train_timesteps) {
  switch (sampler) {
    case SamplerType::kDdpm:
      return num_train_timesteps;
    case SamplerType::kDdim:
      return std::min(50, num_train_timesteps);
    case SamplerType::kDpmSolverPp2M:
      return std::min(20, num_train_timesteps);
  }
  return num_train_timesteps;
}

std::string VarianceTypeName(VarianceType type) {
  return type == VarianceType::kFixedSmall ? "fixed_small" : "fixed_large";
}

absl::StatusOr<VarianceType> ParseVarianceType(const std::string& name) {
  if (name == "fixed_small") return VarianceType::kFixedSmall;
  if (name == "fixed_large") return VarianceType::kFixedLarge;
  return absl::InvalidArgumentError(
      absl::StrCat("variance_type must be \"fixed_small\" or \"fixed_large\", got \"", name, "\""));
}

absl::StatusOr<StepPlan> MakeStepPlan(const NoiseSchedule& schedule, const StepPlanOptions& options) {
  const int T = schedule.num_train_timesteps();
  const int steps = options.steps == 0 ? DefaultSteps(options.sampler, T) : options.steps;
  if (steps < 1 || steps > T) {
    return absl::InvalidArgumentError(absl::StrCat("steps must be 1 to ", T, ", got ", options.steps));
  }
  if (!(options.eta >= 0 && options.eta <= 1)) {
    return absl::InvalidArgumentError(absl::StrCat("eta must be 0 to 1, got ", options.eta));
  }
  StepPlan plan;
  plan.reserve(steps);
  double previous_ab = 0;
  for (const Transition& step : TrailingTransitions(schedule, steps)) {
    Row row = CleanImageRow(schedule.config().prediction_type, step.ab);
    switch (options.sampler) {
      case SamplerType::kDdpm:
        AddDdpm(step, options.variance_type, row);
        break;
      case SamplerType::kDdim:
        AddDdim(step, options.eta, row);
        break;
      case SamplerType::kDpmSolverPp2M:
        AddDpmSolverPp2M(step, previous_ab, row);
        break;
    }
    plan.push_back(Cast(step.timestep, row, options.clip_sample));
    previous_ab = step.ab;
  }
  return plan;
}

}  // namespace denoised
