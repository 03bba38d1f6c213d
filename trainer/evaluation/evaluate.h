// File: evaluate.h
//
// Scores a checkpoint: draws images with it (draw_samples.h), measures them (ruler.h), and leaves a report and two
// pictures beside the images.
//
//   absl::StatusOr<std::unique_ptr<Ruler>> ruler = Ruler::Make({.data = "data", .judges = "models/judges"});
//   const EvaluationOptions options = {.draw = {.checkpoint = "run/best.pt", .out = "eval"}};
//   absl::StatusOr<EvaluationReport> report = Evaluate(options, **ruler);
//   std::fputs(FormatTable(*report).c_str(), stdout);
//
// Labels come in the proportions of the reference. One ruler serves several evaluations.
#ifndef DENOISED_TRAINER_EVALUATION_EVALUATE_H_
#define DENOISED_TRAINER_EVALUATION_EVALUATE_H_

#include <string>

#include "absl/status/statusor.h"
#include "trainer/evaluation/draw_samples.h"
#include "trainer/evaluation/evaluation_report.h"
#include "trainer/evaluation/ruler.h"

namespace denoised {

struct EvaluationOptions {
  DrawOptions draw;    // draw.counts is decided here
  int count = 10'000;  // images, 20 to 100,000
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

// INVALID_ARGUMENT for a count out of range; asked before hours of drawing.
absl::Status CheckCount(int count);

// Shows how far it is on stderr. CANCELLED, saying how to go on, when stop_requested ended it; and the errors of
// CheckCount, Ruler::CheckCounts, DrawSamples and Ruler::Measure.
absl::StatusOr<EvaluationReport> Evaluate(EvaluationOptions options, Ruler& ruler);

}  // namespace denoised

#endif  // DENOISED_TRAINER_EVALUATION_EVALUATE_H_
