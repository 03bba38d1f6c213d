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

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "trainer/judges/figures.h"

namespace denoised {

// A figure of real images that were drawn several times at random.
struct Spread {
  double mean = 0, lowest = 0, highest = 0;
};
Spread SpreadOf(const std::vector<double>& values);  // at least one

// A figure beside the same one of real images.
struct Compared {
  double generated = 0;
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
  std::array<double, kDigits> distance_median_by_digit = {};     // not a number where there is no such digit
};

// Of a set of images with labels, read by the judge "convnet".
struct ReadingFigures {
  Accuracy accuracy;
  DigitCounts labels = {};   // images of each digit
  DigitCounts read_as = {};  // what the judge took them for
};

struct JudgeFigures {
  std::string path;
  std::string sha256;
  bool pinned = false;
  double test_accuracy = 0;
};

struct EvaluationReport {
  // What was drawn, and how.
  std::string checkpoint;
  std::string checkpoint_sha256;
  std::string architecture;
  int64_t parameters = 0;
  std::string prediction_type;
  std::string sampler;
  int steps = 0;
  double eta = 0;
  double guidance_scale = 1;
  uint64_t seed = 0;
  int count = 0;
  int64_t network_calls = 0;
  double drawing_seconds = 0;
  double scoring_seconds = 0;
  std::string source_revision;
  std::string libtorch_version;

  // With what it was compared.
  std::vector<std::pair<std::string, std::string>> data_sha256;  // file, SHA-256 of its unpacked bytes
  int training_images = 0;
  int test_images = 0;
  int floor_draws = 0;
  int floor_count = 0;             // training images in each draw
  int test_floor_count = 0;        // test images in each draw that is compared with the training images
  int precision_recall_count = 0;  // images on each side
  JudgeFigures lenet5, convnet;

  Compared distance_to_test, distance_to_training;  // squared Frechet, in lenet5's features
  Compared precision, recall;                       // against the test images
  ReadingFigures reading, reading_test;             // of the generated images, and of the test images
  NeighbourFigures neighbours, neighbours_test;
  PixelStatistics pixels, pixels_test;
};

// A table of at most 100 columns, with notes that say what stands in it.
std::string FormatTable(const EvaluationReport& report);

// Pretty-printed, keys in a fixed order; figures that are not numbers are null.
std::string ToJson(const EvaluationReport& report);

}  // namespace denoised

#endif  // DENOISED_TRAINER_EVALUATION_EVALUATION_REPORT_H_
