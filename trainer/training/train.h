// File: train.h
//
// Learns a class-conditional diffusion model: for images x_0 with labels y, random timesteps t and noise epsilon, the
// network learns to tell epsilon from x_t = sqrt(ab_t) x_0 + sqrt(1 - ab_t) epsilon, t and y, by the mean squared error
// (Ho et al., arXiv 2006.11239, algorithm 1); or to tell v (noise_schedule.h), which also shows it the clean image's
// error where there is hardly any signal. Losses that are reported are unweighted means.
//
// With model_guidance above 1, classifier-free guidance is learnt into the labelled prediction (Tang et al., arXiv
// 2502.12154): the target of a labelled row moves away from what the network says with the label hidden, so that one
// network call at guidance scale 1 draws what two at that scale drew before. The loss is that of the moved target.
//
//   absl::StatusOr<TrainingSummary> summary = Train(data, {.out = "run", .epochs = 30});
//
// The same data and options, threads included, give the same checkpoint bytes on the CPU, interrupted or not.
#ifndef DENOISED_TRAINER_TRAINING_TRAIN_H_
#define DENOISED_TRAINER_TRAINING_TRAIN_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "common/model/model_metadata.h"
#include "trainer/data/mnist.h"

namespace denoised {

struct TrainingOptions {
  std::string out = "run";                                 // folder for what a run leaves: see TrainingFiles
  std::string init;                                        // checkpoint whose weights to begin with; empty: random
  UnetConfig unet;                                         // the architecture
  NoiseScheduleConfig schedule;                            // T, betas, and what the network predicts
  VarianceType variance_type = VarianceType::kFixedLarge;  // recorded for sampling
  bool clip_sample = true;                                 // recorded for sampling
  int epochs = 150;                                        // at most
  int patience = 15;            // epochs without a new lowest mean loss before training stops
  int batch_size = 64;          // images per optimizer step, in each process
  double learning_rate = 1e-3;  // at its highest
  double weight_decay = 0.01;   // AdamW; 0 makes it Adam
  bool cosine = true;           // learning rate: after warm-up a half cosine to 0; else constant
  int warmup_steps = 500;       // in which the learning rate rises from 0
  double clip_norm = 1;         // of the gradient; 0: off
  double min_snr_gamma = 0;     // highest weight of the clean image's error, in units of its SNR; 0: plain mean
  double model_guidance = 1;    // guidance scale learnt into the labelled prediction; 1: none
  double ema_decay = 0.999;     // of the averaged weights, the ones that are saved; 0: save the raw weights
  double label_dropout = 0.1;   // share of labels replaced by the null label, where the architecture has one
  uint64_t seed = 1;
  std::string device = "cpu";      // as in EngineOptions; with several GPUs each process takes its own
  std::string precision = "fp32";  // or on CUDA "bf16": autocast
  int threads = 0;                 // CPU: each takes its share of every batch; 0: one per core
  int sample_every = 1;            // epochs between sample grids; 0: none
  double save_every_seconds = 60;  // between saves of state.pt within an epoch; 0: only after each epoch
  bool resume = false;             // go on from out/state.pt
  std::string command;             // recorded in the checkpoint
  // Asked after every step; once it says true, the state is saved and training ends. Null: never.
  std::function<bool()> stop_requested;
};

// The recipe of an architecture, on which flags then build. INVALID_ARGUMENT for an unknown name.
absl::StatusOr<TrainingOptions> DefaultTrainingOptions(const std::string& architecture);

// What a run leaves in its folder. Each file is replaced atomically.
struct TrainingFiles {
  explicit TrainingFiles(const std::string& folder)
      : best(folder + "/best.pt"),
        last(folder + "/last.pt"),
        state(folder + "/state.pt"),
        log(folder + "/log.jsonl"),
        loss_plot(folder + "/loss.png"),
        samples(folder + "/samples.png") {}

  std::string best;       // the checkpoint with the lowest mean loss
  std::string last;       // that of the last epoch
  std::string state;      // for --resume
  std::string log;        // a JSON object per epoch: training_log.h
  std::string loss_plot;  // of the log
  std::string samples;    // what the last checkpoint draws
};

struct TrainingSummary {
  std::string checkpoint;  // path of the best one
  int epochs = 0;          // finished, resumed ones included
  int best_epoch = 0;      // that of best_loss, from 1
  double best_loss = 0;    // lowest epoch mean
  int64_t images_seen = 0;
  double seconds = 0;          // resumed parts included
  bool stopped_early = false;  // patience ran out
  bool interrupted = false;    // stop_requested said so; --resume goes on
  bool writes_files = true;    // false in processes that only help: their rank is not 0
};

// Trains until the last epoch, until `patience` runs out, or until it is asked to stop. Where the environment names
// other processes (process_group.h), they train one network together, each with batch_size images per step; process 0
// writes the files. Errors:
//   INVALID_ARGUMENT     options or environment variables out of range
//   ALREADY_EXISTS       `out` holds a run, and `resume` is not set
//   NOT_FOUND            nothing to resume
//   FAILED_PRECONDITION  the state is of a run with other flags; `init` is another kind of network; no such device
//   DATA_LOSS            the state is damaged
//   ABORTED              the loss is not a finite number
//   UNAVAILABLE          other processes cannot be reached
// and those of LoadCheckpoint for `init`, and of WriteFileAtomically, RESOURCE_EXHAUSTED for a full disk among them.
// Whatever happens, the last good files are kept.
absl::StatusOr<TrainingSummary> Train(const Dataset& data, const TrainingOptions& options);

}  // namespace denoised

#endif  // DENOISED_TRAINER_TRAINING_TRAIN_H_
