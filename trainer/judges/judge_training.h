// File: judge_training.h
//
// Trains the judges (judges.h). Their recipes are fixed, so that the same data, seed and threads give the same file.
//
//   absl::StatusOr<TrainedJudge> lenet5 = TrainJudge(JudgeKind::kLeNet5, kept, held_out, {.folder = "judges"});
//
// Adam with a cosine from its highest rate to 0; weights of the last step. lenet5 sees the images as they are, so that
// its features tell a shifted stroke from a centred one; convnet sees them turned, scaled and shifted a little, and
// loses half its features in each step (dropout). The images that it is asked about are looked at once, at the end.
#ifndef DENOISED_TRAINER_JUDGES_JUDGE_TRAINING_H_
#define DENOISED_TRAINER_JUDGES_JUDGE_TRAINING_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "trainer/data/mnist.h"
#include "trainer/judges/figures.h"
#include "trainer/judges/judges.h"

namespace denoised {

struct JudgeTrainingOptions {
  std::string folder;  // made if it is not there
  uint64_t seed = 1;
  int threads = 0;                       // 0: one per core
  int epochs = 0;                        // 0: its recipe's own
  std::string folder_flag = "--judges";  // for messages
};

struct TrainedJudge {
  JudgeInfo info;
  Accuracy accuracy;  // on `unseen`
  double seconds = 0;
};

// Learns the classes that `train` names. Writes JudgePath(kind, options.folder), replaced atomically, and shows how far
// it is on stderr. INVALID_ARGUMENT for a folder without a name, or fewer than kFewestClasses; INTERNAL when LibTorch
// fails; and the errors of EnsureWritableFolder and WriteFileAtomically.
absl::StatusOr<TrainedJudge> TrainJudge(JudgeKind kind, const Dataset& train, const Dataset& unseen,
                                        const JudgeTrainingOptions& options);

}  // namespace denoised

#endif  // DENOISED_TRAINER_JUDGES_JUDGE_TRAINING_H_
