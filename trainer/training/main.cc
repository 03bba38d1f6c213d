// denoise-train: learns a model from MNIST and writes checkpoints. See --help.
#include <signal.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/checkpoint/add_golden_draw.h"
#include "common/command_line/command_line.h"
#include "common/command_line/progress_bar.h"
#include "common/command_line/standard_output.h"
#include "common/support/clock.h"
#include "common/support/quoted.h"
#include "common/support/signal_queue.h"
#include "common/support/status_macros.h"
#include "trainer/data/training_set.h"
#include "trainer/training/amend_checkpoint.h"
#include "trainer/training/run_folder.h"
#include "trainer/training/train.h"
#include "trainer/training/training_options.h"

namespace denoised {
namespace {

constexpr int kInterrupted = 130;  // as shells have it

struct Flags {
  std::string data = "data";
  bool verify_data = true;
  std::string class_names;
  std::string architecture = "compact";
  std::string prediction_type = PredictionTypeName(NoiseScheduleConfig{}.prediction_type);
  std::string add_golden_draw;
  std::vector<std::string> add_evaluation;
  std::string to;
};

void AddDataOptions(CLI::App& app, Flags& flags, TrainingOptions& options) {
  app.add_option("--data", flags.data,
                 "Folder with MNIST's IDX files, gzipped or not, or others of that format; or with a folder of PNGs "
                 "for each class");
  app.add_flag("--verify_data,!--noverify_data", flags.verify_data,
               "Check IDX files against MNIST's SHA-256 sums; not for one's own data");
  app.add_option(
      "--class_names", flags.class_names,
      "Names of the classes, that of label 0 first, with commas between them; none: those in class_names.txt in "
      "--data, a line each, or numbers, or the folders' names");
  app.add_option("--out", options.out,
                 "Folder for best.pt, last.pt, state.pt, log.jsonl, steps.jsonl, loss.png, samples.png");
  app.add_option("--init", options.init,
                 "Checkpoint whose weights to begin with; the network may be larger, of whole multiples of its "
                 "--channels, or of more --blocks; none: random ones");
  CLI::Option* distill = app.add_option(
      "--distill", options.distill,
      "Checkpoint of a teacher: trains a student, which begins with its weights, to draw in --student_steps "
      "what it draws in --teacher_steps; needs --prediction_type v_prediction");
  app.add_option("--student_steps", options.student_steps, "Steps of DDIM in which alone a student draws")
      ->needs(distill);
  app.add_option("--teacher_steps", options.teacher_steps,
                 "Steps of DPM-Solver++(2M) that its teacher takes, a multiple of those; of a student as a teacher all "
                 "of its own")
      ->needs(distill);
}

void AddNetworkOptions(CLI::App& app, Flags& flags, TrainingOptions& options) {
  app.add_option("--arch", flags.architecture,
                 "Network and its recipe: compact, or seed with the original's own recipe");
  app.add_option("--channels", options.unet.channels,
                 "Channels at each resolution, finest first, such as 48,96,128; multiples of 8")
      ->delimiter(',');
  app.add_option("--blocks", options.unet.blocks,
                 "Residual blocks at each resolution, on the way down and again on the way up, such as 2,2,1; 1 to 8, "
                 "of compact alone")
      ->delimiter(',');
  app.add_option("--prediction_type", flags.prediction_type,
                 "What the network learns: epsilon (noise) or v_prediction");
  app.add_option("--beta_schedule", options.schedule.beta_schedule, "Noise schedule: linear or squaredcos_cap_v2");
  app.add_option("--min_snr_gamma", options.min_snr_gamma, "Min-SNR weighting of the loss, usually 5; 0: none");
  app.add_option("--model_guidance", options.model_guidance,
                 "Guidance scale learnt into the labelled prediction, for digits at no second network call; 1: none");
  app.add_option("--model_guidance_below", options.model_guidance_below,
                 "Timestep below which alone --model_guidance guides, as above it guidance costs variety; 0: all");
  app.add_option("--model_guidance_from", options.model_guidance_from,
                 "Timestep from which on alone it guides, as below it guidance sharpens what is decided; 0: all");
}

void AddOptimizerOptions(CLI::App& app, TrainingOptions& options) {
  app.add_option("--epochs", options.epochs, "Passes over the data, at most");
  app.add_option("--patience", options.patience, "Epochs without a new lowest mean loss before training stops");
  app.add_option("--batch_size", options.batch_size, "Images at once, in each process");
  app.add_option("--accumulate", options.accumulate,
                 "Batches whose gradients make one optimizer step, which so learns from more images than memory holds");
  app.add_flag("--keep_last_batch,!--nokeep_last_batch", options.keep_last_batch,
               "An epoch's images that do not fill its last batch are one all the same");
  app.add_option("--max_steps", options.max_steps,
                 "Optimizer steps after which training ends, as does the cosine; 0: when the epochs are done");
  app.add_option("--learning_rate", options.learning_rate, "Highest learning rate");
  app.add_option("--weight_decay", options.weight_decay, "AdamW's weight decay; 0 makes it Adam");
  app.add_flag("--cosine,!--nocosine", options.cosine, "Learning rate: a half cosine to 0; else constant");
  app.add_option("--warmup_steps", options.warmup_steps, "Steps in which the learning rate rises from 0");
  app.add_option("--clip_norm", options.clip_norm, "Largest gradient norm; 0: no clipping");
  app.add_option("--ema_decay", options.ema_decay,
                 "Decay of the averaged weights that are saved; 0: save the raw ones");
  app.add_option("--label_dropout", options.label_dropout,
                 "Share of labels hidden in training, so that guidance works");
}

// Where a run computes, what it writes, and when it stops or goes on.
void AddRunOptions(CLI::App& app, Flags& flags, TrainingOptions& options) {
  app.add_option("--validation_images", options.validation_images,
                 "Images held out of training, by whose loss best.pt is chosen; 0: by the loss of training");
  app.add_option("--seed", options.seed, "Seed of all random numbers");
  app.add_option("--device", options.device, "Where to train: auto, cpu, cuda or cuda:N");
  app.add_option("--precision", options.precision, "fp32, or on CUDA bf16: autocast to bfloat16");
  app.add_option("--threads", options.threads,
                 "Worker threads on the CPU; 0: one per core, or as many as the run that is resumed had")
      ->check(CLI::Range(0, kMaxThreads));
  app.add_option("--max_bad_batches", options.max_bad_batches,
                 "Batches in a row, left out as their loss or gradient is not a finite number, until training stops");
  app.add_option("--sample_every", options.sample_every, "Epochs between sample grids; 0: none");
  app.add_option("--checkpoint_every", options.checkpoint_every_seconds,
                 "Seconds between writes of last.pt within an epoch, which can be served; 0: only after each epoch");
  app.add_option("--report_every", options.report_every_seconds,
                 "Seconds between lines on stderr within an epoch where it is no terminal; 0: none");
  app.add_option("--save_every", options.save_every_seconds,
                 "Seconds between saves of state.pt within an epoch; 0: only after each epoch");
  app.add_flag(
      "--step_log,!--nostep_log", options.step_log,
      "Loss, gradient norm, rate and speed of each step: steps.jsonl, steps.csv, an event file for TensorBoard");
  app.add_flag("--release", options.release,
               "Refuse to train by a build whose sources are in no commit, so that the checkpoint can be made again");
  app.add_flag("--resume", options.resume, "Go on from state.pt in --out");
  app.add_option(
      "--add_golden_draw", flags.add_golden_draw,
      "Instead of training: draw a few images with this checkpoint, which then carries them, so that servers can "
      "tell whether they draw the same");
  app.add_option(
      "--black_below", options.black_below,
      "Grey levels, of 255, below which pixels of what is drawn are black, as networks leave a grain where data are "
      "black; 0: none. With --to: set in that checkpoint, instead of training");
  auto* to = app.add_option("--to", flags.to, "Checkpoint that --add_evaluation or --black_below is for");
  app.add_option("--add_evaluation", flags.add_evaluation,
                 "Instead of training: keep the figures of these files, denoise-eval's seeds.json, in the checkpoint "
                 "named by --to, which they are of")
      ->delimiter(',')
      ->needs(to);
}

void AddOptions(CLI::App& app, Flags& flags, TrainingOptions& options) {
  app.option_defaults()->always_capture_default();
  app.set_config("--config", "", "File of flags, as in epochs = 20, a line each (TOML); the command line wins over it");
  app.allow_config_extras(CLI::config_extras_mode::error);
  AddDataOptions(app, flags, options);
  AddNetworkOptions(app, flags, options);
  AddOptimizerOptions(app, options);
  AddRunOptions(app, flags, options);
}

absl::Status AddGoldenDrawTo(const std::string& checkpoint) {
  DENOISED_RETURN_IF_ERROR(AddGoldenDraw(checkpoint));
  absl::PrintF("%s: now carries what its network draws here\n", checkpoint);
  return absl::OkStatus();
}

absl::Status AddEvaluationsTo(const std::string& checkpoint, const std::vector<std::string>& files) {
  DENOISED_RETURN_IF_ERROR(AddEvaluations(checkpoint, files));
  absl::PrintF("%s: now carries the figures of %s\n", checkpoint, absl::StrJoin(files, ", "));
  return absl::OkStatus();
}

absl::Status SetBlackBelowOf(const std::string& checkpoint, int level) {
  if (level < 0 || level > kMostBlackBelow) {
    return absl::InvalidArgumentError(absl::StrFormat("--black_below must be 0 to %d", kMostBlackBelow));
  }
  DENOISED_RETURN_IF_ERROR(SetBlackBelow(checkpoint, level));
  const std::string what =
      level == 0 ? "no pixels are made black any more" : absl::StrFormat("pixels below %d of 255 are now black", level);
  absl::PrintF("%s: %s; figures that it had are gone\n", checkpoint, what);
  return absl::OkStatus();
}

void ReportBest(const TrainingSummary& summary, const TrainingOptions& options) {
  absl::PrintF("%s: best %s %.5f in epoch %d of %d, %d images in %s, and %s for files and pictures%s\n",
               summary.checkpoint, options.validation_images > 0 ? "validation loss" : "loss", summary.best_loss,
               summary.best_epoch, summary.epochs, summary.images_seen, FormatDuration(summary.seconds),
               FormatDuration(summary.other_seconds), summary.stopped_early ? "; stopped early" : "");
}

void Report(const TrainingSummary& summary, const TrainingOptions& options) {
  const TrainingFiles files(options.out);
  if (summary.interrupted) {
    absl::FPrintF(stderr, "stopped in epoch %d; everything is saved, and the same command with --resume goes on\n",
                  summary.epochs + 1);
    if (!summary.checkpoint.empty()) {
      absl::PrintF("Serve what it has learnt:  denoised --checkpoint %s\n", summary.checkpoint);
    }
    return;
  }
  if (summary.best_epoch == 0) {
    absl::PrintF(
        "%s: no epoch is the best, as each ended in batches that were left out; a new run with a lower "
        "--learning_rate may do better\n",
        summary.checkpoint);
  } else {
    ReportBest(summary, options);
  }
  absl::PrintF("Serve it:  denoised --checkpoint %s\n", summary.checkpoint);
  absl::PrintF("Look at:   %s%s\n", files.loss_plot,
               RunFolder(options.out).HasSamples() ? absl::StrCat(", ", files.samples) : "");
}

// The architecture decides the defaults of the other flags, so it is read first, from a file of flags too.
absl::StatusOr<TrainingOptions> RecipeFromArguments(int argc, char** argv) {
  CLI::App probe;
  std::string architecture = "compact";
  probe.add_option("--arch", architecture);
  probe.set_config("--config");
  probe.allow_config_extras(CLI::config_extras_mode::ignore);
  probe.allow_extras();
  probe.set_help_flag();
  try {
    probe.parse(argc, argv);
  } catch (const CLI::ParseError&) {
    // The real parser reports it.
  }
  return DefaultTrainingOptions(architecture);
}

bool IsIgnored(int number) {
  struct sigaction action {};
  return sigaction(number, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

// The exit status of a run that ended well, or was stopped.
absl::StatusOr<int> Learn(const Flags& flags, TrainingOptions options) {
  // A wrong flag is told before the data are read, and to other processes as data that cannot be read are.
  const absl::Status valid = ValidateTrainingOptions(options, kAnyImages);
  const absl::StatusOr<Dataset> data =
      valid.ok()
          ? LoadTrainingSet(flags.data, {.verify_checksums = flags.verify_data, .class_names = flags.class_names})
          : valid;
  // A terminal that closes stops it as Ctrl-C does, unless nohup says otherwise. A third Ctrl-C ends it whatever it
  // waits for; not the second, which torchrun sends after the terminal's own.
  SignalQueue signals = IsIgnored(SIGHUP) ? SignalQueue({SIGINT, SIGTERM}) : SignalQueue({SIGINT, SIGTERM, SIGHUP});
  signals.EndAtOnceAfter(2);
  signal(SIGPIPE, SIG_IGN);  // whoever reads what is reported may go
  options.stop_requested = [&signals] { return signals.WaitFor(std::chrono::milliseconds(0)).has_value(); };
  DENOISED_ASSIGN_OR_RETURN(const TrainingSummary summary, Train(data, options));
  if (summary.writes_files) Report(summary, options);
  return summary.interrupted ? kInterrupted : EXIT_SUCCESS;
}

// What changes a checkpoint, in the place of a training, and the flags that this takes.
struct Amendment {
  std::set<std::string> flags;
  std::function<absl::Status()> make;
};

// None: a training is meant. What is returned refers to both arguments.
std::optional<Amendment> AmendmentOf(const Flags& flags, const TrainingOptions& options) {
  if (!flags.add_golden_draw.empty()) {
    return Amendment{{"--add_golden_draw"}, [&flags] { return AddGoldenDrawTo(flags.add_golden_draw); }};
  }
  if (!flags.add_evaluation.empty()) {
    return Amendment{{"--add_evaluation", "--to"},
                     [&flags] { return AddEvaluationsTo(flags.to, flags.add_evaluation); }};
  }
  if (flags.to.empty()) return std::nullopt;
  return Amendment{{"--black_below", "--to"}, [&] { return SetBlackBelowOf(flags.to, options.black_below); }};
}

// A flag of a training is refused: the command may have been meant as one.
absl::Status Make(const Amendment& amendment, const std::set<std::string>& typed) {
  for (const std::string& flag : typed) {
    if (amendment.flags.contains(flag)) continue;
    return absl::InvalidArgumentError(absl::StrCat(flag, " does not go with ", *amendment.flags.begin(),
                                                   ", which changes a checkpoint and trains nothing: leave one out"));
  }
  if (typed.contains("--to") && typed.size() == 1) {
    return absl::InvalidArgumentError(
        absl::StrFormat("--to needs --add_evaluation, or --black_below with 0 to %d", kMostBlackBelow));
  }
  return amendment.make();
}

absl::StatusOr<int> Run(const Flags& flags, TrainingOptions options, const std::set<std::string>& typed) {
  if (const std::optional<Amendment> amendment = AmendmentOf(flags, options); amendment.has_value()) {
    DENOISED_RETURN_IF_ERROR(Make(*amendment, typed));
    return EXIT_SUCCESS;
  }
  const absl::StatusOr<PredictionType> prediction_type = ParsePredictionType(flags.prediction_type);
  if (!prediction_type.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("--", prediction_type.status().message()));
  }
  options.schedule.prediction_type = *prediction_type;
  return Learn(flags, std::move(options));
}

int Main(int argc, char** argv) {
  const absl::StatusOr<TrainingOptions> recipe = RecipeFromArguments(argc, argv);
  TrainingOptions options = recipe.value_or(TrainingOptions{});
  Flags flags;
  CLI::App app(
      "Learns to draw MNIST's digits, or images of one's own, and writes TorchScript checkpoints for denoised.",
      "denoise-train");
  app.footer("Exit status: 0 done, 1 an error, told on stderr, 2 a wrong flag,\n130 interrupted.");
  AddOptions(app, flags, options);
  const std::set<std::string> typed = TypedOptions(app, argc, argv);
  if (const std::optional<int> code = ParseCommandLine(app, argc, argv)) return *code;
  options.command = Visible(absl::StrJoin(argv + 1, argv + argc, " "));  // JSON has no other bytes
  const absl::StatusOr<int> code = recipe.ok() ? Run(flags, std::move(options), typed) : recipe.status();
  if (code.ok()) return *code;
  ClearProgress();
  return ReportError("denoise-train", code.status(), OriginsOf(app, typed));
}

}  // namespace
}  // namespace denoised

int main(int argc, char** argv) { return denoised::FinishOutput("denoise-train", denoised::Main(argc, argv)); }
