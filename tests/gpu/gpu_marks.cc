// What the CUDA engine does on this machine's GPU, as a table and, with --out, as JSON:
//
//   gpu_marks [--checkpoint FILE] [--out FILE] [--quick] [--profile IMAGES]
//
// A step of 1 to 1024 images in fp16 and fp32, guided, with frames; and whole chains of 1000 steps. Medians over
// rounds, in which all sizes take turns, so that a clock that rises or falls meets all of them alike.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/diffusion/engine.h"
#include "common/diffusion/noise_schedule.h"
#include "common/diffusion/step_plan.h"
#include "common/engine/cuda/cuda_engine.h"
#include "common/engine/cuda/network_program.h"
#include "common/engine/make_engine.h"
#include "common/image/image.h"
#include "common/weights/plain_checkpoint.h"

namespace denoised {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;

constexpr int kSteps = 1000;

struct Options {
  std::string checkpoint = DENOISED_SOURCE_DIR "/models/mnist.pt";
  std::string out;
  bool quick = false;
  int profile = 0;
  std::vector<std::string> precisions = {"fp16", "fp32"};
};

template <typename T>
T OrDie(absl::StatusOr<T> value) {
  if (value.ok()) return *std::move(value);
  std::fprintf(stderr, "gpu_marks: %s\n", std::string(value.status().message()).c_str());
  std::exit(EXIT_FAILURE);
}

void OrDie(const absl::Status& status) { OrDie(status.ok() ? absl::StatusOr<int>(0) : absl::StatusOr<int>(status)); }

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Multiplications and additions of the convolutions for one network row.
double OperationsPerRow(const PlainCheckpoint& checkpoint) {
  const NetworkProgram program =
      OrDie(CompileNetwork(OrDie(MakeUnetWeights(checkpoint.metadata.unet, checkpoint.tensors,
                                                 checkpoint.metadata.noise_schedule.num_train_timesteps)),
                           Precision::kFp16));
  double total = 0;
  for (const Operation& operation : program.operations) {
    if (operation.kind != Operation::Kind::kConvolve) continue;
    total += 2.0 * (1 << 2 * operation.log2_size) * operation.kernel_size * operation.kernel_size *
             (operation.a.channels + operation.b.channels) * operation.out_channels;
  }
  return total;
}

// One thing that is measured again and again.
struct Case {
  std::string name;
  int images = 1;
  int guided = 0;        // of the images
  int frames = 0;        // read after each step
  bool by_step = false;  // one call for each step, even if the engine could do several at once
  std::vector<double> seconds = {}, kernel_seconds = {};  // of a step, by round
};

class Marks {
 public:
  Marks(const PlainCheckpoint& checkpoint, Engine& engine)
      : engine_(engine),
        plan_(
            OrDie(MakeStepPlan(OrDie(NoiseSchedule::Create(checkpoint.metadata.noise_schedule)), {.steps = kSteps}))) {}

  void Measure(Case& what, int steps) {
    const std::vector<StepRow> rows = Rows(what);
    Run(what, rows, 3);
    const double kernel = engine_.network_seconds();
    const Clock::time_point start = Clock::now();
    Run(what, rows, steps);
    what.seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count() / steps);
    what.kernel_seconds.push_back((engine_.network_seconds() - kernel) / steps);
  }

 private:
  std::vector<StepRow> Rows(const Case& what) const {
    std::vector<StepRow> rows;
    for (int slot = 0; slot < what.images; ++slot) {
      rows.push_back({.slot = slot,
                      .plan = &plan_,
                      .label = slot % 10,
                      .guidance_scale = slot < what.guided ? 2.0f : 1,
                      .seed = static_cast<uint64_t>(slot)});
    }
    return rows;
  }

  void Run(const Case& what, std::vector<StepRow> rows, int steps) {
    const bool single = what.by_step || what.frames > 0;
    const int at_once = single ? 1 : engine_.StepsAtOnce(what.images + what.guided);
    for (int i = 0, count = 0; i < steps; i += count) {
      count = std::min({at_once, steps - i, kSteps - i % kSteps});
      for (StepRow& row : rows) row.step = i % kSteps;
      OrDie(engine_.Steps(rows, count));
      std::vector<WantedFrame> frames;
      for (int slot = 0; slot < what.frames; ++slot) frames.push_back({slot, FrameKind::kPredictedClean});
      engine_.Prefetch(frames);
      for (const WantedFrame& frame : frames) OrDie(engine_.Read(frame.slot, frame.kind, absl::MakeSpan(frame_)));
    }
  }

  Engine& engine_;
  const StepPlan plan_;
  std::vector<float> frame_ = std::vector<float>(kModelPixels);
};

std::vector<Case> Cases(bool quick) {
  if (quick) return {{"1", 1}, {"8", 8}};
  std::vector<Case> cases;
  for (const int images : {1, 2, 8, 32, 64, 128, 132, 256, 264, 512, 528, 1024}) {
    cases.push_back({std::to_string(images), images});
  }
  cases.push_back({"1 step by step", 1, 0, 0, true});
  cases.push_back({"256 step by step", 256, 0, 0, true});
  cases.push_back({"1 guided", 1, 1});
  cases.push_back({"256, 1 guided", 256, 1});
  cases.push_back({"256 guided", 256, 256});
  cases.push_back({"1 with its frame", 1, 0, 1});
  cases.push_back({"256 with 16 frames", 256, 0, 16});
  cases.push_back({"256 with 256 frames", 256, 0, 256});
  return cases;
}

const Case& Find(const std::vector<Case>& cases, const std::string& name) {
  return *std::find_if(cases.begin(), cases.end(), [&](const Case& each) { return each.name == name; });
}

void PrintMarks(const std::vector<Case>& cases) {
  const double alone = kSteps * Median(Find(cases, "1").seconds);
  double most = 0;
  int images = 0;
  for (const Case& each : cases) {
    if (each.guided > 0 || each.frames > 0 || each.by_step) continue;
    const double rate = each.images / (kSteps * Median(each.seconds));
    if (rate <= most) continue;
    most = rate;
    images = each.images;
  }
  std::printf("a 1000-step digit alone: %.4f s  wanted at most 0.15: %s\n", alone, alone <= 0.15 ? "met" : "MISSED");
  std::printf("1000-step digits a second, %d at once: %.0f  wanted at least 1000: %s\n", images, most,
              most >= 1000 ? "met" : "MISSED");
}

Json ToJson(const Case& each) {
  return {{"name", each.name},     {"images", each.images},   {"guided", each.guided},
          {"frames", each.frames}, {"seconds", each.seconds}, {"kernel_seconds", each.kernel_seconds}};
}

void Run(const Options& options) {
  const PlainCheckpoint checkpoint = OrDie(LoadPlainCheckpoint(options.checkpoint));
  const double operations = OperationsPerRow(checkpoint);
  Json report = {{"checkpoint", checkpoint.sha256}, {"operations_per_row", operations}, {"engines", Json::array()}};
  for (const std::string& name : options.precisions) {
    const Precision precision = ParsePrecision(name);
    std::vector<Case> cases = Cases(options.quick);
    if (options.profile > 0) cases = {{.name = "profiled", .images = options.profile, .by_step = true}};
    int slots = 0;
    for (const Case& each : cases) slots = std::max(slots, each.images);
    const std::unique_ptr<Engine> engine =
        OrDie(MakeEngine(checkpoint, {.device = "cuda:0", .num_slots = slots, .precision = precision}));
    Marks marks(checkpoint, *engine);
    const int rounds = options.quick || options.profile > 0 ? 1 : 5, most_steps = options.quick ? 10 : 100;
    for (int round = 0; round < rounds; ++round) {
      for (Case& each : cases) marks.Measure(each, each.images == 1 ? 4 * most_steps : most_steps);
    }
    std::printf("\n%s\na network row takes %.4f GFLOP\n", engine->Description().c_str(), operations * 1e-9);
    std::printf("%20s %12s %12s %10s %20s %10s\n", "images", "ms a step", "in kernel", "spread", "1000-step digits/s",
                "TFLOP/s");
    for (const Case& each : cases) {
      const double seconds = Median(each.seconds), kernel = Median(each.kernel_seconds);
      const auto [least, most] = std::minmax_element(each.seconds.begin(), each.seconds.end());
      std::printf("%20s %12.4f %12.4f %9.1f%% %20.1f %10.1f\n", each.name.c_str(), 1e3 * seconds, 1e3 * kernel,
                  100 * (*most - *least) / seconds, each.images / (seconds * kSteps),
                  (each.images + each.guided) * operations / seconds * 1e-12);
    }
    Json engine_report = {
        {"precision", PrecisionName(precision)}, {"description", engine->Description()}, {"cases", Json::array()}};
    for (const Case& each : cases) engine_report["cases"].push_back(ToJson(each));
    report["engines"].push_back(engine_report);
    if (options.profile > 0) break;
    if (precision == Precision::kFp16) PrintMarks(cases);
    std::fflush(stdout);
  }
  if (options.out.empty()) return;
  std::ofstream file(options.out);
  file << report.dump(1) << "\n";
  if (!file.flush()) OrDie(absl::InternalError("cannot write " + options.out));
}

}  // namespace
}  // namespace denoised

int main(int argc, char** argv) {
  denoised::Options options;
  CLI::App app("Measures the CUDA engine on this machine's GPU.");
  app.add_option("--checkpoint", options.checkpoint, "The model")->capture_default_str();
  app.add_option("--out", options.out, "A file for all figures, as JSON");
  app.add_flag("--quick", options.quick, "A few steps, to see that it runs");
  app.add_option("--profile", options.profile, "Only steps of so many images in fp16, for a profiler");
  app.add_option("--precision", options.precisions, "fp16, fp32 or both")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  if (denoised::CudaDeviceCount() == 0) {
    std::fprintf(stderr, "gpu_marks: no CUDA device is usable here; nothing was measured\n");
    return 77;
  }
  denoised::Run(options);
}
