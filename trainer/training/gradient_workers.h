// File: gradient_workers.h
//
// The loss of a batch and its gradients: on the CPU by several threads, each with a share of the rows, on CUDA by one;
// summed over the processes that train together.
//
//   GradientWorkers workers(unet, {.device = torch::kCPU, .threads = 2});
//   const double loss = workers.Run(batch);   // every parameter has its gradient now
//
// Not thread-safe.
#ifndef DENOISED_TRAINER_TRAINING_GRADIENT_WORKERS_H_
#define DENOISED_TRAINER_TRAINING_GRADIENT_WORKERS_H_

#include <torch/script.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/support/worker_pool.h"
#include "trainer/data/training_batches.h"
#include "trainer/training/process_group.h"
#include "trainer/training/teacher.h"

namespace denoised {

struct GradientOptions {
  torch::Device device = torch::kCPU;  // where the network is
  bool bf16 = false;                 // CUDA only, autocast: convolutions in bfloat16, normalisation and loss in float32
  int threads = 1;                   // CPU only
  int64_t rows_at_once = 0;          // of a thread's share; larger shares are computed in parts. 0: any number
  std::optional<int> null_label;     // with model_guidance
  double model_guidance = 1;         // see train.h
  int model_guidance_below = 0;      // timestep; 0: all are guided
  int model_guidance_from = 0;       // likewise
  const Teacher* teacher = nullptr;  // whose targets are learnt; null: those of the batches
  ProcessGroup* group = nullptr;     // null: this process alone
  int processes = 1;
};

// Each row's mean squared error over its pixels [B], on options.device: of its target, or with model guidance of the
// target that it moves, or of the teacher's. Throws what LibTorch throws.
at::Tensor SquaredErrors(torch::jit::Module& unet, const TrainingBatch& rows, const GradientOptions& options);

// Of a batch, over all processes; with several of them the loss has the precision of a float.
struct BatchSums {
  double loss = 0;    // the mean squared error, without weights
  bool stop = false;  // some process wants to
};

class GradientWorkers {
 public:
  // `unet` is on options.device, its parameters ask for gradients, and it outlives this, as does options.group.
  GradientWorkers(torch::jit::Module& unet, const GradientOptions& options);

  // Sets the gradient of every parameter, that of the mean over all processes' rows of weight times squared error. Sums
  // are taken in a fixed order. Processes exchange one message, and tell in it whether they want to stop. Throws what
  // LibTorch throws.
  BatchSums Run(const TrainingBatch& batch, bool stop = false);

 private:
  struct Share {
    double squared_error = 0;  // sum over rows of each row's mean over pixels
    std::vector<at::Tensor> gradients;
    std::string error;
  };

  std::vector<Share> RunShares(const TrainingBatch& batch);
  int64_t AllRows(const TrainingBatch& batch) const;
  Share RunParts(const TrainingBatch& batch, int64_t begin, int64_t end);
  Share RunShare(const TrainingBatch& batch, int64_t begin, int64_t end);
  void SumOverProcesses(double& squared_error, bool& stop);

  // Constant after construction.
  torch::jit::Module& unet_;
  const GradientOptions options_;
  const std::vector<at::Tensor> parameters_;

  WorkerPool pool_;
};

// The module's parameters, in its own order.
std::vector<at::Tensor> ParametersOf(const torch::jit::Module& unet);

}  // namespace denoised

#endif  // DENOISED_TRAINER_TRAINING_GRADIENT_WORKERS_H_
