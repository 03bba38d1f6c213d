#include "trainer/lessons/lesson_training.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <vector>

#include "absl/strings/str_format.h"
#include "common/command_line/progress_bar.h"
#include "common/image/image.h"

namespace denoised {
namespace {

constexpr int64_t kBatch = 64;

// The loss of one batch; `clean` [B,1,32,32] in the lesson's range, `y` [B].
at::Tensor Loss(const Lesson& lesson, LessonUnet& unet, const NoiseSchedule& schedule, const at::Tensor& clean,
                const at::Tensor& y) {
  const int64_t steps = schedule.num_train_timesteps();
  const at::Tensor epsilon = torch::randn_like(clean);
  if (lesson.one_step) return (unet(epsilon, torch::full_like(y, steps - 1), y) - clean).square().mean();
  const at::Tensor t = torch::randint(steps, {clean.size(0)}, torch::kInt64);
  const at::Tensor ab =
      torch::tensor(schedule.alphas_cumprod(), torch::kFloat32).index_select(0, t).view({-1, 1, 1, 1});
  return (unet(ab.sqrt() * clean + (1 - ab).sqrt() * epsilon, t, y) - epsilon).square().mean();
}

// Moves `average` towards `unet`, running statistics of BatchNorm included.
void Average(LessonUnet& unet, LessonUnet& average, int64_t step) {
  const torch::NoGradGuard no_grad;
  const double share = 1 - std::min(0.995, static_cast<double>(1 + step) / static_cast<double>(10 + step));
  const auto follow = [share](const std::vector<at::Tensor>& from, const std::vector<at::Tensor>& to) {
    for (size_t i = 0; i < to.size(); ++i) {
      if (to[i].is_floating_point()) at::Tensor(to[i]).lerp_(from[i], share);
    }
  };
  follow(unet->parameters(), average->parameters());
  follow(unet->buffers(), average->buffers());
}

// The data set's first images, as views of it.
struct Images {
  at::Tensor pixels;  // [N,1,32,32] bytes
  at::Tensor labels;  // [N] bytes
};

Images FirstImages(const Dataset& data, int most) {
  const int64_t images = std::min<int64_t>(most, static_cast<int64_t>(data.size()));
  return {.pixels = torch::from_blob(const_cast<uint8_t*>(data.pixels.data()), {images, 1, kModelSize, kModelSize},
                                     torch::kUInt8),
          .labels = torch::from_blob(const_cast<uint8_t*>(data.labels.data()), {images}, torch::kUInt8)};
}

class LessonTrainer {
 public:
  LessonTrainer(const Lesson& lesson, const LessonSize& size, const Dataset& data, const NoiseSchedule& schedule,
                LessonUnet& average)
      : lesson_(lesson),
        schedule_(schedule),
        images_(FirstImages(data, size.images)),
        batches_(images_.labels.size(0) / kBatch),
        total_steps_(size.epochs * batches_),
        average_(average),
        unet_(lesson.batch_norm),
        optimizer_(unet_->parameters(), torch::optim::AdamOptions(1e-3)) {
    unet_->train();
  }

  // The mean loss of epoch `epoch`, from 0.
  double RunEpoch(int epoch) {
    const at::Tensor order = torch::randperm(images_.labels.size(0));
    double sum = 0;
    for (int64_t b = 0; b < batches_; ++b) {
      sum += Step(order.narrow(0, b * kBatch, kBatch));
      if (b % 20 != 0) continue;
      ShowProgress(absl::StrFormat("%s: epoch %d, batch %d/%d", lesson_.name, epoch + 1, b, batches_));
    }
    return sum / static_cast<double>(batches_);
  }

 private:
  // The loss of the images with these numbers.
  double Step(const at::Tensor& rows) {
    const at::Tensor unit = images_.pixels.index_select(0, rows).to(torch::kFloat32) / 255;
    const at::Tensor labels = images_.labels.index_select(0, rows).to(torch::kInt64);
    const double progress = static_cast<double>(step_) / static_cast<double>(total_steps_);
    optimizer_.param_groups()[0].options().set_lr(1e-3 * 0.5 * (1 + std::cos(std::numbers::pi * progress)));
    optimizer_.zero_grad();
    const at::Tensor loss = Loss(lesson_, unet_, schedule_, lesson_.unit_range ? unit : unit * 2 - 1, labels);
    loss.backward();
    optimizer_.step();
    Average(unet_, average_, step_++);
    return loss.item<double>();
  }

  // Constant after construction.
  const Lesson& lesson_;
  const NoiseSchedule& schedule_;
  const Images images_;
  const int64_t batches_;  // of an epoch
  const int64_t total_steps_;

  LessonUnet& average_;
  LessonUnet unet_;
  torch::optim::Adam optimizer_;
  int64_t step_ = 0;
};

}  // namespace

double TrainLesson(const Lesson& lesson, const LessonSize& size, const Dataset& data, const NoiseSchedule& schedule,
                   LessonUnet& average) {
  LessonTrainer trainer(lesson, size, data, schedule, average);
  double mean = 0;
  for (int epoch = 0; epoch < size.epochs; ++epoch) mean = trainer.RunEpoch(epoch);
  ClearProgress();
  return mean;
}

}  // namespace denoised
