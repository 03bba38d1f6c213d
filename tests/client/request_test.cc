#include "client/request.h"

#include <gtest/gtest.h>

namespace denoised {
namespace {

TEST(MakeRequestTest, LeavesToTheServerWhatNoFlagSays) {
  const v1::GenerateDigitRequest request = MakeRequest({});
  EXPECT_FALSE(request.has_digit());
  EXPECT_EQ(request.class_name(), "");
  EXPECT_FALSE(request.has_seed());
  EXPECT_FALSE(request.has_eta());
  EXPECT_FALSE(request.has_guidance_scale());
  EXPECT_FALSE(request.has_preview());
  EXPECT_EQ(request.count(), 1u);
}

TEST(ExpectedStepsTest, OfAStudentAreItsOwn) {
  ClientOptions options;
  EXPECT_EQ(ExpectedSteps(options, 4), 4u);
  options.sampler = v1::SAMPLER_DDIM;
  EXPECT_EQ(ExpectedSteps(options, 4), 4u);
  options.steps = 7;
  EXPECT_EQ(ExpectedSteps(options, 4), 7u) << "which the server refuses in words";
}

TEST(ExpectedStepsTest, AreTheFlagsOrTheSamplersOwn) {
  ClientOptions options;
  EXPECT_EQ(ExpectedSteps(options, 0), 1000u);
  options.sampler = v1::SAMPLER_DDIM;
  EXPECT_EQ(ExpectedSteps(options, 0), 50u);
  options.sampler = v1::SAMPLER_DPM_SOLVER_PP_2M;
  EXPECT_EQ(ExpectedSteps(options, 0), 20u);
  options.steps = 7;
  EXPECT_EQ(ExpectedSteps(options, 0), 7u);
}

uint32_t FrameEvery(const ClientOptions& options) {
  v1::GenerateDigitRequest request;
  AskForPreviews(options, ExpectedSteps(options, 0), request);
  return request.preview().every_steps();
}

TEST(AskForPreviewsTest, FramesAreATwentiethOfTheChainApart) {
  ClientOptions options;
  EXPECT_EQ(FrameEvery(options), 50u);
  options.steps = 10;
  EXPECT_EQ(FrameEvery(options), 1u);
  options.preview_every = 4;
  EXPECT_EQ(FrameEvery(options), 4u);
}

}  // namespace
}  // namespace denoised
