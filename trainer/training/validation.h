// File: validation.h
//
// How well a network does on images that it does not learn from: a loss to choose the best checkpoint by. Timesteps and
// noise are always the same (TrainingBatches::MakeFixed), so that two networks differ by themselves alone.
//
//   Validation validation(held_out, schedule, {.threads = 2});
//   const double loss = validation.Loss(unet);
//
// Not thread-safe. Throws what LibTorch throws.
#ifndef DENOISED_TRAINER_TRAINING_VALIDATION_H_
#define DENOISED_TRAINER_TRAINING_VALIDATION_H_

#include <torch/script.h>

#include "common/diffusion/noise_schedule.h"
#include "common/support/worker_pool.h"
#include "trainer/data/mnist.h"
#include "trainer/data/training_batches.h"
#include "trainer/training/gradient_workers.h"

namespace denoised {

class Validation {
 public:
  // `held_out` holds at least one image; the options' teacher outlives this.
  Validation(const Dataset& held_out, const NoiseSchedule& schedule, const GradientOptions& options);

  // The mean squared error over all images, of the target that training has, without weights. `unet` is on the options'
  // device. The number of threads does not change its bits.
  double Loss(const torch::jit::Module& unet);

 private:
  // Constant after construction.
  const Dataset held_out_;
  const int64_t images_;
  const GradientOptions options_;
  const TrainingBatches batches_;

  WorkerPool pool_;
};

}  // namespace denoised

#endif  // DENOISED_TRAINER_TRAINING_VALIDATION_H_
