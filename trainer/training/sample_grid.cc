#include "trainer/training/sample_grid.h"

#include <memory>
#include <utility>
#include <vector>

#include "common/engine/make_engine.h"
#include "common/image/image.h"
#include "common/image/png.h"
#include "common/image/resize.h"
#include "common/support/status_macros.h"

namespace denoised {

absl::StatusOr<std::string> DrawSampleGrid(const Checkpoint& checkpoint, int threads) {
  constexpr int kRows = 4, kScale = 2, kPadding = 4;
  const int classes = static_cast<int>(checkpoint.metadata.class_names.size());
  const int images = kRows * classes;
  DENOISED_ASSIGN_OR_RETURN(
      const std::unique_ptr<Engine> engine,
      MakeEngine(Plain(checkpoint),
                 {.device = "cpu", .num_slots = images, .num_threads = threads, .precision = Precision::kFp32}));
  DENOISED_ASSIGN_OR_RETURN(const NoiseSchedule schedule, NoiseSchedule::Create(checkpoint.metadata.noise_schedule));
  DENOISED_ASSIGN_OR_RETURN(
      const StepPlan plan,
      MakeStepPlan(schedule, {.sampler = SamplerType::kDdim,
                              .steps = checkpoint.metadata.distilled_steps,  // 0, its default, of no student
                              .clip_sample = checkpoint.metadata.clip_sample}));
  std::vector<StepRow> rows(images);
  for (int i = 0; i < images; ++i) {
    rows[i] = {.slot = i, .plan = &plan, .label = i % classes, .seed = static_cast<uint64_t>(i)};
  }
  for (size_t step = 0; step < plan.size(); ++step) {
    for (StepRow& row : rows) row.step = static_cast<int>(step);
    DENOISED_RETURN_IF_ERROR(engine->Step(rows));
  }
  std::vector<GreyImage> pictures;
  for (int i = 0; i < images; ++i) {
    std::vector<float> pixels(kModelPixels);
    DENOISED_RETURN_IF_ERROR(engine->Read(i, FrameKind::kNoisy, absl::MakeSpan(pixels)));
    DENOISED_ASSIGN_OR_RETURN(GreyImage picture,
                              Resize(FromModelPixels(pixels, kModelSize, kModelSize, checkpoint.metadata.black_below),
                                     kModelSize * kScale, Interpolation::kCubic));
    pictures.push_back(std::move(picture));
  }
  DENOISED_ASSIGN_OR_RETURN(const GreyImage grid, MakeGrid(pictures, classes, kPadding, 40));
  return EncodePng(grid);
}

}  // namespace denoised
