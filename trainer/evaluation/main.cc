// denoise-eval: scores checkpoints against real images, trains the judges that do, and finds out what a classifier
// learns from drawn images alone. See --help.
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/command_line/command_line.h"
#include "common/command_line/progress_bar.h"
#include "common/command_line/standard_output.h"
#include "common/model/precision.h"
#include "common/support/clock.h"
#include "common/support/file.h"
#include "common/support/signal_queue.h"
#include "common/support/status_macros.h"
#include "trainer/data/held_out_split.h"
#include "trainer/data/mnist.h"
#include "trainer/data/training_set.h"
#include "trainer/evaluation/evaluate.h"
#include "trainer/evaluation/ruler.h"
#include "trainer/evaluation/seeds.h"
#include "trainer/evaluation/sweep.h"
#include "trainer/judges/judge_training.h"

namespace denoised {
namespace {

constexpr int kInterrupted = 130;  // as shells have it

constexpr int kMaxSeeds = 100;

struct Flags {
  bool train_judges = false;
  std::string train_on;  // folder of drawn images
  std::vector<std::string> checkpoints = {""};
  std::vector<std::string> samplers = {SamplerName(SamplerType::kDdpm)};
  std::vector<int> steps = {0};
  std::vector<double> guidance_scales = {1};
  int seeds = 1;
  int count = 10'000;
  std::string reference = ReferenceName(Reference::kHeldOut);

  DrawOptions draw;
  RulerOptions ruler;

  bool is_sweep() const { return checkpoints.size() * samplers.size() * steps.size() * guidance_scales.size() > 1; }
};

void AddOptions(CLI::App& app, Flags& flags) {
  app.option_defaults()->always_capture_default();
  // Several values, and every combination is scored.
  const auto add_list = [&app](const std::string& name, auto& values, const std::string& help) {
    app.add_option(name, values, help)->delimiter(',')->allow_extra_args(false);
  };
  add_list("--checkpoint", flags.checkpoints,
           "Checkpoint written by denoise-train, or several, with commas; none: models/mnist.pt of this installation");
  app.add_option(
      "--data", flags.ruler.data,
      "Folder that the checkpoint has learnt from: with MNIST's IDX files, gzipped or not, or others of that "
      "format; or with a folder of PNGs for each class");
  app.add_flag("--verify_data,!--noverify_data", flags.ruler.set.verify_checksums,
               "Check IDX files against MNIST's SHA-256 sums; not for one's own data");
  app.add_option(
      "--class_names", flags.ruler.set.class_names,
      "Names of the classes in --data, as the checkpoint must have them, that of label 0 first, with commas "
      "between them; none: those in class_names.txt in --data, a line each, or numbers, or the folders' names");
  app.add_option(
      "--judges", flags.ruler.judges,
      "Folder with lenet5.pt and convnet.pt, which have learnt the classes of --data; none: models/judges of "
      "this installation, for MNIST");
  app.add_option("--reference", flags.reference,
                 "Real images to compare with: held_out, 10000 training images, or a sixth of fewer, that the judges "
                 "never saw, for choices; test, the test images of IDX files, for a claim when all choices are made")
      ->check(CLI::IsMember({ReferenceName(Reference::kHeldOut), ReferenceName(Reference::kTest)}));
  app.add_option("--out", flags.draw.out,
                 "Folder for the images, report.json, contact_sheet.png and nearest_neighbours.png; an interrupted run "
                 "goes on from it");
  app.add_option("--count", flags.count, "Images to draw, 20 to 100000, in the proportions of the reference");
  add_list("--sampler", flags.samplers, "ddpm, ddim or dpm_solver_pp_2m; several, with commas, for a sweep");
  add_list("--steps", flags.steps, "Denoising steps, or several; 0: the sampler's own, 1000, 50 or 20");
  app.add_option("--eta", flags.draw.eta, "DDIM's stochasticity, 0 to 1");
  add_list("--guidance_scale", flags.guidance_scales, "Classifier-free guidance, 1 (off) to 10, or several");
  app.add_option("--seed", flags.draw.seed, "Seed of the noise; with --train_judges and --train_on, of the learning");
  app.add_option("--seeds", flags.seeds,
                 "How many seeds, from --seed on, each with --count images: figures get a mean and a deviation")
      ->check(CLI::Range(1, kMaxSeeds));
  app.add_option("--device", flags.draw.device,
                 "Where images are drawn: auto, cpu, cuda or cuda:N; emulated-cuda: on the CPU, as CUDA would, slowly");
  app.add_option("--precision", flags.draw.precision,
                 "Of the network's numbers: auto (on CUDA fp16, on CPUs bf16 where they can), fp32, fp16 or bf16")
      ->check(CLI::IsMember(PrecisionNames()));
  app.add_option("--threads", flags.draw.threads, "Worker threads on the CPU; 0: one per core")
      ->check(CLI::Range(0, kMaxThreads));
  CLI::Option* train_judges = app.add_flag(
      "--train_judges", flags.train_judges,
      "Train judges of the classes of --data, on all but the held-out images, write them to --judges, and end");
  CLI::Option* train_on = app.add_option(
      "--train_on", flags.train_on,
      "Train a classifier on the drawn images of this folder alone (of denoise-eval's --out, or files as "
      "MNIST's training set has them), read the real test images with it, and end");
  for (const char* drawing : {"--checkpoint", "--reference", "--count", "--sampler", "--steps", "--eta",
                              "--guidance_scale", "--device", "--precision"}) {
    train_judges->excludes(drawing);
    train_on->excludes(drawing);
  }
  train_on->excludes("--class_names");
  train_judges->excludes("--out")->excludes("--seeds")->excludes(train_on);
  train_on->excludes("--judges");
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

int TrainJudges(const Flags& flags) {
  ShowProgress("reading data");
  const absl::StatusOr<Dataset> train = LoadTrainingSet(flags.ruler.data, flags.ruler.set);
  if (!train.ok()) return Fail(train.status());
  const absl::StatusOr<SplitIndices> split =
      HeldOutSplit(train->labels, JudgesHeldOut(static_cast<int64_t>(train->size())));
  if (!split.ok()) return Fail(split.status());
  const Dataset kept = Subset(*train, split->kept), held_out = Subset(*train, split->held_out);
  for (const JudgeKind kind : {JudgeKind::kLeNet5, JudgeKind::kConvNet}) {
    const absl::StatusOr<TrainedJudge> judge = TrainJudge(
        kind, kept, held_out, {.folder = flags.ruler.judges, .seed = flags.draw.seed, .threads = flags.draw.threads});
    if (!judge.ok()) return Fail(judge.status());
    absl::PrintF("%s: reads %.2f %% of %d held-out images of %d classes, trained on %d in %s, SHA-256 %s\n",
                 judge->info.path, 100 * judge->accuracy.overall, held_out.size(), judge->info.classes, kept.size(),
                 FormatDuration(judge->seconds), judge->info.sha256);
    std::fflush(stdout);
  }
  return EXIT_SUCCESS;
}

// Drawings come class after class, so that an interrupted run lacks whole ones.
absl::Status CheckEveryClassIsThere(const std::string& folder, const Dataset& data) {
  const ClassCounts counts = CountClasses(data.labels, static_cast<int>(data.class_names.size()));
  const auto missing = std::find(counts.begin(), counts.end(), 0);
  if (missing == counts.end()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(folder, " has no image of class ",
                                                    ClassText(data.class_names, missing - counts.begin()),
                                                    ": is its drawing complete? the command that began it goes on"));
}

// What denoise-eval has drawn, or a training set, of these classes.
absl::StatusOr<Dataset> LoadDrawn(const std::string& folder, const std::vector<std::string>& class_names) {
  std::error_code ignored;
  const bool samples = std::filesystem::exists(SampleFiles(folder).images, ignored);
  absl::StatusOr<Dataset> data = LoadMnist(folder, samples ? Split::kDrawn : Split::kTrain,
                                           {.verify_checksums = false, .class_names = class_names});
  absl::Status status = data.ok() ? CheckEveryClassIsThere(folder, *data) : data.status();
  if (status.ok() && samples) status = CheckIsComplete(folder, static_cast<int64_t>(data->size()));
  if (status.ok()) return data;
  const std::string why = absl::IsNotFound(status)
                              ? absl::StrCat(folder,
                                             " has neither samples-images-idx3-ubyte, as denoise-eval's --out has "
                                             "(with --seeds its folders seed-N), nor train-images-idx3-ubyte, as those "
                                             "of `denoise dataset` have, or not the labels beside it")
                              : std::string(status.message());
  return absl::Status(status.code(), absl::StrCat("cannot learn from --train_on: ", why));
}

absl::StatusOr<Dataset> LoadTestSet(const Flags& flags) {
  const TrainingSetOptions& set = flags.ruler.set;
  DENOISED_ASSIGN_OR_RETURN(std::vector<std::string> names, GivenClassNames(flags.ruler.data, set.class_names));
  return LoadMnist(flags.ruler.data, Split::kTest,
                   {.verify_checksums = set.verify_checksums, .class_names = std::move(names)});
}

// Classification accuracy score: Ravuri and Vinyals, arXiv 1905.10887.
absl::Status TrainOnDrawn(const Flags& flags) {
  ShowProgress("reading data");
  DENOISED_ASSIGN_OR_RETURN(const Dataset test, LoadTestSet(flags));
  DENOISED_ASSIGN_OR_RETURN(const Dataset drawn, LoadDrawn(flags.train_on, test.class_names));
  std::vector<double> accuracies;
  for (int i = 0; i < flags.seeds; ++i) {
    const uint64_t seed = flags.draw.seed + i;
    DENOISED_ASSIGN_OR_RETURN(const TrainedJudge classifier,
                              TrainJudge(JudgeKind::kConvNet, drawn, test,
                                         {.folder = absl::StrCat(flags.draw.out, "/classifier-", seed),
                                          .seed = seed,
                                          .threads = flags.draw.threads,
                                          .folder_flag = "--out"}));
    const Accuracy& accuracy = classifier.accuracy;
    const Interval interval = WilsonInterval(accuracy.right, accuracy.of);
    absl::PrintF(
        "%s: learnt from %d drawn images alone in %s, reads %.2f %% of %d real test images (95 %% interval %.2f to "
        "%.2f; worst class %s, %.2f %%)\n",
        classifier.info.path, drawn.size(), FormatDuration(classifier.seconds), 100 * accuracy.overall, test.size(),
        100 * interval.low, 100 * interval.high, ClassText(test.class_names, accuracy.worst_class),
        100 * accuracy.worst());
    std::fflush(stdout);
    accuracies.push_back(100 * accuracy.overall);
  }
  if (flags.seeds > 1) {
    absl::PrintF("Mean and standard deviation of %d: %s %%\n", flags.seeds, MeanAndDeviation(SpreadOf(accuracies), 2));
  }
  return absl::OkStatus();
}

// ---- Evaluation -----------------------------------------------------------------------------------------------------

// With one seed in `folder` itself, with several in folders of their own below.
absl::StatusOr<std::vector<EvaluationReport>> EvaluateSeeds(const Flags& flags, DrawOptions draw, Ruler& ruler) {
  const std::string folder = draw.out;
  const uint64_t first = draw.seed;
  std::vector<EvaluationReport> reports;
  for (int i = 0; i < flags.seeds; ++i) {
    draw.seed = first + i;
    if (flags.seeds > 1) draw.out = absl::StrCat(folder, "/seed-", draw.seed);
    DENOISED_ASSIGN_OR_RETURN(const EvaluationReport report, Evaluate({.draw = draw, .count = flags.count}, ruler));
    reports.push_back(report);
  }
  if (flags.seeds > 1) DENOISED_RETURN_IF_ERROR(WriteFileAtomically(folder + "/seeds.json", SeedsToJson(reports)));
  return reports;
}

absl::Status EvaluateOne(const Flags& flags, DrawOptions draw, Ruler& ruler) {
  draw.checkpoint = flags.checkpoints[0];
  DENOISED_ASSIGN_OR_RETURN(draw.sampler, ParseSampler(flags.samplers[0]));
  draw.steps = flags.steps[0];
  draw.guidance_scale = flags.guidance_scales[0];
  DENOISED_ASSIGN_OR_RETURN(const std::vector<EvaluationReport> reports, EvaluateSeeds(flags, draw, ruler));
  if (reports.size() > 1) {
    absl::PrintF("%s\nFigures:  %s/seeds.json, and those of each seed beside it\n", FormatSeeds(reports), draw.out);
    return absl::OkStatus();
  }
  const EvaluationFiles files(draw.out);
  absl::PrintF("%s\nLook at:  %s, %s\nFigures:  %s\n", FormatTable(reports[0]), files.contact_sheet,
               files.nearest_neighbours, files.report);
  return absl::OkStatus();
}

// Mistyped values are found before hours of drawing.
absl::Status CheckFlags(const Flags& flags) {
  DENOISED_RETURN_IF_ERROR(CheckCount(flags.count));
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

// Folders' names: "a/run/best.pt" is "run-best", and a second one "run-best-2".
std::vector<std::string> NamesOf(const std::vector<std::string>& checkpoints) {
  std::vector<std::string> names;
  for (const std::string& path : checkpoints) {
    const std::filesystem::path file = std::filesystem::absolute(path).lexically_normal();
    const std::string name = absl::StrCat(file.parent_path().filename().string(), "-", file.stem().string());
    std::string unique = name;
    for (int n = 2; std::count(names.begin(), names.end(), unique) > 0; ++n) unique = absl::StrCat(name, "-", n);
    names.push_back(std::move(unique));
  }
  return names;
}

absl::Status WriteSweep(const std::string& folder, const std::vector<Variant>& variants) {
  DENOISED_RETURN_IF_ERROR(WriteFileAtomically(folder + "/sweep.md", FormatSweep(variants)));
  DENOISED_ASSIGN_OR_RETURN(const std::string distances, PlotDistances(variants));
  DENOISED_RETURN_IF_ERROR(WriteFileAtomically(folder + "/distances.png", distances));
  DENOISED_ASSIGN_OR_RETURN(const std::string misread, PlotMisread(variants));
  return WriteFileAtomically(folder + "/misread.png", misread);
}

// Every combination, each in a folder of its own below --out; the table and the plots grow with it.
absl::Status Sweep(const Flags& flags, const DrawOptions& all, Ruler& ruler) {
  std::vector<Variant> variants;
  const std::vector<std::string> names = NamesOf(flags.checkpoints);
  for (size_t i = 0; i < names.size(); ++i) {
    for (const std::string& sampler : flags.samplers) {
      for (const int steps : flags.steps) {
        for (const double guidance_scale : flags.guidance_scales) {
          DrawOptions draw = all;
          draw.checkpoint = flags.checkpoints[i];
          DENOISED_ASSIGN_OR_RETURN(draw.sampler, ParseSampler(sampler));
          draw.steps = steps;
          draw.guidance_scale = guidance_scale;
          std::string name = SweepName(sampler, steps, guidance_scale);
          if (names.size() > 1) name = absl::StrCat(names[i], "-", name);
          draw.out = absl::StrCat(all.out, "/", name);
          DENOISED_ASSIGN_OR_RETURN(std::vector<EvaluationReport> seeds, EvaluateSeeds(flags, draw, ruler));
          variants.push_back({.name = name, .seeds = std::move(seeds)});
          DENOISED_RETURN_IF_ERROR(WriteSweep(all.out, variants));
        }
      }
    }
  }
  const EvaluationReport& first = variants[0].seeds[0];
  absl::PrintF(
      "%s: %d times %d images each, seeds from %d\n\n%s\nDistance: Frechet, to %s; floor: that of as many real "
      "images.\n%s: difference of the distances, pair by pair of seeds, with its standard error.\nReal images of the "
      "reference are read with an accuracy of %.2f %%.\nLook at:  %s/distances.png, %s/misread.png\n"
      "Table:    %s/sweep.md\n",
      first.checkpoint, flags.seeds, first.count, first.seed, FormatSweep(variants),
      first.reference == "test" ? "the test images" : "held-out training images", "To the first",
      100 * first.reading_real.accuracy.overall, all.out, all.out, all.out);
  return absl::OkStatus();
}

absl::Status FindShippedFiles(Flags& flags) {
  const std::tuple<std::string*, const char*, const char*> shipped[] = {
      {flags.checkpoints.data(), "mnist.pt", "checkpoint"}, {&flags.ruler.judges, "judges", "judges"}};
  for (const auto& [path, name, flag] : shipped) {
    if (!path->empty()) continue;
    absl::StatusOr<std::string> found = FindShipped(name);
    if (!found.ok()) {
      return absl::NotFoundError(absl::StrCat(found.status().message(), "; name it with --", flag));
    }
    *path = *std::move(found);
  }
  return absl::OkStatus();
}

// So are checkpoints that cannot be drawn with as the flags say, or draw other classes than the data's.
absl::Status CheckCheckpoints(const Flags& flags) {
  DrawOptions draw = flags.draw;
  for (const std::string& checkpoint : flags.checkpoints) {
    draw.checkpoint = checkpoint;
    for (const std::string& sampler : flags.samplers) {
      DENOISED_ASSIGN_OR_RETURN(draw.sampler, ParseSampler(sampler));
      draw.guidance_scale = *std::max_element(flags.guidance_scales.begin(), flags.guidance_scales.end());
      for (const int steps : flags.steps) {
        draw.steps = steps;
        DENOISED_RETURN_IF_ERROR(CheckDrawing(draw));
      }
    }
  }
  return absl::OkStatus();
}

absl::Status Score(Flags flags) {
  DENOISED_RETURN_IF_ERROR(CheckFlags(flags));
  DENOISED_RETURN_IF_ERROR(FindShippedFiles(flags));
  SignalQueue signals({SIGINT, SIGTERM});
  bool stopped = false;  // once a signal has come, it is no longer in the queue
  const auto stop_requested = [&] {
    stopped = stopped || signals.WaitFor(std::chrono::milliseconds(0)).has_value();
    return stopped;
  };
  flags.draw.stop_requested = flags.ruler.stop_requested = stop_requested;
  flags.ruler.threads = flags.draw.threads;
  flags.ruler.reference = flags.reference == ReferenceName(Reference::kTest) ? Reference::kTest : Reference::kHeldOut;
  DENOISED_ASSIGN_OR_RETURN(const std::unique_ptr<Ruler> ruler, Ruler::Make(flags.ruler));
  flags.draw.class_names = ruler->class_names();
  DENOISED_RETURN_IF_ERROR(CheckCheckpoints(flags));
  return flags.is_sweep() ? Sweep(flags, flags.draw, *ruler) : EvaluateOne(flags, flags.draw, *ruler);
}

int Main(int argc, char** argv) {
  Flags flags;
  CLI::App app("Scores checkpoints of denoise-train: draws images with them and compares these with real images.",
               "denoise-eval");
  app.footer(
      "Examples:\n"
      "  denoise-eval --checkpoint run/best.pt    10000 images by the full chain\n"
      "  denoise-eval --sampler ddim --count 1000   a quick look\n"
      "  denoise-eval --sampler ddim,dpm_solver_pp_2m --steps 10,20,50 --seeds 3\n"
      "                                           which sampler, how many steps\n"
      "  denoise-eval --checkpoint a/best.pt,b/best.pt --sampler ddim --seeds 3\n"
      "                                           which checkpoint\n"
      "  denoise-eval --reference test --seeds 3  a claim, when all choices are made\n"
      "  denoise-eval --train_on eval             what a classifier learns from them\n"
      "  denoise-eval --train_judges --judges judges --data letters --noverify_data\n"
      "                                           judges of one's own data\n"
      "Exit status: 0 done, 1 an error, told on stderr, 2 a wrong flag,\n"
      "130 interrupted.");
  AddOptions(app, flags);
  if (const std::optional<int> code = ParseCommandLine(app, argc, argv)) return *code;
  if (flags.train_judges) return TrainJudges(flags);
  const absl::Status status = flags.train_on.empty() ? Score(flags) : TrainOnDrawn(flags);
  if (absl::IsCancelled(status)) {
    ClearProgress();
    absl::FPrintF(stderr, "%s\n", status.message());
    return kInterrupted;
  }
  return status.ok() ? EXIT_SUCCESS : Fail(status);
}

}  // namespace
}  // namespace denoised

int main(int argc, char** argv) { return denoised::FinishOutput("denoise-eval", denoised::Main(argc, argv)); }
