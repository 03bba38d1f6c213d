// File: judges.h
//
// The judges: two frozen classifiers of 32x32 images that score drawings.
//
//   absl::StatusOr<std::unique_ptr<Judge>> lenet5 = LoadJudge(JudgeKind::kLeNet5, "models/judges", /*threads=*/2);
//   absl::StatusOr<Verdicts> verdicts = (*lenet5)->Look(data.pixels);
//
// "lenet5" is LeNet-5 with ReLU and max-pooling (LeCun et al., "Gradient-Based Learning Applied to Document
// Recognition", Proc. IEEE 1998, at its own 32x32 pixels); the 84 numbers before its last layer are the space in which
// distributions are compared. "convnet" is deeper and reads better; only class accuracy rests on it, so that no
// network is asked twice.
//
// A pair of judges tells apart the classes of the data set that it has learnt, kFewestClasses to kMostClasses of them.
// Figures of one pair say nothing beside those of another, so that of MNIST's digits, in models/judges, is pinned by
// SHA-256. A judge's file holds its name and its tensors, as Python's torch.load reads them too, and no code; the size
// of its last layer says how many classes it reads.
#ifndef DENOISED_TRAINER_JUDGES_JUDGES_H_
#define DENOISED_TRAINER_JUDGES_JUDGES_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "trainer/judges/figures.h"

namespace denoised {

// Where there is one class alone, there is nothing to tell apart. The most are kMostClasses, as of any data set.
inline constexpr int kFewestClasses = 2;

enum class JudgeKind { kLeNet5, kConvNet };

// "lenet5" and "convnet".
std::string JudgeName(JudgeKind kind);

// FOLDER/lenet5.pt and FOLDER/convnet.pt.
std::string JudgePath(JudgeKind kind, const std::string& folder);

// What a judge thinks of N images.
struct Verdicts {
  std::vector<uint8_t> classes;  // [N] what it reads
  Features features;             // [N,D] what its last layer sees; D is 84 for lenet5
};

struct JudgeInfo {
  JudgeKind kind = JudgeKind::kLeNet5;
  std::string path;
  std::string sha256;   // of the file's bytes
  int classes = 0;      // that it tells apart
  bool pinned = false;  // it is the one whose figures this project publishes
};

// Not thread-safe.
class Judge {
 public:
  virtual ~Judge() = default;

  virtual const JudgeInfo& info() const = 0;

  // `pixels`: N images of kModelPixels bytes. INTERNAL when LibTorch fails.
  virtual absl::StatusOr<Verdicts> Look(absl::Span<const uint8_t> pixels) = 0;
};

// Reads JudgePath(kind, folder). `threads` share an image set; 0: one per core. Errors say what to do:
//   NOT_FOUND         there is no such file
//   INVALID_ARGUMENT  it is not a judge of this kind
//   DATA_LOSS         its tensors do not match the SHA-256 beside them
absl::StatusOr<std::unique_ptr<Judge>> LoadJudge(JudgeKind kind, const std::string& folder, int threads);

}  // namespace denoised

#endif  // DENOISED_TRAINER_JUDGES_JUDGES_H_
