// File: noise_schedule.h
//
// The forward process of a diffusion model: how much noise a training image holds at each timestep.
//
//   absl::StatusOr<NoiseSchedule> schedule = NoiseSchedule::Create(NoiseScheduleConfig{});
//   double signal = std::sqrt(schedule->alphas_cumprod()[t]);   // x_t = signal*x_0 + sqrt(1-signal^2)*epsilon
//
// Source: Ho, Jain, Abbeel, "Denoising Diffusion Probabilistic Models" (arXiv 2006.11239), section 2; the squared
// cosine from Nichol and Dhariwal, "Improved Denoising Diffusion Probabilistic Models" (arXiv 2102.09672), equation 17.
#ifndef DENOISED_COMMON_DIFFUSION_NOISE_SCHEDULE_H_
#define DENOISED_COMMON_DIFFUSION_NOISE_SCHEDULE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace denoised {

// What the network's output means.
enum class PredictionType {
  kEpsilon,      // the noise in x_t
  kVPrediction,  // sqrt(alphas_cumprod)*epsilon - sqrt(1-alphas_cumprod)*x_0 (Salimans and Ho, arXiv 2202.00512)
};

// The names that checkpoints and GetModel use: "epsilon" and "v_prediction".
std::string PredictionTypeName(PredictionType type);
absl::StatusOr<PredictionType> ParsePredictionType(const std::string& name);

// Everything that training and sampling must agree on about noise; kept in each checkpoint.
struct NoiseScheduleConfig {
  int num_train_timesteps = 1000;        // T, 1 to 100,000
  double beta_start = 1e-4;              // first beta of a linear schedule, in (0, 1)
  double beta_end = 0.02;                // last beta of a linear schedule, in [beta_start, 1)
  std::string beta_schedule = "linear";  // "linear" or "squaredcos_cap_v2", which ignores the two betas
  PredictionType prediction_type = PredictionType::kEpsilon;

  friend bool operator==(const NoiseScheduleConfig&, const NoiseScheduleConfig&) = default;
};

// The tables of one schedule, computed in double precision. Immutable, so safe to share between threads.
class NoiseSchedule {
 public:
  // INVALID_ARGUMENT for values outside the ranges above, naming the field and its limit.
  static absl::StatusOr<NoiseSchedule> Create(const NoiseScheduleConfig& config);

  const NoiseScheduleConfig& config() const { return config_; }
  int num_train_timesteps() const { return config_.num_train_timesteps; }
  // beta_t for t = 0 .. T-1.
  const std::vector<double>& betas() const { return betas_; }
  // Product of (1 - beta_s) for s = 0 .. t.
  const std::vector<double>& alphas_cumprod() const { return alphas_cumprod_; }

 private:
  NoiseSchedule(NoiseScheduleConfig config, std::vector<double> betas);

  NoiseScheduleConfig config_;
  std::vector<double> betas_;
  std::vector<double> alphas_cumprod_;
};

}  // namespace denoised

#endif  // DENOISED_COMMON_DIFFUSION_NOISE_SCHEDULE_H_
