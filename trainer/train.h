// File: train.h
//
// Learns a class-conditional diffusion model: for images x_0 with labels y, random timesteps t and noise epsilon, the
// network learns to tell epsilon from x_t = sqrt(ab_t) x_0 + sqrt(1 - ab_t) epsilon, t and y, by the mean squared error
// (Ho et al., arXiv 2006.11239, algorithm 1); or to tell v (noise_schedule.h), which also shows it the clean image's
// error where there is hardly any signal. Losses that are reported are unweighted means.
//
//   absl::StatusOr<TrainingSummary> summary = Train(data, {.out = "run", .epochs = 30});
//
// The same data and options, threads included, give the same checkpoint bytes on the CPU.
#ifndef DENOISED_TRAINER_TRAIN_H_
#define DENOISED_TRAINER_TRAIN_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "common/model_metadata.h"
#include "trainer/mnist.h"

namespace denoised {

struct TrainingOptions {
  std::string out = "run";       // folder for best.pt, last.pt, state.pt, samples.png and log.jsonl
  UnetConfig unet;               // the architecture
  NoiseScheduleConfig schedule;  // T, betas, and what the network predicts
  VarianceType variance_type = VarianceType::kFixedLarge;  // recorded for sampling
  bool clip_sample = true;                                 // recorded for sampling
  int epochs = 150;                                        // at most
  int patience = 15;            // epochs without a new lowest mean loss before training stops
  int batch_size = 64;          // images per optimizer step
  double learning_rate = 1e-3;  // at its highest
  double weight_decay = 0.01;   // AdamW; 0 makes it Adam
  bool cosine = true;           // learning rate: 500 steps of warm-up, then a half cosine to 0; else constant
  double clip_norm = 1;         // of the gradient; 0: off
  double min_snr_gamma = 0;     // highest weight of the clean image's error, in units of its SNR; 0: plain mean
  double ema_decay = 0.999;     // of the averaged weights, the ones that are saved; 0: save the raw weights
  double label_dropout = 0.1;   // share of labels replaced by the null label, where the architecture has one
  uint64_t seed = 1;
  int threads = 0;       // each takes its share of every batch; 0: one per core
  int sample_every = 1;  // epochs between sample grids; 0: none
  bool resume = false;   // go on from out/state.pt
  std::string command;   // recorded in the checkpoint
};

// The recipe of an architecture, on which flags then build. INVALID_ARGUMENT for an unknown name.
absl::StatusOr<TrainingOptions> DefaultTrainingOptions(const std::string& architecture);

struct TrainingSummary {
  std::string checkpoint;  // path of the best one
  int epochs = 0;          // finished, resumed ones included
  bool stopped_early = false;
  double best_loss = 0;  // lowest epoch mean
  double seconds = 0;
};

// Trains until the last epoch or until `patience` runs out. INVALID_ARGUMENT for options out of range; errors of
// WriteFileAtomically for the output folder, which keep the last good files; NOT_FOUND or FAILED_PRECONDITION for a
// state that cannot be resumed; ABORTED when the loss is not a finite number.
absl::StatusOr<TrainingSummary> Train(const Dataset& data, const TrainingOptions& options);

}  // namespace denoised

#endif  // DENOISED_TRAINER_TRAIN_H_
