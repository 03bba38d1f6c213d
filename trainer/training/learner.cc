#include "trainer/training/learner.h"

#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <utility>

#include "common/checkpoint/unet.h"
#include "trainer/training/grow_network.h"

namespace denoised {
namespace {

using torch::jit::Module;

void CopyWeights(const std::vector<at::Tensor>& from, const std::vector<at::Tensor>& to) {
  const torch::NoGradGuard no_grad;
  for (size_t i = 0; i < to.size(); ++i) to[i].copy_(from[i]);
}

Module NewUnet(const UnetConfig& config, const torch::Device& device) {
  Module unet = MakeUnet(config);
  unet.to(device);
  return unet;
}

Module FirstUnet(const TrainingOptions& options, const Module* init, const torch::Device& device) {
  torch::manual_seed(options.seed);
  Module unet = MakeUnet(options.unet);
  if (init != nullptr) GrowFrom(*init, unet);
  unet.to(device);
  for (const at::Tensor& parameter : unet.parameters()) parameter.set_requires_grad(true);
  return unet;
}

}  // namespace

Ema::Ema(const Module& unet, const Module& average, double decay)
    : from_(ParametersOf(unet)), module_(average), to_(ParametersOf(module_)), decay_(decay) {
  CopyWeights(from_, to_);
}

void Ema::Update(int64_t step) {
  const torch::NoGradGuard no_grad;
  const double decay = std::min(decay_, static_cast<double>(1 + step) / static_cast<double>(10 + step));
  for (size_t i = 0; i < to_.size(); ++i) to_[i].lerp_(from_[i], 1 - decay);
}

Learner::Learner(const TrainingOptions& options, int64_t total_steps, const Module* init,
                 const GradientOptions& gradients)
    : options_(options),
      total_steps_(total_steps),
      unet_(FirstUnet(options, init, gradients.device)),
      workers_(unet_, gradients),
      optimizer_(ParametersOf(unet_),
                 torch::optim::AdamWOptions(options.learning_rate).weight_decay(options.weight_decay)),
      ema_(unet_, NewUnet(options.unet, gradients.device), options.ema_decay) {}

StepResult Learner::Step(int64_t step, const TrainingBatch& batch, bool stop) {
  const BatchSums sums = workers_.Run(batch, stop);
  StepResult result = {.loss = sums.loss, .learning_rate = LearningRate(step), .stop = sums.stop};
  const double most = options_.clip_norm > 0 ? options_.clip_norm : std::numeric_limits<double>::infinity();
  result.gradient_norm = torch::nn::utils::clip_grad_norm_(ParametersOf(unet_), most);
  result.taken = std::isfinite(result.loss) && std::isfinite(result.gradient_norm);
  if (!result.taken) return result;
  for (auto& group : optimizer_.param_groups()) group.options().set_lr(result.learning_rate);
  optimizer_.step();
  ema_.Update(step);
  return result;
}

bool Learner::IsFinite() const {
  for (const std::vector<at::Tensor>& tensors : {weights(), averages()}) {
    for (const at::Tensor& tensor : tensors) {
      if (!torch::isfinite(tensor).all().item<bool>()) return false;
    }
  }
  return true;
}

double Learner::LearningRate(int64_t step) const {
  const auto done = static_cast<double>(step);
  double factor = options_.warmup_steps == 0 ? 1 : std::min(1.0, (done + 1) / options_.warmup_steps);
  if (options_.cosine) {
    factor *= 0.5 * (1 + std::cos(std::numbers::pi * done / static_cast<double>(total_steps_)));
  }
  return options_.learning_rate * factor;
}

}  // namespace denoised
