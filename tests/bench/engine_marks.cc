// The engine against the plain ways, as ratios measured in turns in one run, because a shared machine's speed comes and
// goes:
//
//   engine_marks [rounds]
//
// The eager loop is what a user of LibTorch writes first: the network called operator by operator, the update as tensor
// arithmetic, noise from torch::randn; with one thread, with all, and with OpenBLAS's threads beside LibTorch's, of
// which the fastest counts.
#include <ATen/Parallel.h>
#include <dlfcn.h>
#include <torch/torch.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/checkpoint/checkpoint.h"
#include "common/checkpoint/unet.h"
#include "common/engine/device.h"
#include "common/engine/make_engine.h"
#include "common/support/available_cores.h"
#include "tests/bench/machine.h"
#include "tests/bench/matrix_rate.h"

namespace denoised {
namespace {

constexpr int kSaturated = 32;  // rows
constexpr int kServed = 4;      // rows of a step that the scheduler makes on a few cores

Checkpoint Seed() {
  ModelMetadata metadata;
  metadata.unet = SeedUnetConfig();
  return OrDie(ParseCheckpoint("seed", OrDie(SerializeCheckpoint(metadata, MakeUnet(metadata.unet)))));
}

void SetOpenBlasThreads(int threads) {
  using SetThreads = void (*)(int);
  if (const auto set = reinterpret_cast<SetThreads>(dlsym(RTLD_DEFAULT, "openblas_set_num_threads"))) set(threads);
}

// Seconds a step of the eager loop, on a thread of its own, whose settings it may change.
double EagerStep(const Checkpoint& checkpoint, const StepPlan& plan, int threads, int blas_threads) {
  constexpr int kWarm = 5, kTimed = 20;
  double seconds = 0;
  std::thread([&] {
    at::set_num_threads(threads);
    SetOpenBlasThreads(blas_threads);
    const torch::NoGradGuard no_grad;
    torch::jit::Module unet = checkpoint.unet;
    at::Tensor x = torch::randn({1, 1, kModelSize, kModelSize});
    const at::Tensor y = torch::full({1}, 7, torch::kInt64);
    BenchClock::time_point start;
    for (int i = 0; i < kWarm + kTimed; ++i) {
      if (i == kWarm) start = BenchClock::now();
      const StepCoefficients& row = plan[i];
      const at::Tensor e = unet.forward({x, torch::full({1}, row.timestep, torch::kInt64), y}).toTensor();
      const at::Tensor x0 = (row.p * x + row.q * e).clamp(-1, 1);
      x = row.a * x + row.b * x0 + row.d * torch::randn_like(x);
    }
    seconds = SecondsSince(start) / kTimed;
  }).join();
  return seconds;
}

// An engine with `rows` images in the making.
class Drawing {
 public:
  Drawing(const Checkpoint& checkpoint, Precision precision, int rows, int threads = 0)
      : plan_(*MakeStepPlan(*NoiseSchedule::Create({}), {})),
        engine_(OrDie(MakeEngine(
            Plain(checkpoint), {.device = "cpu", .num_slots = rows, .num_threads = threads, .precision = precision}))) {
    for (int slot = 0; slot < rows; ++slot) rows_.push_back({.slot = slot, .plan = &plan_});
  }

  // Seconds a step; all within about half a second.
  double Step() {
    RunOnce();
    const BenchClock::time_point start = BenchClock::now();
    const double network = engine_->network_seconds();
    int steps = 0;
    for (; SecondsSince(start) < 0.5; ++steps) RunOnce();
    const double seconds = SecondsSince(start);
    outside_network_ = 1 - (engine_->network_seconds() - network) / seconds;
    return seconds / steps;
  }

  double outside_network() const { return outside_network_; }  // share of the last Step

 private:
  void RunOnce() {
    for (StepRow& row : rows_) row.step = step_;
    step_ = (step_ + 1) % static_cast<int>(plan_.size());
    if (const absl::Status status = engine_->Step(rows_); !status.ok()) OrDie(absl::StatusOr<int>(status));
  }

  const StepPlan plan_;
  const std::unique_ptr<Engine> engine_;
  std::vector<StepRow> rows_;
  int step_ = 0;
  double outside_network_ = 0;
};

// Values of one figure over the rounds.
class Figures {
 public:
  void Add(const std::string& name, double value) { values_[name].push_back(value); }

  double Median(const std::string& name) const { return Sorted(name)[values_.at(name).size() / 2]; }

  // Those that begin so.
  std::vector<std::string> Names(const std::string& begin) const {
    std::vector<std::string> names;
    for (const auto& [name, values] : values_) {
      if (name.substr(0, begin.size()) == begin) names.push_back(name);
    }
    return names;
  }

  // A line: the median, the spread, and what is wanted of it, if anything.
  void Print(const std::string& name, const char* format, const char* wanted = "", bool met = true) const {
    const std::vector<double> sorted = Sorted(name);
    char median[32], lowest[32], highest[32];
    std::snprintf(median, sizeof median, format, Median(name));
    std::snprintf(lowest, sizeof lowest, format, sorted.front());
    std::snprintf(highest, sizeof highest, format, sorted.back());
    std::printf("%-68s %9s  (%s to %s)  %s%s\n", name.c_str(), median, lowest, highest, wanted,
                *wanted == 0 ? "" : (met ? ": met" : ": MISSED"));
  }
  void AtLeast(const std::string& name, double mark) const {
    char wanted[32];
    std::snprintf(wanted, sizeof wanted, "at least %.2f", mark);
    Print(name, "%.2f", wanted, Median(name) >= mark);
  }
  void AtMost(const std::string& name, double mark) const {
    char wanted[32];
    std::snprintf(wanted, sizeof wanted, "at most %.2f", mark);
    Print(name, "%.3f", wanted, Median(name) <= mark);
  }

 private:
  std::vector<double> Sorted(const std::string& name) const {
    std::vector<double> sorted = values_.at(name);
    std::sort(sorted.begin(), sorted.end());
    return sorted;
  }

  std::map<std::string, std::vector<double>> values_;
};

// Seconds a step of the fastest of the eager loops.
double BestEagerStep(const Checkpoint& seed, const StepPlan& plan, int cores, Figures& figures) {
  double best = EagerStep(seed, plan, 1, 1);
  figures.Add("seed, eager loop, 1 thread: ms a step", 1e3 * best);
  for (const int blas_threads : {1, cores}) {
    const double seconds = EagerStep(seed, plan, cores, blas_threads);
    figures.Add(blas_threads == 1 ? "seed, eager loop, all threads: ms a step"
                                  : "seed, eager loop, all threads, OpenBLAS's too: ms a step",
                1e3 * seconds);
    best = std::min(best, seconds);
  }
  return best;
}

// The best of them.
double AddRates(const MatrixRate& rate, Precision precision, Figures& figures) {
  for (const auto& [name, value] : rate.by) {
    figures.Add(absl::StrCat("GFLOP/s, ", PrecisionName(precision), " on all cores, by ", name), 1e-9 * value);
  }
  return rate.best();
}

void PrintAgainstMarks(const Figures& figures) {
  for (const char* name : {"seed, eager loop, 1 thread: ms a step", "seed, eager loop, all threads: ms a step",
                           "seed, eager loop, all threads, OpenBLAS's too: ms a step", "seed, one image: ms a step",
                           "shipped, fp32, one image: ms a step", "shipped, as served, one image: ms a step",
                           "shipped, fp32, 32 images: ms a row", "shipped, as served, 32 images: ms a row",
                           "shipped, as served, 4 images: CPU us a row outside the network"}) {
    figures.Print(name, "%.3g");
  }
  for (const std::string& name : figures.Names("GFLOP/s, ")) figures.Print(name, "%.0f");
  for (const char* what : {"seed", "shipped, fp32", "shipped, as served"}) {
    figures.AtLeast(absl::StrCat(what, ", 32 images: share of the matrix rate"), 0.80);
  }
  figures.AtLeast("seed, one image: times the best eager loop", 1.5);
  figures.AtLeast("shipped, fp32, one image: times the best eager loop of seed", 8);
  figures.AtLeast("shipped, as served, one image: times the same", 8);
  figures.AtMost("shipped, as served, 32 images: share of time outside the network", 0.05);
  figures.AtMost("seed, 32 images: share of time outside the network", 0.05);
}

void Run(int rounds) {
  torch::jit::setGraphExecutorOptimize(false);  // operator by operator
  const Checkpoint shipped = OrDie(LoadCheckpoint(DENOISED_SOURCE_DIR "/models/mnist.pt")), seed = Seed();
  const StepPlan plan = *MakeStepPlan(*NoiseSchedule::Create({}), {});
  const int cores = AvailableCores();
  MatrixRates matrix_rates(cores);
  constexpr Precision kFp32 = Precision::kFp32, kAuto = Precision::kAuto;  // the server's
  Drawing shipped_one(shipped, kFp32, 1), shipped_many(shipped, kFp32, kSaturated);
  Drawing seed_one(seed, kFp32, 1), seed_many(seed, kFp32, kSaturated);
  Drawing served_one(shipped, kAuto, 1), served_many(shipped, kAuto, kSaturated);
  Drawing served_one_thread(shipped, kAuto, kServed, /*threads=*/1);  // which waits for no other
  const Precision serving = OrDie(ResolvePrecision(kAuto, "cpu"));
  const std::string served = PrecisionName(serving);
  const double seed_operations = OperationsPerRow(seed.unet), shipped_operations = OperationsPerRow(shipped.unet);
  std::printf(
      "%d cores, LibTorch %s; a network row takes %.3f GFLOP (shipped) and %.3f GFLOP (seed).\n"
      "Seed's in fp32; as served: in %s. Shares are of the matrix rate in the same precision: the best there is.\n",
      cores, TORCH_VERSION, shipped_operations * 1e-9, seed_operations * 1e-9, served.c_str());
  Figures figures;
  for (int round = 0; round < rounds; ++round) {
    const double eager = BestEagerStep(seed, plan, cores, figures);
    const double one = seed_one.Step(), shipped_step = shipped_one.Step(), served_step = served_one.Step();
    figures.Add("seed, one image: ms a step", 1e3 * one);
    figures.Add("shipped, fp32, one image: ms a step", 1e3 * shipped_step);
    figures.Add("shipped, as served, one image: ms a step", 1e3 * served_step);
    figures.Add("seed, one image: times the best eager loop", eager / one);
    figures.Add("shipped, fp32, one image: times the best eager loop of seed", eager / shipped_step);
    figures.Add("shipped, as served, one image: times the same", eager / served_step);
    const double many = seed_many.Step();
    const double fp32_rate = AddRates(matrix_rates.Measure(kFp32), kFp32, figures);
    const double shipped_saturated = shipped_many.Step(), served_saturated = served_many.Step();
    const double served_rate = serving == kFp32 ? fp32_rate : AddRates(matrix_rates.Measure(serving), serving, figures);
    figures.Add("seed, 32 images: share of the matrix rate", kSaturated * seed_operations / many / fp32_rate);
    figures.Add("shipped, fp32, 32 images: share of the matrix rate",
                kSaturated * shipped_operations / shipped_saturated / fp32_rate);
    figures.Add("shipped, as served, 32 images: share of the matrix rate",
                kSaturated * shipped_operations / served_saturated / served_rate);
    figures.Add("shipped, fp32, 32 images: ms a row", 1e3 * shipped_saturated / kSaturated);
    figures.Add("shipped, as served, 32 images: ms a row", 1e3 * served_saturated / kSaturated);
    figures.Add("shipped, as served, 32 images: share of time outside the network", served_many.outside_network());
    figures.Add("seed, 32 images: share of time outside the network", seed_many.outside_network());
    const double one_thread = served_one_thread.Step();
    figures.Add("shipped, as served, 4 images: CPU us a row outside the network",
                1e6 * one_thread * served_one_thread.outside_network() / kServed);
  }
  PrintAgainstMarks(figures);
}

}  // namespace
}  // namespace denoised

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 7;
  if (rounds < 1) {
    std::fprintf(stderr, "usage: engine_marks [rounds, at least 1]\n");
    return EXIT_FAILURE;
  }
  denoised::Run(rounds);
}
