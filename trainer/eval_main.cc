// denoise-eval: scores a checkpoint against real digits, and trains the judges that do. See --help.
#include <signal.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/command_line.h"
#include "common/signal_queue.h"
#include "trainer/evaluate.h"
#include "trainer/judge_training.h"
#include "trainer/progress_bar.h"

namespace denoised {
namespace {

constexpr int kInterrupted = 130;  // as shells have it

struct Flags {
  bool train_judges = false;
  std::string sampler = SamplerName(SamplerType::kDdpm);
};

void AddOptions(CLI::App& app, Flags& flags, EvaluationOptions& options) {
  app.option_defaults()->always_capture_default();
  app.add_option("--checkpoint", options.draw.checkpoint,
                 "Checkpoint written by denoise-train; none: models/mnist.pt of this installation");
  app.add_option("--data", options.data, "Folder with MNIST's IDX files, gzipped or not");
  app.add_flag("--verify_data,!--noverify_data", options.mnist.verify_checksums,
               "Check the data against MNIST's SHA-256 sums");
  app.add_option("--judges", options.judges,
                 "Folder with lenet5.pt and convnet.pt; none: models/judges of this installation");
  app.add_option("--out", options.draw.out,
                 "Folder for the images, report.json, contact_sheet.png and nearest_neighbours.png; an interrupted run "
                 "goes on from it");
  app.add_option("--count", options.count, "Images to draw, 10 to 100000, in the proportions of the test images");
  app.add_option("--sampler", flags.sampler, "ddpm, ddim or dpm_solver_pp_2m");
  app.add_option("--steps", options.draw.steps, "Denoising steps; 0: the sampler's own, 1000, 50 or 20");
  app.add_option("--eta", options.draw.eta, "DDIM's stochasticity, 0 to 1");
  app.add_option("--guidance_scale", options.draw.guidance_scale, "Classifier-free guidance, 1 (off) to 10");
  app.add_option("--seed", options.draw.seed, "Seed of the noise; with --train_judges, of the judges");
  app.add_option("--device", options.draw.device, "Where images are drawn: auto, cpu, cuda or cuda:N");
  app.add_option("--threads", options.draw.threads, "Worker threads on the CPU; 0: one per core");
  app.add_flag("--train_judges", flags.train_judges, "Train the judges on --data, write them to --judges, and end");
}

int Fail(const absl::Status& status) {
  ClearProgress();
  absl::FPrintF(stderr, "denoise-eval: error: %s\n", status.message());
  return EXIT_FAILURE;
}

absl::StatusOr<SamplerType> ParseSampler(const std::string& name) {
  for (const SamplerType sampler : {SamplerType::kDdpm, SamplerType::kDdim, SamplerType::kDpmSolverPp2M}) {
    if (SamplerName(sampler) == name) return sampler;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("--sampler must be ddpm, ddim or dpm_solver_pp_2m, got \"", name, "\""));
}

// `name` in models/ of the working folder, of the source tree that the program was built in, or of its installation;
// the first of these paths where it is in none of them.
std::string FindShipped(const std::string& name) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::path bin = fs::read_symlink("/proc/self/exe", error).parent_path();
  const fs::path candidates[] = {fs::path("models") / name, bin / "../../../models" / name,
                                 bin / "../share/denoised" / name};
  for (const fs::path& candidate : candidates) {
    if (fs::exists(candidate, error)) return candidate.lexically_normal().string();
  }
  return candidates[0].string();
}

int RunTraining(const EvaluationOptions& options) {
  ShowProgress("reading data");
  const absl::StatusOr<Dataset> train = LoadMnist(options.data, Split::kTrain, options.mnist);
  if (!train.ok()) return Fail(train.status());
  const absl::StatusOr<Dataset> test = LoadMnist(options.data, Split::kTest, options.mnist);
  if (!test.ok()) return Fail(test.status());
  for (const JudgeKind kind : {JudgeKind::kLeNet5, JudgeKind::kConvNet}) {
    const absl::StatusOr<TrainedJudge> judge = TrainJudge(
        kind, *train, *test, {.folder = options.judges, .seed = options.draw.seed, .threads = options.draw.threads});
    if (!judge.ok()) return Fail(judge.status());
    absl::PrintF("%s: reads %.2f %% of %d test images, trained in %s, SHA-256 %s\n", judge->info.path,
                 100 * judge->test_accuracy, test->size(), FormatDuration(judge->seconds), judge->info.sha256);
    std::fflush(stdout);
  }
  return EXIT_SUCCESS;
}

int RunEvaluation(EvaluationOptions options) {
  if (options.draw.checkpoint.empty()) options.draw.checkpoint = FindShipped("mnist.pt");
  if (options.judges.empty()) options.judges = FindShipped("judges");
  SignalQueue signals({SIGINT, SIGTERM});
  options.draw.stop_requested = [&signals] { return signals.WaitFor(std::chrono::milliseconds(0)).has_value(); };
  const absl::StatusOr<EvaluationReport> report = Evaluate(options);
  if (absl::IsCancelled(report.status())) {
    absl::FPrintF(stderr, "%s\n", report.status().message());
    return kInterrupted;
  }
  if (!report.ok()) return Fail(report.status());
  const EvaluationFiles files(options.draw.out);
  absl::PrintF("%s\nLook at:  %s, %s\nFigures:  %s\n", FormatTable(*report), files.contact_sheet,
               files.nearest_neighbours, files.report);
  return EXIT_SUCCESS;
}

int Main(int argc, char** argv) {
  Flags flags;
  EvaluationOptions options;
  CLI::App app("Scores a checkpoint of denoise-train: draws images with it and compares them with real digits.",
               "denoise-eval");
  app.footer(
      "Examples:\n"
      "  denoise-eval --checkpoint run/best.pt                                  10000 images by the full chain\n"
      "  denoise-eval --checkpoint run/best.pt --sampler ddim --count 1000      a quick look\n"
      "  denoise-eval --train_judges --judges judges                            judges of one's own");
  AddOptions(app, flags, options);
  if (const std::optional<int> code = ParseCommandLine(app, argc, argv)) return *code;
  if (flags.train_judges) return RunTraining(options);
  const absl::StatusOr<SamplerType> sampler = ParseSampler(flags.sampler);
  if (!sampler.ok()) return Fail(sampler.status());
  options.draw.sampler = *sampler;
  return RunEvaluation(options);
}

}  // namespace
}  // namespace denoised

int main(int argc, char** argv) { return denoised::Main(argc, argv); }
