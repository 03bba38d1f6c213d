// File: evaluate.h
//
// Scores a checkpoint: draws images with it (draw_samples.h), asks the judges (judges.h), compares them with real
// digits (figures.h), and leaves a report and two pictures beside the images.
//
//   absl::StatusOr<EvaluationReport> report = Evaluate({.draw = {.checkpoint = "run/best.pt", .out = "eval"}});
//   std::fputs(FormatTable(*report).c_str(), stdout);
//
// Labels come in the proportions of the test images, and the reference is all of those: the first half of MNIST's test
// images differs from the second. Beside every figure stands that of real digits, counted in the same way.
#ifndef DENOISED_TRAINER_EVALUATION_EVALUATE_H_
#define DENOISED_TRAINER_EVALUATION_EVALUATE_H_

#include <string>

#include "absl/status/statusor.h"
#include "trainer/data/mnist.h"
#include "trainer/evaluation/draw_samples.h"
#include "trainer/evaluation/evaluation_report.h"

namespace denoised {

struct EvaluationOptions {
  DrawOptions draw;    // draw.counts is decided here
  int count = 10'000;  // images, 10 to 100,000
  std::string data = "data";
  MnistOptions mnist;
  std::string judges;  // folder
};

// What an evaluation leaves in its folder, besides SampleFiles.
struct EvaluationFiles {
  explicit EvaluationFiles(const std::string& folder)
      : report(folder + "/report.json"),
        contact_sheet(folder + "/contact_sheet.png"),
        nearest_neighbours(folder + "/nearest_neighbours.png") {}

  std::string report;
  std::string contact_sheet;
  std::string nearest_neighbours;
};

// Shows how far it is on stderr. CANCELLED, saying how to go on, when draw.stop_requested ended it; INVALID_ARGUMENT
// for a count out of range; and the errors of LoadMnist, LoadJudge and DrawSamples.
absl::StatusOr<EvaluationReport> Evaluate(EvaluationOptions options);

}  // namespace denoised

#endif  // DENOISED_TRAINER_EVALUATION_EVALUATE_H_
