// File: training_options.h
//
// What a run of training is told: the options, their defaults and ranges, and which of them a run may never change.
//
//   TrainingOptions options = *DefaultTrainingOptions("compact");
//   options.epochs = 30;
//   absl::Status valid = ValidateTrainingOptions(options, 60000);
//
// Pure and thread-safe.
#ifndef DENOISED_TRAINER_TRAINING_TRAINING_OPTIONS_H_
#define DENOISED_TRAINER_TRAINING_TRAINING_OPTIONS_H_

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/model/model_metadata.h"
#include "common/support/build_info.h"
#include "trainer/data/class_names.h"
#include "trainer/data/dataset.h"
#include "trainer/data/training_batches.h"

namespace denoised {

struct TrainingOptions {
  std::string out = "run";                                    // folder for what a run leaves: see run_folder.h
  std::string init;                                           // checkpoint whose weights to begin with; empty: random
  std::string distill;                                        // checkpoint of a teacher (teacher.h); empty: none
  int student_steps = 4;                                      // with `distill`: of DDIM, which the student draws in
  int teacher_steps = 20;                                     // with `distill`: a multiple of those
  int black_below = 0;                                        // ModelMetadata's, of what is written
  UnetConfig unet;                                            // the architecture
  NoiseScheduleConfig schedule;                               // T, betas, and what the network predicts
  VarianceType variance_type = VarianceType::kFixedLarge;     // recorded for sampling
  bool clip_sample = true;                                    // recorded for sampling
  std::vector<std::string> class_names = NumbersAsNames(10);  // those of the data: ForClasses
  int epochs = 150;                                           // at most
  int patience = 15;             // epochs without a new lowest mean loss before training stops
  int batch_size = 64;           // images at once, in each process
  int accumulate = 1;            // batches whose gradients are one optimizer step's
  bool keep_last_batch = false;  // the images of an epoch that do not fill its last batch are one all the same
  int64_t max_steps = 0;         // optimizer steps after which training ends, and the cosine too; 0: by epochs alone
  double learning_rate = 1e-3;   // at its highest
  double weight_decay = 0.01;    // AdamW; 0 makes it Adam
  bool cosine = true;            // learning rate: after warm-up a half cosine to 0; else constant
  int warmup_steps = 500;        // in which the learning rate rises from 0
  double clip_norm = 1;          // of the gradient; 0: off
  double min_snr_gamma = 0;      // highest weight of the clean image's error, in units of its SNR; 0: plain mean
  double model_guidance = 1;     // guidance scale learnt into the labelled prediction; 1: none
  int model_guidance_below = 0;  // timesteps below this one alone are guided; 0: all
  int model_guidance_from = 0;   // nor are those below this one; 0: all are
  double ema_decay = 0.999;      // of the averaged weights, the ones that are saved; 0: save the raw weights
  double label_dropout = 0.1;    // share of labels replaced by the null label, where the architecture has one
  int validation_images = 0;     // held out of training (held_out_split.h), to choose best.pt by; 0: by the loss
  uint64_t seed = 1;
  std::string device = "cpu";      // as in EngineOptions; with several GPUs each process takes its own
  std::string precision = "fp32";  // or on CUDA "bf16": autocast
  int threads = 0;           // CPU: each takes its share of every batch; 0: one per core, or as the run that is resumed
  int max_bad_batches = 10;  // in a row whose loss or gradient is not finite, until training stops
  int sample_every = 1;      // epochs between sample grids; 0: none
  double save_every_seconds = 60;                 // between saves of state.pt within an epoch; 0: only after each epoch
  double checkpoint_every_seconds = 300;          // between writes of last.pt within an epoch; 0: only after each epoch
  double report_every_seconds = 60;               // between lines within an epoch where stderr is no terminal; 0: none
  bool step_log = true;                           // what is known of each step, in three files: step_log.h
  bool resume = false;                            // go on from out/state.pt
  bool release = false;                           // refuse to train by a build of sources that are in no commit
  std::string command;                            // recorded in the checkpoint
  std::string source_revision = kSourceRevision;  // likewise
  // Asked after every step; once it says true, the state is saved and training ends. Null: never.
  std::function<bool()> stop_requested;
  // For tests: may change what is learnt from, told epoch and batch, from 0. Null: nothing is changed.
  std::function<void(int epoch, int64_t batch, TrainingBatch& rows)> change_batch;
};

// The options that suit an architecture, on which flags then build. INVALID_ARGUMENT for an unknown name.
absl::StatusOr<TrainingOptions> DefaultTrainingOptions(const std::string& architecture);

// The same for a data set with these classes: the network gets a label for each, and keeps its null label if it has
// one.
TrainingOptions ForClasses(TrainingOptions options, const std::vector<std::string>& class_names);

// While it is not known how many images there are.
inline constexpr int kAnyImages = std::numeric_limits<int>::max();

// INVALID_ARGUMENT, naming the flag, what it may be and what it is, for options that do not suit a data set of so many
// images. Whether the device is there is not asked.
absl::Status ValidateTrainingOptions(const TrainingOptions& options, int images);

// The label that hides an image's own, or none where labels are never hidden.
std::optional<int> NullLabel(const TrainingOptions& options);

// The flags that must not change within a run, with their values as text: name, value.
using Recipe = std::vector<std::pair<std::string, std::string>>;

// What else decides the numbers of a run.
struct RunSetting {
  std::string init_sha256;     // of the checkpoint whose weights it began with; empty for random ones
  std::string teacher_sha256;  // of the checkpoint that it learns from; empty: none
  int processes = 1;
  bool on_cpu = true;
  int threads = 1;  // on the CPU, of each process
};

// What decides the numbers of a run, to their last bit; the flags that are missing here may change when it is resumed.
// On the CPU the number of threads is among them, as sums round otherwise, and with a cosine the number of epochs, as
// it ends with the last.
Recipe RecipeOf(const TrainingOptions& options, const Dataset& data, const RunSetting& setting);

// The recipe but for the data, and what decides when the run ends: for the record in a checkpoint.
Recipe FlagsOf(const TrainingOptions& options, const RunSetting& setting);

}  // namespace denoised

#endif  // DENOISED_TRAINER_TRAINING_TRAINING_OPTIONS_H_
