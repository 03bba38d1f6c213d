// File: learner.h
//
// The network that is trained, and what one step does to it: gradients, clipping, AdamW at the rate of warm-up and
// cosine, and the averaged weights that follow. Which batches it sees and when a run ends is decided elsewhere.
//
//   Learner learner(options, options.epochs * batches.per_epoch(), /*init=*/nullptr, {.threads = 2});
//   const StepResult first = learner.Step(0, batches.Make(0));
//
// Not thread-safe. Throws what LibTorch throws.
#ifndef DENOISED_TRAINER_TRAINING_LEARNER_H_
#define DENOISED_TRAINER_TRAINING_LEARNER_H_

#include <torch/optim.h>
#include <torch/script.h>

#include <cstdint>
#include <vector>

#include "trainer/data/training_batches.h"
#include "trainer/training/gradient_workers.h"
#include "trainer/training/training_options.h"

namespace denoised {

// Exponential moving average of the weights, in a module of its own. The decay grows from 0 so that the random start is
// forgotten: min(decay, (1 + step) / (10 + step)).
class Ema {
 public:
  // Begins with the weights of `unet`; `average` is another module of its kind, on the same device.
  Ema(const torch::jit::Module& unet, const torch::jit::Module& average, double decay);

  // After step `step`, from 0.
  void Update(int64_t step);

  const torch::jit::Module& module() const { return module_; }

 private:
  std::vector<at::Tensor> from_;
  torch::jit::Module module_;
  std::vector<at::Tensor> to_;
  const double decay_;
};

// What a step found.
struct StepResult {
  double loss = 0;           // the batch's, over all processes
  double gradient_norm = 0;  // over all parameters, before clipping
  double learning_rate = 0;
  bool taken = false;  // false where loss or norm is not a finite number: then nothing has changed
  bool stop = false;   // some process wants to
};

class Learner {
 public:
  // The cosine ends at `total_steps`. Begins with the weights of `init`, from which options.unet can grow
  // (grow_network.h), or with random ones if that is null.
  Learner(const TrainingOptions& options, int64_t total_steps, const torch::jit::Module* init,
          const GradientOptions& gradients);
  Learner(const Learner&) = delete;
  Learner& operator=(const Learner&) = delete;

  // Takes optimizer step `step`, from 0, unless the batch's loss or the norm of its gradient is not a finite number:
  // that would spoil every weight for good. All processes see the same numbers, so they agree.
  // `stop` is told to all of them.
  StepResult Step(int64_t step, const TrainingBatch& batch, bool stop = false);

  // Of that step.
  double LearningRate(int64_t step) const;

  // What a checkpoint gets: the averaged weights, or the raw ones where options.ema_decay is 0.
  const torch::jit::Module& result() const { return options_.ema_decay > 0 ? ema_.module() : unet_; }

  // Whether every weight and average is a finite number: a step may have been too large for float32.
  bool IsFinite() const;

  // All that there is to save and to restore, in place.
  std::vector<at::Tensor> weights() const { return ParametersOf(unet_); }
  std::vector<at::Tensor> averages() const { return ParametersOf(ema_.module()); }
  torch::optim::AdamW& optimizer() { return optimizer_; }

 private:
  // Constant after construction.
  const TrainingOptions options_;
  const int64_t total_steps_;

  torch::jit::Module unet_;
  GradientWorkers workers_;  // of unet_
  torch::optim::AdamW optimizer_;
  Ema ema_;
};

}  // namespace denoised

#endif  // DENOISED_TRAINER_TRAINING_LEARNER_H_
