#include "common/diffusion/noise_schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

using testing::HasSubstr;

TEST(NoiseScheduleTest, LinearSpansItsTwoBetas) {
  const NoiseSchedule schedule = *NoiseSchedule::Create({});
  ASSERT_EQ(schedule.betas().size(), 1000u);
  EXPECT_DOUBLE_EQ(schedule.betas().front(), 1e-4);
  EXPECT_DOUBLE_EQ(schedule.betas().back(), 0.02);
  EXPECT_NEAR(schedule.betas()[500] - schedule.betas()[499], (0.02 - 1e-4) / 999, 1e-15);
}

TEST(NoiseScheduleTest, AlphasCumprodIsTheProduct) {
  const NoiseSchedule schedule = *NoiseSchedule::Create({.num_train_timesteps = 3, .beta_start = 0.1, .beta_end = 0.3});
  EXPECT_NEAR(schedule.alphas_cumprod()[2], 0.9 * 0.8 * 0.7, 1e-15);
}

// Nichol and Dhariwal, arXiv 2102.09672, equation 17: f(t) = cos^2((t/T + 0.008) / 1.008 * pi / 2), betas at most
// 0.999.
TEST(NoiseScheduleTest, SquaredCosine) {
  const NoiseSchedule schedule = *NoiseSchedule::Create({.beta_schedule = "squaredcos_cap_v2"});
  const auto f = [](double t) { return std::pow(std::cos((t + 0.008) / 1.008 * std::acos(-1.0) / 2), 2); };
  EXPECT_NEAR(schedule.alphas_cumprod()[499], f(0.5) / f(0), 1e-12);
  EXPECT_DOUBLE_EQ(schedule.betas().back(), 0.999);
}

TEST(NoiseScheduleTest, RangesAreSaid) {
  const std::vector<std::pair<NoiseScheduleConfig, std::string>> cases = {
      {{.num_train_timesteps = 0}, "num_train_timesteps"},
      {{.num_train_timesteps = 100'001}, "num_train_timesteps"},
      {{.beta_start = 0}, "beta_start"},
      {{.beta_end = 1}, "beta_end"},
      {{.beta_start = 0.02, .beta_end = 0.01}, "beta_end"},
      {{.beta_schedule = "steep"}, "steep"},
      {{.beta_start = NAN}, "beta_start"},
  };
  for (const auto& [config, name] : cases) {
    EXPECT_THAT(NoiseSchedule::Create(config), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(name)));
  }
}

// Of which a step would make numbers that are none.
TEST(NoiseScheduleTest, SignalThatIsGoneOrWholeIsRefused) {
  EXPECT_THAT(NoiseSchedule::Create({.num_train_timesteps = 20'000}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("leave nothing of the image at the last of 20000 timesteps")));
  EXPECT_THAT(NoiseSchedule::Create({.beta_start = 1e-17}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("make no noise at the first of 1000 timesteps")));
}

TEST(PredictionTypeTest, NamesComeBack) {
  for (const PredictionType type : {PredictionType::kEpsilon, PredictionType::kVPrediction}) {
    EXPECT_EQ(*ParsePredictionType(PredictionTypeName(type)), type);
  }
  EXPECT_THAT(ParsePredictionType("x0"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("x0")));
}

}  // namespace
}  // namespace denoised
