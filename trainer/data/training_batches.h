// File: training_batches.h
//
// Training examples, made from the data set and from random numbers that are a function of seed, epoch and batch alone:
// a run that was resumed in the middle of an epoch, or that is spread over several processes, sees the same ones.
//
//   TrainingBatches batches(data, schedule, {.rows = 64, .null_label = 10, .label_dropout = 0.1});
//   batches.StartEpoch(0);
//   const TrainingBatch batch = batches.Make(0);
//
// Thread-compatible; uses torch's global random generator.
#ifndef DENOISED_TRAINER_DATA_TRAINING_BATCHES_H_
#define DENOISED_TRAINER_DATA_TRAINING_BATCHES_H_

#include <torch/types.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "common/diffusion/noise_schedule.h"
#include "trainer/data/mnist.h"

namespace denoised {

// B rows, on the CPU.
struct TrainingBatch {
  at::Tensor x;          // [B,1,32,32] noisy images
  at::Tensor t;          // [B] int64 timesteps
  at::Tensor y;          // [B] int64 labels
  at::Tensor target;     // [B,1,32,32] what the network should say
  at::Tensor weight;     // [B] of each row's squared error
  int64_t all_rows = 0;  // over all processes; 0: as many in each as here
};

struct TrainingBatchesOptions {
  int rows = 64;                        // of a batch, in each process
  std::optional<int> null_label = {};   // that hides a label; none: labels are never hidden
  double label_dropout = 0;             // share of labels that are hidden
  bool keep_last = false;               // the images that do not fill a last batch are one all the same
  double min_snr_gamma = 0;             // highest weight of the clean image's error, in units of its SNR; 0: plain mean
  std::vector<int64_t> timesteps = {};  // to draw from; empty: all
  uint64_t seed = 1;
  int rank = 0;   // of this process
  int ranks = 1;  // processes that share each batch
};

class TrainingBatches {
 public:
  // Each process gets its share of each batch: options.rows rows of options.ranks * options.rows. What the network is
  // to say follows from the schedule. `data` outlives this.
  TrainingBatches(const Dataset& data, const NoiseSchedule& schedule, const TrainingBatchesOptions& options);

  // Batches in an epoch. Images that do not fill a last one are a smaller one if options.keep_last, and there is a row
  // for each process; else they wait for the next epoch's order.
  int64_t per_epoch() const;
  int64_t images_per_epoch() const;
  // Of the data set: as many, or more by those that do not fill a batch.
  int64_t images() const { return static_cast<int64_t>(data_.size()); }
  // Rows of a batch over all processes.
  int64_t global_rows() const { return int64_t{options_.rows} * options_.ranks; }

  // Draws the epoch's order of images, once before its first Make.
  void StartEpoch(int epoch);

  // This process's rows of batch `index`, 0 to per_epoch()-1, of the epoch.
  TrainingBatch Make(int64_t index) const;

  // Images `first` to first+count-1 of the data set, always with the same timesteps and noise and with their labels, to
  // compare networks by: image i of N at number floor((i + 1/2) T / N) of the T timesteps to draw from, so that every
  // part of the schedule counts.
  TrainingBatch MakeFixed(int64_t first, int64_t count) const;

 private:
  at::Tensor LossWeights(const at::Tensor& alphas_cumprod) const;
  at::Tensor Noisy(const at::Tensor& clean, const at::Tensor& epsilon, const at::Tensor& t) const;
  at::Tensor Target(const at::Tensor& clean, const at::Tensor& epsilon, const at::Tensor& t) const;

  // Constant after construction.
  const Dataset& data_;
  const TrainingBatchesOptions options_;
  const PredictionType prediction_type_;
  at::Tensor timesteps_;                // to draw from
  at::Tensor signal_, noise_, weight_;  // [T]
  at::Tensor pixels_, labels_;          // views of data_

  // Of the epoch.
  uint64_t epoch_seed_ = 0;
  std::vector<int64_t> order_;
};

}  // namespace denoised

#endif  // DENOISED_TRAINER_DATA_TRAINING_BATCHES_H_
