// File: ruler.h
//
// The ruler that drawings are measured with: real images, the judges' opinion of them, and what real images score in
// the place of drawn ones.
//
//   absl::StatusOr<std::unique_ptr<Ruler>> ruler = Ruler::Make({.data = "data", .judges = "models/judges"});
//   draw.counts = InProportion((*ruler)->proportions(), 10'000);
//   ...
//   absl::StatusOr<Nearest> nearest = (*ruler)->Measure(drawing, report);
//
// The reference is one of two sets that the judges have never seen:
//   held_out  a sixth of the training images (held_out_split.h): for choices, be it of checkpoints or of samplers
//   test      the test images: for a claim, when all choices are made
//
// Distances, precision, recall, density and coverage are means over draws. In each draw, as many drawn images and as
// many held-out ones, in the reference's proportions of classes, are compared with the same reference: the test images,
// or the half of the held-out ones that is not in the draw. So the floor, which is the held-out images' own figure, is
// of images that neither the judges nor the reference know, and what a count adds to a distance is in both. A model
// that has learnt from the held-out images, as it does unless it is told to leave them out, knows them; then the
// reference flatters it, and copies of them are not found by it.
#ifndef DENOISED_TRAINER_EVALUATION_RULER_H_
#define DENOISED_TRAINER_EVALUATION_RULER_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "trainer/data/training_set.h"
#include "trainer/evaluation/draw_samples.h"
#include "trainer/evaluation/evaluation_report.h"
#include "trainer/judges/figures.h"
#include "trainer/judges/judges.h"

namespace denoised {

enum class Reference { kHeldOut, kTest };

// "held_out" and "test".
std::string ReferenceName(Reference reference);

struct RulerOptions {
  std::string data = "data";  // IDX files, or PNGs by class; of test images IDX files alone
  TrainingSetOptions set;     // how they are read
  std::string judges;         // folder
  Reference reference = Reference::kHeldOut;
  int threads = 0;  // 0: one per core
  // Asked between stages, and while neighbours are looked for. Null: never.
  std::function<bool()> stop_requested;
};

// Each image's neighbours among the training images.
struct Nearest {
  std::vector<Neighbours> drawn;
  absl::Span<const Neighbours> reference;  // the ruler's
};

// Not thread-safe.
class Ruler {
 public:
  // Reads the data and the judges, and says so on stderr. FAILED_PRECONDITION for judges that have learnt other
  // classes; and the errors of LoadTrainingSet, LoadMnist and LoadJudge.
  static absl::StatusOr<std::unique_ptr<Ruler>> Make(const RulerOptions& options);

  const Dataset& reference() const { return options_.reference == Reference::kTest ? test_ : held_out_; }
  const std::vector<std::string>& class_names() const { return training_.class_names; }
  ClassCounts proportions() const { return CountClasses(reference().labels, num_classes()); }
  // Where copies are looked for: all training images but for the reference.
  absl::Span<const uint8_t> training_pixels() const { return training_.pixels; }

  // INVALID_ARGUMENT where so many drawn images of each class are too few to be compared, or real ones are.
  absl::Status CheckCounts(const ClassCounts& drawn) const { return HalfOfADraw(drawn).status(); }

  // Fills in the figures of a drawing, and with what it was compared. What concerns real images alone is found out
  // once. The errors of CheckCounts; CANCELLED when stop_requested said so; INTERNAL when LibTorch fails.
  absl::StatusOr<Nearest> Measure(const Drawing& drawing, EvaluationReport& report);

 private:
  // Some images as indices, in two halves.
  struct Halves {
    std::vector<size_t> first, second;
    std::vector<size_t> both() const;
  };
  // What real images score in each draw.
  struct Floor {
    std::vector<Gaussian> references;
    std::vector<double> distances, limits;
    std::vector<Features> prdc_references;  // of the first draws
    std::vector<Prdc> prdc;
  };
  // Of a set of images to one reference: with all images, and the limit for infinitely many.
  struct Distances {
    double of_all = 0, limit = 0;
  };

  explicit Ruler(const RulerOptions& options) : options_(options) {}
  absl::Status Load();
  int num_classes() const { return static_cast<int>(class_names().size()); }
  absl::Status LoadData();
  absl::StatusOr<std::unique_ptr<Judge>> LoadJudgeOfTheseClasses(JudgeKind kind) const;
  absl::Status CheckJudgeKnowsTheData() const;
  absl::Status Begin(const std::string& stage) const;
  absl::StatusOr<ClassCounts> HalfOfADraw(const ClassCounts& drawn) const;
  absl::StatusOr<const Floor*> FloorOf(const ClassCounts& half);
  absl::Status AddDraw(int draw, const ClassCounts& half, Floor& floor) const;
  static absl::StatusOr<Distances> Measure(const Features& features, const Halves& halves, const Gaussian& reference);
  absl::Status CompareDistributions(const Drawing& drawing, EvaluationReport& report);
  absl::Status CompareAll(const Drawing& drawing, const Features& drawn, EvaluationReport& report) const;
  absl::Status ReadClasses(const Drawing& drawing, EvaluationReport& report) const;
  absl::StatusOr<Nearest> FindNearest(const Drawing& drawing, EvaluationReport& report);

  const RulerOptions options_;
  Dataset training_, held_out_, test_;  // test_ is empty unless it is the reference
  std::unique_ptr<Judge> lenet5_, convnet_;
  Features held_out_features_, test_features_;             // by lenet5
  std::vector<uint8_t> lenet5_classes_, convnet_classes_;  // of the reference
  std::vector<Neighbours> reference_neighbours_;
  std::map<ClassCounts, Floor> floors_;  // by the images in half a draw
};

}  // namespace denoised

#endif  // DENOISED_TRAINER_EVALUATION_RULER_H_
