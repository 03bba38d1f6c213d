// denoise-eval: scores a checkpoint against real digits, and trains the judges that do. See --help.
#include <signal.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/command_line/command_line.h"
#include "common/command_line/progress_bar.h"
#include "common/model/precision.h"
#include "common/support/clock.h"
#include "common/support/file.h"
#include "common/support/signal_queue.h"
#include "common/support/status_macros.h"
#include "trainer/evaluation/evaluate.h"
#include "trainer/evaluation/sweep.h"
#include "trainer/judges/judge_training.h"

namespace denoised {
namespace {

constexpr int kInterrupted = 130;  // as shells have it

struct Flags {
  bool train_judges = false;
  std::vector<std::string> samplers = {SamplerName(SamplerType::kDdpm)};
  std::vector<int> steps = {0};
  std::vector<double> guidance_scales = {1};

  bool is_sweep() const { return samplers.size() * steps.size() * guidance_scales.size() > 1; }
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
  // Several values, and every combination is scored.
  app.add_option("--sampler", flags.samplers, "ddpm, ddim or dpm_solver_pp_2m; several, with commas, for a sweep")
      ->delimiter(',')
      ->allow_extra_args(false);
  app.add_option("--steps", flags.steps, "Denoising steps, or several; 0: the sampler's own, 1000, 50 or 20")
      ->delimiter(',')
      ->allow_extra_args(false);
  app.add_option("--eta", options.draw.eta, "DDIM's stochasticity, 0 to 1");
  app.add_option("--guidance_scale", flags.guidance_scales, "Classifier-free guidance, 1 (off) to 10, or several")
      ->delimiter(',')
      ->allow_extra_args(false);
  app.add_option("--seed", options.draw.seed, "Seed of the noise; with --train_judges, of the judges");
  app.add_option("--device", options.draw.device,
                 "Where images are drawn: auto, cpu, cuda or cuda:N; emulated-cuda: on the CPU, as CUDA would, slowly");
  app.add_option("--precision", options.draw.precision,
                 "Of the network's numbers: auto (on CUDA fp16, on CPUs bf16 where they can), fp32, fp16 or bf16")
      ->check(CLI::IsMember(PrecisionNames()));
  app.add_option("--threads", options.draw.threads, "Worker threads on the CPU; 0: one per core");
  CLI::Option* train_judges =
      app.add_flag("--train_judges", flags.train_judges, "Train the judges on --data, write them to --judges, and end");
  for (const char* drawing : {"--checkpoint", "--out", "--count", "--sampler", "--steps", "--eta", "--guidance_scale",
                              "--device", "--precision"}) {
    train_judges->excludes(drawing);
  }
}

int Fail(const absl::Status& status) {
  ClearProgress();
  return ReportError("denoise-eval", status);
}

absl::StatusOr<SamplerType> ParseSampler(const std::string& name) {
  for (const SamplerType sampler : {SamplerType::kDdpm, SamplerType::kDdim, SamplerType::kDpmSolverPp2M}) {
    if (SamplerName(sampler) == name) return sampler;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("--sampler must be ddpm, ddim or dpm_solver_pp_2m, got \"", name, "\""));
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

absl::Status EvaluateOne(EvaluationOptions options, const Flags& flags) {
  DENOISED_ASSIGN_OR_RETURN(options.draw.sampler, ParseSampler(flags.samplers[0]));
  options.draw.steps = flags.steps[0];
  options.draw.guidance_scale = flags.guidance_scales[0];
  DENOISED_ASSIGN_OR_RETURN(const EvaluationReport report, Evaluate(options));
  const EvaluationFiles files(options.draw.out);
  absl::PrintF("%s\nLook at:  %s, %s\nFigures:  %s\n", FormatTable(report), files.contact_sheet,
               files.nearest_neighbours, files.report);
  return absl::OkStatus();
}

// Mistyped values are found before hours of drawing.
absl::Status CheckSweep(const Flags& flags) {
  for (const std::string& sampler : flags.samplers) DENOISED_RETURN_IF_ERROR(ParseSampler(sampler).status());
  const NoiseSchedule schedule = *NoiseSchedule::Create({});
  for (const int steps : flags.steps) {
    const absl::Status status = MakeStepPlan(schedule, {.steps = steps}).status();
    if (!status.ok()) return absl::Status(status.code(), absl::StrCat("--", status.message()));
  }
  for (const double scale : flags.guidance_scales) {
    if (scale >= 1 && scale <= 10) continue;
    return absl::InvalidArgumentError(absl::StrCat("--guidance_scale must be 1 to 10, got ", scale));
  }
  return absl::OkStatus();
}

// Every combination, each in a folder of its own below --out; the table and the plots grow with it.
absl::Status Sweep(const EvaluationOptions& options, const Flags& flags) {
  DENOISED_RETURN_IF_ERROR(CheckSweep(flags));
  std::vector<EvaluationReport> reports;
  const std::string folder = options.draw.out;
  const std::string table = folder + "/sweep.md", distances = folder + "/distances.png",
                    misread = folder + "/misread.png";
  for (const std::string& sampler : flags.samplers) {
    for (const int steps : flags.steps) {
      for (const double guidance_scale : flags.guidance_scales) {
        EvaluationOptions one = options;
        DENOISED_ASSIGN_OR_RETURN(one.draw.sampler, ParseSampler(sampler));
        one.draw.steps = steps;
        one.draw.guidance_scale = guidance_scale;
        one.draw.out = absl::StrCat(folder, "/", SweepName(sampler, steps, guidance_scale));
        DENOISED_ASSIGN_OR_RETURN(const EvaluationReport report, Evaluate(one));
        reports.push_back(report);
        DENOISED_RETURN_IF_ERROR(WriteFileAtomically(table, FormatSweep(reports)));
        DENOISED_ASSIGN_OR_RETURN(const std::string distance_plot, PlotDistances(reports));
        DENOISED_RETURN_IF_ERROR(WriteFileAtomically(distances, distance_plot));
        DENOISED_ASSIGN_OR_RETURN(const std::string misread_plot, PlotMisread(reports));
        DENOISED_RETURN_IF_ERROR(WriteFileAtomically(misread, misread_plot));
      }
    }
  }
  absl::PrintF(
      "%s: %d images each, seed %d\n\n%s\nDistance: Frechet, to the test images; floor: that of as many "
      "training images.\nReal test images are read with an accuracy of %.2f %%.\nLook at:  %s, %s\nTable:    %s\n",
      reports[0].checkpoint, reports[0].count, reports[0].seed, FormatSweep(reports),
      100 * reports[0].reading_test.accuracy.overall, distances, misread, table);
  return absl::OkStatus();
}

int RunEvaluation(EvaluationOptions options, const Flags& flags) {
  const std::tuple<std::string*, const char*, const char*> shipped[] = {
      {&options.draw.checkpoint, "mnist.pt", "checkpoint"}, {&options.judges, "judges", "judges"}};
  for (const auto& [path, name, flag] : shipped) {
    if (!path->empty()) continue;
    absl::StatusOr<std::string> found = FindShipped(name);
    if (!found.ok()) {
      return Fail(absl::NotFoundError(absl::StrCat(found.status().message(), "; name it with --", flag)));
    }
    *path = *std::move(found);
  }
  SignalQueue signals({SIGINT, SIGTERM});
  options.draw.stop_requested = [&signals] { return signals.WaitFor(std::chrono::milliseconds(0)).has_value(); };
  const absl::Status status = flags.is_sweep() ? Sweep(options, flags) : EvaluateOne(options, flags);
  if (absl::IsCancelled(status)) {
    absl::FPrintF(stderr, "%s\n", status.message());
    return kInterrupted;
  }
  return status.ok() ? EXIT_SUCCESS : Fail(status);
}

int Main(int argc, char** argv) {
  Flags flags;
  EvaluationOptions options;
  CLI::App app("Scores a checkpoint of denoise-train: draws images with it and compares them with real digits.",
               "denoise-eval");
  app.footer(
      "Examples:\n"
      "  denoise-eval --checkpoint run/best.pt        10000 images by the full chain\n"
      "  denoise-eval --sampler ddim --count 1000     a quick look\n"
      "  denoise-eval --sampler ddim,dpm_solver_pp_2m --steps 10,20,50 --count 2000\n"
      "                                               which sampler, how many steps\n"
      "  denoise-eval --train_judges --judges judges  judges of one's own\n"
      "Exit status: 0 done, 1 an error, told on stderr, 2 a wrong flag, 130 interrupted.");
  AddOptions(app, flags, options);
  if (const std::optional<int> code = ParseCommandLine(app, argc, argv)) return *code;
  if (flags.train_judges) return RunTraining(options);
  return RunEvaluation(options, flags);
}

}  // namespace
}  // namespace denoised

int main(int argc, char** argv) { return denoised::Main(argc, argv); }
