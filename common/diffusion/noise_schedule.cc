#include "common/diffusion/noise_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace denoised {
namespace {

std::vector<double> LinearBetas(const NoiseScheduleConfig& config) {
  const int T = config.num_train_timesteps;
  std::vector<double> betas(T, config.beta_start);
  for (int t = 1; t < T; ++t) {
    betas[t] = config.beta_start + (config.beta_end - config.beta_start) * t / (T - 1);
  }
  return betas;
}

std::vector<double> SquaredCosineBetas(int T) {
  constexpr double kOffset = 0.008;   // keeps beta_0 from being too small to matter
  constexpr double kMaxBeta = 0.999;  // keeps the end of the chain finite
  const auto signal = [T](double t) {
    return std::pow(std::cos((t / T + kOffset) / (1 + kOffset) * std::numbers::pi / 2), 2);
  };
  std::vector<double> betas(T);
  for (int t = 0; t < T; ++t) betas[t] = std::min(1 - signal(t + 1) / signal(t), kMaxBeta);
  return betas;
}

}  // namespace

std::string PredictionTypeName(PredictionType type) {
  return type == PredictionType::kEpsilon ? "epsilon" : "v_prediction";
}

absl::StatusOr<PredictionType> ParsePredictionType(const std::string& name) {
  if (name == "epsilon") return PredictionType::kEpsilon;
  if (name == "v_prediction") return PredictionType::kVPrediction;
  return absl::InvalidArgumentError(
      absl::StrCat("prediction_type must be \"epsilon\" or \"v_prediction\", got \"", name, "\""));
}

absl::StatusOr<NoiseSchedule> NoiseSchedule::Create(const NoiseScheduleConfig& config) {
  if (config.num_train_timesteps < 1 || config.num_train_timesteps > 100'000) {
    return absl::InvalidArgumentError(
        absl::StrCat("num_train_timesteps must be 1 to 100000, got ", config.num_train_timesteps));
  }
  if (config.beta_schedule == "squaredcos_cap_v2") {
    return NoiseSchedule(config, SquaredCosineBetas(config.num_train_timesteps));
  }
  if (config.beta_schedule != "linear") {
    return absl::InvalidArgumentError(
        absl::StrCat("beta_schedule must be \"linear\" or \"squaredcos_cap_v2\", got \"", config.beta_schedule, "\""));
  }
  if (!(config.beta_start > 0 && config.beta_start <= config.beta_end && config.beta_end < 1)) {
    return absl::InvalidArgumentError(absl::StrCat("betas must satisfy 0 < beta_start <= beta_end < 1, got beta_start ",
                                                   config.beta_start, " and beta_end ", config.beta_end));
  }
  NoiseSchedule schedule(config, LinearBetas(config));
  // Else a step divides by 0, or by what float32 has no number for.
  constexpr double kLeastSignal = 1e-70;
  const std::vector<double>& signal = schedule.alphas_cumprod_;
  if (signal.front() < 1 && signal.back() > kLeastSignal) return schedule;
  return absl::InvalidArgumentError(
      absl::StrCat("beta_start ", config.beta_start, " and beta_end ", config.beta_end,
                   signal.front() < 1 ? " leave nothing of the image at the last" : " make no noise at the first",
                   " of ", config.num_train_timesteps, " timesteps"));
}

NoiseSchedule::NoiseSchedule(NoiseScheduleConfig config, std::vector<double> betas)
    : config_(std::move(config)), betas_(std::move(betas)), alphas_cumprod_(betas_.size()) {
  double product = 1;
  for (size_t t = 0; t < betas_.size(); ++t) alphas_cumprod_[t] = product *= 1 - betas_[t];
}

}  // namespace denoised
