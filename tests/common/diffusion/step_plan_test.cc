#include "common/diffusion/step_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "common/diffusion/row_update.h"
#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

constexpr size_t kPixels = 16;
constexpr double kMean = 0.3, kDeviation = 0.5;  // of the Gaussian data that the exact predictor knows

NoiseSchedule Schedule() { return *NoiseSchedule::Create({}); }

// The noise that is in x, were the data N(kMean, kDeviation^2): the best that a network can predict.
double ExactEpsilon(double x, double alphas_cumprod) {
  return std::sqrt(1 - alphas_cumprod) * (x - std::sqrt(alphas_cumprod) * kMean) /
         (alphas_cumprod * kDeviation * kDeviation + 1 - alphas_cumprod);
}

std::vector<float> ExactNetwork(const NoiseSchedule& schedule, int timestep, const std::vector<float>& x) {
  std::vector<float> e(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    e[i] = static_cast<float>(ExactEpsilon(x[i], schedule.alphas_cumprod()[timestep]));
  }
  return e;
}

std::vector<float> Linspace() {
  std::vector<float> x(kPixels);
  for (size_t i = 0; i < kPixels; ++i) x[i] = -2.0f + 4.0f * static_cast<float>(i) / (kPixels - 1);
  return x;
}

// Runs a plan from `x` without noise.
std::vector<float> RunQuietly(const StepPlan& plan, const NoiseSchedule& schedule, std::vector<float> x) {
  std::vector<float> x0(x.size());
  for (const StepCoefficients& row : plan) {
    const std::vector<float> e = ExactNetwork(schedule, row.timestep, x);
    UpdateRow(row, e.data(), nullptr, x.size(), x.data(), x0.data());
  }
  return x;
}

TEST(StepPlanTest, SeedChainMatchesTheGoldenNumbers) {
  std::ifstream file(DENOISED_SOURCE_DIR "/tests/data/seed_chain.json");
  const nlohmann::json golden = nlohmann::json::parse(file);
  const NoiseSchedule schedule = Schedule();
  for (const auto& [t, value] : golden["alphas_cumprod"].items()) {
    EXPECT_FLOAT_EQ(static_cast<float>(schedule.alphas_cumprod()[std::stoi(t)]), value.get<float>()) << t;
  }
  for (const auto& [t, value] : golden["betas"].items()) {
    EXPECT_FLOAT_EQ(static_cast<float>(schedule.betas()[std::stoi(t)]), value.get<float>()) << t;
  }
  const StepPlan plan = *MakeStepPlan(schedule, {.variance_type = VarianceType::kFixedLarge, .clip_sample = false});
  const double salt = golden["salt"].get<double>();
  std::vector<float> x = Linspace(), x0(kPixels), z(kPixels);
  int compared = 0;
  for (const StepCoefficients& row : plan) {
    for (size_t n = 0; n < kPixels; ++n) {
      z[n] = row.timestep == 0 ? 0.0f
                               : static_cast<float>(std::sqrt(2.0) * std::sin(12.9898 * static_cast<double>(n) +
                                                                              78.233 * row.timestep + salt));
    }
    const std::vector<float> e = ExactNetwork(schedule, row.timestep, x);
    UpdateRow(row, e.data(), z.data(), kPixels, x.data(), x0.data());
    const auto expected = golden["x_after_step"].find(std::to_string(row.timestep));
    if (expected == golden["x_after_step"].end()) continue;
    ++compared;
    for (size_t n = 0; n < kPixels; ++n) {
      EXPECT_NEAR(x[n], (*expected)[n].get<float>(), 1e-5) << row.timestep << " " << n;
    }
  }
  EXPECT_EQ(compared, static_cast<int>(golden["x_after_step"].size()));
  EXPECT_GT(compared, 0);
}

TEST(StepPlanTest, TimestepsTrailFromTheNoisiestToTheCleanImage) {
  const StepPlan plan = *MakeStepPlan(Schedule(), {.sampler = SamplerType::kDdim, .steps = 4});
  std::vector<int> timesteps;
  for (const StepCoefficients& row : plan) timesteps.push_back(row.timestep);
  EXPECT_THAT(timesteps, testing::ElementsAre(999, 749, 499, 249));
  EXPECT_FLOAT_EQ(plan.back().a, 0);
  EXPECT_FLOAT_EQ(plan.back().b, 1);
  EXPECT_FLOAT_EQ(plan.back().d, 0);
}

TEST(StepPlanTest, DefaultStepsAreTheSamplers) {
  for (const auto& [sampler, steps] : {std::pair(SamplerType::kDdpm, 1000), std::pair(SamplerType::kDdim, 50),
                                       std::pair(SamplerType::kDpmSolverPp2M, 20)}) {
    EXPECT_EQ(MakeStepPlan(Schedule(), {.sampler = sampler})->size(), static_cast<size_t>(steps));
    EXPECT_EQ(DefaultSteps(sampler, 10), 10);
  }
}

TEST(StepPlanTest, VariancesAreTheirFormulas) {
  const NoiseSchedule schedule = Schedule();
  const auto d = [&](VarianceType type) { return MakeStepPlan(schedule, {.variance_type = type})->at(999 - 500).d; };
  const double beta = schedule.betas()[500];
  const double ratio = (1 - schedule.alphas_cumprod()[499]) / (1 - schedule.alphas_cumprod()[500]);
  EXPECT_NEAR(d(VarianceType::kFixedLarge), std::sqrt(beta), 1e-7);
  EXPECT_NEAR(d(VarianceType::kFixedSmall), std::sqrt(beta * ratio), 1e-7);
}

TEST(StepPlanTest, LastDdpmStepAddsNoNoise) {
  for (const VarianceType type : {VarianceType::kFixedSmall, VarianceType::kFixedLarge}) {
    EXPECT_EQ(MakeStepPlan(Schedule(), {.variance_type = type})->back().d, 0);
  }
}

// arXiv 2010.02502, equation 16: eta = 1 has the posterior variance of DDPM.
TEST(StepPlanTest, DdimWithEtaOneIsDdpmOfTheSameSteps) {
  const NoiseSchedule schedule = Schedule();
  const StepPlan ddpm = *MakeStepPlan(schedule, {.steps = 100, .clip_sample = false});
  const StepPlan ddim =
      *MakeStepPlan(schedule, {.sampler = SamplerType::kDdim, .steps = 100, .eta = 1, .clip_sample = false});
  for (size_t i = 0; i < ddpm.size(); ++i) {
    EXPECT_NEAR(ddpm[i].a, ddim[i].a, 1e-5) << i;
    EXPECT_NEAR(ddpm[i].b, ddim[i].b, 1e-5) << i;
    EXPECT_NEAR(ddpm[i].d, ddim[i].d, 1e-5) << i;
  }
}

// For Gaussian data the probability flow has a closed form: every x_T lands where its quantile lies.
TEST(StepPlanTest, SolversConvergeToTheExactFlow) {
  const NoiseSchedule schedule = Schedule();
  const std::vector<float> start = Linspace();
  const double ab = schedule.alphas_cumprod()[999];
  const auto error = [&](SamplerType sampler, int steps) {
    const std::vector<float> end = RunQuietly(
        *MakeStepPlan(schedule, {.sampler = sampler, .steps = steps, .clip_sample = false}), schedule, start);
    double worst = 0;
    for (size_t i = 0; i < kPixels; ++i) {
      const double quantile = (start[i] - std::sqrt(ab) * kMean) / std::sqrt(ab * kDeviation * kDeviation + 1 - ab);
      worst = std::max(worst, std::abs(end[i] - (kMean + kDeviation * quantile)));
    }
    return worst;
  };
  EXPECT_LT(error(SamplerType::kDdim, 1000), 0.01);
  EXPECT_LT(error(SamplerType::kDdim, 100), error(SamplerType::kDdim, 10));
  EXPECT_LT(error(SamplerType::kDpmSolverPp2M, 20), 0.05);
  EXPECT_LT(error(SamplerType::kDpmSolverPp2M, 20), error(SamplerType::kDdim, 20) / 3) << "it is of second order";
}

TEST(StepPlanTest, ClampIsOffWhereItIsNotWanted) {
  EXPECT_EQ(MakeStepPlan(Schedule(), {})->front().hi, 1);
  EXPECT_EQ(MakeStepPlan(Schedule(), {})->front().lo, -1);
  EXPECT_EQ(MakeStepPlan(Schedule(), {.clip_sample = false})->front().hi, std::numeric_limits<float>::infinity());
}

// epsilon and v say the same about x_0 when they come from the same truth.
TEST(StepPlanTest, VPredictionFindsTheSameCleanImage) {
  const NoiseSchedule epsilon = Schedule();
  const NoiseSchedule v = *NoiseSchedule::Create({.prediction_type = PredictionType::kVPrediction});
  const StepCoefficients with_epsilon = MakeStepPlan(epsilon, {})->at(300);
  const StepCoefficients with_v = MakeStepPlan(v, {})->at(300);
  const double ab = epsilon.alphas_cumprod()[with_epsilon.timestep];
  const double clean = 0.4, noise = -1.1;
  const double x = std::sqrt(ab) * clean + std::sqrt(1 - ab) * noise;
  const double velocity = std::sqrt(ab) * noise - std::sqrt(1 - ab) * clean;
  EXPECT_NEAR(with_epsilon.p * x + with_epsilon.q * noise, clean, 1e-5);
  EXPECT_NEAR(with_v.p * x + with_v.q * velocity, clean, 1e-5);
}

TEST(StepPlanTest, RangesAreSaid) {
  const NoiseSchedule schedule = Schedule();
  EXPECT_THAT(MakeStepPlan(schedule, {.steps = 1001}),
              StatusIs(absl::StatusCode::kInvalidArgument, "steps must be 1 to 1000, got 1001"));
  EXPECT_THAT(MakeStepPlan(schedule, {.steps = -1}),
              StatusIs(absl::StatusCode::kInvalidArgument, "steps must be 1 to 1000, got -1"));
  EXPECT_THAT(MakeStepPlan(schedule, {.sampler = SamplerType::kDdim, .eta = 1.5}),
              StatusIs(absl::StatusCode::kInvalidArgument, "eta must be 0 to 1, got 1.5"));
}

TEST(UpdateRowTest, IsTheFormula) {
  const StepCoefficients row{
      .timestep = 0, .p = 2, .q = -1, .lo = -1, .hi = 1, .a = 0.5f, .b = 0.25f, .c = 0.125f, .d = 3};
  float x[] = {0.5f, 4.0f}, x0[] = {0.8f, 0.8f};
  const float e[] = {0.6f, 0.0f}, z[] = {1.0f, -1.0f};
  UpdateRow(row, e, z, 2, x, x0);
  EXPECT_FLOAT_EQ(x0[0], 0.4f);
  EXPECT_FLOAT_EQ(x0[1], 1.0f) << "clamped";
  EXPECT_FLOAT_EQ(x[0], 0.25f + 0.1f + 0.1f + 3.0f);
  EXPECT_FLOAT_EQ(x[1], 2.0f + 0.25f + 0.1f - 3.0f);
}

// A fresh slot's x0 is whatever an earlier image left there.
TEST(UpdateRowTest, IgnoresThePreviousCleanImageWhereItHasNoWeight) {
  const StepCoefficients row{.timestep = 0, .p = 1, .q = 0, .lo = -1, .hi = 1, .a = 0, .b = 1, .c = 0, .d = 0};
  float x[] = {0.5f}, x0[] = {std::numeric_limits<float>::quiet_NaN()};
  const float e[] = {0.0f};
  UpdateRow(row, e, nullptr, 1, x, x0);
  EXPECT_EQ(x[0], 0.5f);
}

}  // namespace
}  // namespace denoised
