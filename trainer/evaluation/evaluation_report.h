// File: evaluation_report.h
//
// All that denoise-eval finds out, as values, as a table for people and as JSON for programs.
//
//   EvaluationReport report = ...;
//   std::fputs(FormatTable(report).c_str(), stdout);
//   WriteFileAtomically("eval/report.json", ToJson(report));
//
// Shares and accuracies are 0 to 1 here and in the JSON. Pure and thread-safe.
#ifndef DENOISED_TRAINER_EVALUATION_EVALUATION_REPORT_H_
#define DENOISED_TRAINER_EVALUATION_EVALUATION_REPORT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "trainer/judges/figures.h"

namespace denoised {

// A figure that was found several times.
struct Spread {
  double mean = 0, lowest = 0, highest = 0;
  double deviation = 0;  // of the sample (N-1); not a number for one value
};
Spread SpreadOf(const std::vector<double>& values);  // at least one

// A figure beside the same one of real images, over the ruler's draws.
struct Compared {
  double generated = 0;  // mean
  Spread real;

  // Readings of a distance, which is too high by about the floor however good the images: the ratio falls towards 1
  // with fewer images, the difference hardly depends on their number.
  double times_floor() const { return generated / real.mean; }
  double above_floor() const { return generated - real.mean; }
};

// Of a set of images to the training images.
struct NeighbourFigures {
  double distance_median = 0, distance_p5 = 0, distance_p1 = 0;  // to the nearest; p5: of every 20th image it is less
  double ratio_median = 0, ratio_p5 = 0, ratio_p1 = 0;           // of the nearest's distance to the second's
  int copies = 0;                                                // ratio below 1/3
  std::vector<double> distance_median_by_class;                  // [K] not a number where there is no such image
};

// Of a set of images with labels, read by the judge "convnet".
struct ReadingFigures {
  Accuracy accuracy;
  ClassCounts labels;   // [K] images of each class
  ClassCounts read_as;  // [K] what the judge took them for
};

struct JudgeFigures {
  std::string path;
  std::string sha256;
  bool pinned = false;
  double accuracy = 0;  // on the reference
};

// K classes.
struct EvaluationReport {
  // What was drawn, and how.
  std::string checkpoint;
  std::string checkpoint_sha256;
  std::string architecture;
  int64_t parameters = 0;
  std::string prediction_type;
  std::vector<std::string> class_names;  // [K]
  std::string sampler;
  int steps = 0;
  double eta = 0;
  std::string number_precision;  // of the network's numbers, "bf16"
  double guidance_scale = 1;
  uint64_t seed = 0;
  int count = 0;
  int64_t network_calls = 0;
  double drawing_seconds = 0;
  double scoring_seconds = 0;
  std::string source_revision;
  std::string libtorch_version;

  // With what it was compared (ruler.h).
  std::vector<std::pair<std::string, std::string>> data_sha256;  // file, SHA-256 of its unpacked bytes
  std::string reference;                                         // "held_out" or "test"
  int reference_images = 0;
  int training_images = 0;  // among which neighbours are looked for
  int held_out_images = 0;
  int draws = 0, prdc_draws = 0;
  int draw_count = 0;                 // images on each side of a draw
  bool reference_was_learnt = false;  // the checkpoint has learnt from some of the reference, or from all of it
  int classes_left_out = 0;           // too rare for a draw
  JudgeFigures lenet5, convnet;

  // Squared Frechet distances, in lenet5's features: of a draw, and of infinitely many images.
  Compared distance, distance_limit;
  std::optional<Compared> distance_of_all;  // for the test images: all there are; none where a class is too rare
  int count_of_all = 0;                     // images on each side of that
  Compared precision, recall, density, coverage;
  ReadingFigures reading, reading_real;  // of the generated images, and of the reference
  NeighbourFigures neighbours, neighbours_real;
  PixelStatistics pixels, pixels_real;
};

// A class as texts name it: "7", or `4 "Coat"` where classes have names.
std::string ClassText(const std::vector<std::string>& class_names, size_t number);

// A table of at most 100 columns but for long names of classes, with notes that say what stands in it.
std::string FormatTable(const EvaluationReport& report);

// Pretty-printed, keys in a fixed order; what is said by class is in the order of "class_names"; figures that are not
// numbers are null.
std::string ToJson(const EvaluationReport& report);

}  // namespace denoised

#endif  // DENOISED_TRAINER_EVALUATION_EVALUATION_REPORT_H_
