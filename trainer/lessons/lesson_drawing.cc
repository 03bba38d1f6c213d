#include "trainer/lessons/lesson_drawing.h"

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "common/command_line/progress_bar.h"
#include "common/diffusion/noise.h"
#include "common/diffusion/row_update.h"
#include "common/diffusion/step_plan.h"
#include "common/image/image.h"
#include "common/image/png.h"
#include "common/image/resize.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

at::Tensor Noise(int64_t images, uint32_t stream) {
  at::Tensor noise = torch::empty({images, 1, kModelSize, kModelSize});
  for (int64_t i = 0; i < images; ++i) {
    FillNoise({.seed = static_cast<uint64_t>(i), .stream = stream},
              {noise.data_ptr<float>() + i * kModelPixels, kModelPixels});
  }
  return noise;
}

// The whole chain, with the variance beta_t and no clamp. y [B] -> [B,1,32,32] in the lesson's range.
absl::StatusOr<at::Tensor> Draw(const Lesson& lesson, const NoiseSchedule& schedule, LessonUnet& unet,
                                const at::Tensor& y) {
  const torch::NoGradGuard no_grad;
  at::Tensor x = Noise(y.size(0), kInitialNoise), x0 = torch::zeros_like(x);
  if (lesson.one_step) return unet(x, torch::full_like(y, schedule.num_train_timesteps() - 1), y);
  DENOISED_ASSIGN_OR_RETURN(const StepPlan plan,
                            MakeStepPlan(schedule, {.variance_type = VarianceType::kFixedLarge, .clip_sample = false}));
  uint32_t stream = kInitialNoise;
  for (const StepCoefficients& row : plan) {
    const at::Tensor e = unet(x, torch::full_like(y, row.timestep), y).contiguous();
    const at::Tensor z = Noise(y.size(0), ++stream);
    UpdateRow(row, e.data_ptr<float>(), z.data_ptr<float>(), static_cast<size_t>(x.numel()), x.data_ptr<float>(),
              x0.data_ptr<float>());
    if (stream % 20 == 0) ShowProgress(absl::StrFormat("%s: drawing, step %d", lesson.name, stream));
  }
  ClearProgress();
  return x;
}

absl::StatusOr<std::string> Picture(const at::Tensor& images) {
  constexpr int kScale = 2, kPadding = 4;
  std::vector<GreyImage> cells;
  for (int64_t i = 0; i < images.size(0); ++i) {
    const float* pixels = images.data_ptr<float>() + i * kModelPixels;
    DENOISED_ASSIGN_OR_RETURN(GreyImage cell, Resize(FromModelPixels({pixels, kModelPixels}, kModelSize, kModelSize),
                                                     kModelSize * kScale, Interpolation::kCubic));
    cells.push_back(std::move(cell));
  }
  DENOISED_ASSIGN_OR_RETURN(const GreyImage grid, MakeGrid(cells, kLessonClasses, kPadding, 40));
  return EncodePng(grid);
}

}  // namespace

absl::StatusOr<std::string> DrawLesson(const Lesson& lesson, const NoiseSchedule& schedule, LessonUnet& unet,
                                       int rows_per_digit) {
  const at::Tensor y = torch::arange(kLessonClasses).repeat({rows_per_digit});
  DENOISED_ASSIGN_OR_RETURN(at::Tensor images, Draw(lesson, schedule, unet, y));
  if (lesson.unit_range) images = images * 2 - 1;
  return Picture(images.contiguous());
}

}  // namespace denoised
