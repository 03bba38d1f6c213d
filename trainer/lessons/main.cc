// denoise-lessons: three mistakes that a diffusion model forgives badly, made on purpose. docs/lessons.md shows what
// they draw. A study, apart from the product: a small network of its own, written with torch::nn, because the product's
// networks and trainer leave no room for these mistakes.
//
//   denoise-lessons --data data --out docs/lessons
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "common/command_line/command_line.h"
#include "common/command_line/progress_bar.h"
#include "trainer/lessons/lesson.h"
#include "trainer/lessons/study.h"

namespace denoised {
namespace {

std::vector<std::string> LessonNames() {
  std::vector<std::string> names;
  for (const Lesson& lesson : kLessons) names.emplace_back(lesson.name);
  return names;
}

int Main(int argc, char** argv) {
  StudyOptions options;
  CLI::App app("Trains a small network four times, three of them with a mistake, and draws what comes of it.",
               "denoise-lessons");
  app.option_defaults()->always_capture_default();
  app.add_option("--data", options.data, "Folder with MNIST's IDX files, gzipped or not");
  app.add_flag("--verify_data,!--noverify_data", options.verify_data, "Check the data against MNIST's SHA-256 sums");
  app.add_option("--out", options.out, "Folder for the pictures");
  app.add_option("--lesson", options.lesson, "Only this one; none: all")->check(CLI::IsMember(LessonNames()));
  app.add_option("--epochs", options.size.epochs, "Passes over the data for each")->check(CLI::PositiveNumber);
  app.add_option("--images", options.size.images, "Training images to use")->check(CLI::Range(64, 60000));
  app.add_option("--rows_per_digit", options.size.rows_per_digit, "Images of each digit to draw")
      ->check(CLI::Range(1, 100));
  app.add_option("--num_steps", options.size.num_steps, "Length of the chain")->check(CLI::Range(1, 1000));
  if (const std::optional<int> code = ParseCommandLine(app, argc, argv)) return *code;
  const absl::Status status = RunStudy(options);
  if (status.ok()) return EXIT_SUCCESS;
  ClearProgress();
  return ReportError("denoise-lessons", status);
}

}  // namespace
}  // namespace denoised

int main(int argc, char** argv) { return denoised::Main(argc, argv); }
