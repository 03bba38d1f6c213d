#include "trainer/training/teacher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <vector>

#include "common/checkpoint/unet.h"
#include "common/diffusion/row_update.h"
#include "common/diffusion/step_plan.h"
#include "common/image/image.h"
#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

using testing::ElementsAre;

class TeacherTest : public testing::TestWithParam<PredictionType> {
 protected:
  TeacherTest() {
    torch::jit::setGraphExecutorOptimize(false);
    torch::manual_seed(1);
    unet_ = MakeUnet({.channels = {8, 16, 16}, .embedding_dim = 16});
    const torch::NoGradGuard no_grad;
    for (at::Tensor parameter : unet_.parameters()) parameter.add_(0.1 * torch::randn_like(parameter));
    options_.student_schedule.prediction_type = GetParam();
  }

  std::vector<float> Predict(const std::vector<float>& x, int timestep, int label) {
    const torch::NoGradGuard no_grad;
    const at::Tensor e = unet_
                             .forward({torch::tensor(x).view({1, 1, kModelSize, kModelSize}),
                                       torch::tensor({timestep}, torch::kInt64), torch::tensor({label}, torch::kInt64)})
                             .toTensor()
                             .contiguous();
    return {e.data_ptr<float>(), e.data_ptr<float>() + kModelPixels};
  }

  static StepPlan Plan(const NoiseScheduleConfig& config, SamplerType sampler, int steps) {
    return *MakeStepPlan(*NoiseSchedule::Create(config), {.sampler = sampler, .steps = steps});
  }
  void ExpectToLandWhereTheTeacherDoes(SamplerType teachers_sampler);

  torch::jit::Module unet_;
  TeacherOptions options_ = {.student_steps = 4, .teacher_steps = 12};
};

// By the arithmetic that serving has, step by step, for each of the student's timesteps.
void TeacherTest::ExpectToLandWhereTheTeacherDoes(SamplerType teachers_sampler) {
  const absl::StatusOr<Teacher> teacher = Teacher::Create(unet_, torch::kCPU, options_);
  ASSERT_TRUE(teacher.ok()) << teacher.status();
  EXPECT_THAT(teacher->timesteps(), ElementsAre(999, 749, 499, 249));
  const at::Tensor x = torch::randn({4, 1, kModelSize, kModelSize});
  const at::Tensor target = teacher->Target(x, torch::tensor({499, 999, 249, 749}), torch::tensor({3, 1, 4, 10}));
  const StepPlan students = Plan(options_.student_schedule, SamplerType::kDdim, 4);
  const StepPlan first_order = Plan(options_.schedule, SamplerType::kDdim, 12);
  const StepPlan later = Plan(options_.schedule, teachers_sampler, 12);
  const std::vector<int> steps = {2, 0, 3, 1}, labels = {3, 1, 4, 10};
  for (int i = 0; i < 4; ++i) {
    const at::Tensor row = x[i].contiguous(), said = target[i].contiguous();
    std::vector<float> teachers(row.data_ptr<float>(), row.data_ptr<float>() + kModelPixels), clean(kModelPixels);
    std::vector<float> students_x = teachers, students_clean(kModelPixels);
    for (int k = 3 * steps[i]; k < 3 * (steps[i] + 1); ++k) {
      const StepCoefficients& step = k == 3 * steps[i] ? first_order[k] : later[k];
      UpdateRow(step, Predict(teachers, step.timestep, labels[i]).data(), nullptr, kModelPixels, teachers.data(),
                clean.data());
    }
    UpdateRow(students[steps[i]], said.data_ptr<float>(), nullptr, kModelPixels, students_x.data(),
              students_clean.data());
    EXPECT_TRUE(torch::allclose(torch::tensor(students_x), torch::tensor(teachers), 1e-3, 2e-3)) << "row " << i;
    EXPECT_GT((torch::tensor(teachers) - row.flatten()).abs().mean().item<float>(), 0.05) << "it must go somewhere";
  }
}

TEST_P(TeacherTest, OneStepOfTheStudentLandsWhereTheTeachersStepsDo) {
  ExpectToLandWhereTheTeacherDoes(SamplerType::kDpmSolverPp2M);
}

TEST_P(TeacherTest, StudentThatTeachesTakesStepsOfDdim) {
  options_.teacher_is_student = true;
  ExpectToLandWhereTheTeacherDoes(SamplerType::kDdim);
}

INSTANTIATE_TEST_SUITE_P(Predictions, TeacherTest,
                         testing::Values(PredictionType::kEpsilon, PredictionType::kVPrediction),
                         [](const auto& prediction) { return PredictionTypeName(prediction.param); });

TEST(TeacherOptionsTest, StepsThatDoNotFitAreRefused) {
  const torch::jit::Module unet = MakeUnet({.channels = {8, 16, 16}, .embedding_dim = 16});
  for (const int teachers : {3, 4, 10}) {
    EXPECT_THAT(
        Teacher::Create(unet, torch::kCPU, {.student_steps = 4, .teacher_steps = teachers}).status(),
        StatusIs(absl::StatusCode::kInvalidArgument,
                 absl::StrCat("--teacher_steps must be twice --student_steps, 4, or more times that, got ", teachers)));
  }
}

}  // namespace
}  // namespace denoised
