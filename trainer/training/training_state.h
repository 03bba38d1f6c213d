// File: training_state.h
//
// All that a run needs to go on as if it had never been interrupted, as one file: state.pt.
//
//   const std::string bytes = SerializeTrainingState(state);
//   absl::Status restored = RestoreTrainingState("run/state.pt", bytes, state);
//
// Random numbers are not in it: they are a function of seed, epoch and batch (training_batches.h).
#ifndef DENOISED_TRAINER_TRAINING_TRAINING_STATE_H_
#define DENOISED_TRAINER_TRAINING_TRAINING_STATE_H_

#include <torch/optim.h>
#include <torch/types.h>

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "trainer/training/training_log.h"
#include "trainer/training/training_options.h"

namespace denoised {

// How far a run has come.
struct TrainingProgressState {
  int epoch = 0;                 // finished epochs
  int64_t batch = 0;             // finished batches of the one after
  double loss_sum = 0;           // of those
  int64_t bad_batches = 0;       // of those, left out: their loss or gradient was not a finite number
  int bad_batches_in_a_row = 0;  // up to now
  int64_t step = 0;              // finished optimizer steps
  int64_t images = 0;            // that they have learnt from
  double best_loss = std::numeric_limits<double>::infinity();
  int epochs_without_progress = 0;
  double seconds = 0;        // of learning so far
  double other_seconds = 0;  // of writing files and drawing pictures so far
  double epoch_seconds = 0;  // of learning in the epoch under way
  int64_t epoch_images = 0;  // that took them

  // Of the batches of the epoch under way that were learnt from.
  int64_t learnt_batches() const { return batch - bad_batches; }
  double MeanLoss() const { return loss_sum / static_cast<double>(learnt_batches() == 0 ? 1 : learnt_batches()); }
};

// What made a run, for the record in its checkpoints: they are the same bytes however often it was resumed.
struct RunOrigin {
  std::string command;           // that began it
  std::string source_revision;   // of the program that began it, and of others that resumed it: "a1b2c3, d4e5f6"
  std::string libtorch_version;  // likewise

  friend bool operator==(const RunOrigin&, const RunOrigin&) = default;
};

// Views of what a run consists of; nothing is owned.
struct TrainingState {
  const Recipe* recipe = nullptr;
  std::vector<at::Tensor> weights;
  std::vector<at::Tensor> averages;
  torch::optim::AdamW* optimizer = nullptr;
  TrainingProgressState* progress = nullptr;
  TrainingLog* log = nullptr;
  RunOrigin* origin = nullptr;
};

// The same state gives the same bytes. Throws what LibTorch throws.
std::string SerializeTrainingState(const TrainingState& state);

// The value that the saved run's recipe has for a flag; empty where it has none, or the bytes are damaged.
std::string SavedFlag(const std::string& bytes, const std::string& flag);

// Fills `state`, whose origin becomes that of the saved run, with what differs now added; `path` is for messages.
// FAILED_PRECONDITION for a state of another recipe, naming the first flag that differs and both values; DATA_LOSS for
// damaged bytes. After an error `state` may be half filled.
absl::Status RestoreTrainingState(const std::string& path, const std::string& bytes, const TrainingState& state);

}  // namespace denoised

#endif  // DENOISED_TRAINER_TRAINING_TRAINING_STATE_H_
