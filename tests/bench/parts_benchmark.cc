// The parts of a digit, timed one by one: noise, row update, PNG, and a step of the engine by its rows, with the share
// of the machine's matrix rate in the same precision that it reaches. Run with --benchmark_filter=Step for the steps
// alone; DENOISED_BENCH_CHECKPOINT names another checkpoint than the shipped one, DENOISED_BENCH_PRECISION another
// precision than fp32.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <memory>
#include <vector>

#include "common/checkpoint/checkpoint.h"
#include "common/diffusion/noise.h"
#include "common/diffusion/row_update.h"
#include "common/engine/make_engine.h"
#include "common/image/image.h"
#include "common/image/png.h"
#include "common/image/resize.h"
#include "common/model/precision.h"
#include "common/support/available_cores.h"
#include "common/support/file.h"
#include "tests/bench/machine.h"
#include "tests/bench/matrix_rate.h"

namespace denoised {
namespace {

constexpr int kMaxRows = 64;

std::string Environment(const char* name, const std::string& otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : value;
}

// ---- Parts without a network ----------------------------------------------------------------------------------------

void BM_Noise(benchmark::State& state) {
  std::vector<float> z(kModelPixels);
  uint32_t stream = 0;
  for (auto _ : state) {
    FillNoise({.seed = 1, .stream = ++stream}, absl::MakeSpan(z));
    benchmark::DoNotOptimize(z.data());
  }
  state.SetItemsProcessed(state.iterations() * kModelPixels);
}
BENCHMARK(BM_Noise);

void BM_RowUpdate(benchmark::State& state) {
  std::vector<float> x(kModelPixels, 0.5f), x0(kModelPixels), e(kModelPixels, 0.1f), z(kModelPixels, 0.2f);
  const StepPlan plan = *MakeStepPlan(*NoiseSchedule::Create({}), {});
  for (auto _ : state) {
    UpdateRow(plan[500], e.data(), z.data(), kModelPixels, x.data(), x0.data());
    benchmark::DoNotOptimize(x.data());
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * kModelPixels);
}
BENCHMARK(BM_RowUpdate);

// A finished digit: from floats to the bytes that a client gets.
void BM_Png(benchmark::State& state) {
  std::vector<float> pixels(kModelPixels);
  for (int i = 0; i < kModelPixels; ++i) pixels[i] = i % 37 < 30 ? -1 : 1;
  for (auto _ : state) {
    const GreyImage small = FromModelPixels(pixels, kModelSize, kModelSize);
    const GreyImage image = *Resize(small, static_cast<int>(state.range(0)), Interpolation::kCubic);
    benchmark::DoNotOptimize(EncodePng(image)->size());
  }
}
BENCHMARK(BM_Png)->Arg(32)->Arg(256)->Arg(1024)->Unit(benchmark::kMicrosecond);

// ---- The engine -----------------------------------------------------------------------------------------------------

class Fixture {
 public:
  static Fixture& Get() {
    static Fixture fixture;
    return fixture;
  }

  Engine& engine() { return *engine_; }
  const StepPlan& plan() const { return plan_; }
  double operations_per_row() const { return operations_per_row_; }

  double MatrixRate() { return matrix_rates_.Measure(precision_).best(); }

 private:
  Fixture()
      : checkpoint_(
            OrDie(LoadCheckpoint(Environment("DENOISED_BENCH_CHECKPOINT", DENOISED_SOURCE_DIR "/models/mnist.pt")))),
        plan_(*MakeStepPlan(*NoiseSchedule::Create(checkpoint_.metadata.noise_schedule), {})),
        engine_(
            OrDie(MakeEngine(Plain(checkpoint_), {.device = "cpu", .num_slots = kMaxRows, .precision = precision_}))),
        matrix_rates_(AvailableCores()),
        operations_per_row_(OperationsPerRow(checkpoint_.unet)) {}

  const Precision precision_ = ParsePrecision(Environment("DENOISED_BENCH_PRECISION", "fp32"));
  const Checkpoint checkpoint_;
  const StepPlan plan_;
  const std::unique_ptr<Engine> engine_;
  MatrixRates matrix_rates_;
  const double operations_per_row_;
};

void BM_Step(benchmark::State& state) {
  Fixture& fixture = Fixture::Get();
  const int rows = static_cast<int>(state.range(0));
  std::vector<StepRow> batch;
  for (int slot = 0; slot < rows; ++slot) batch.push_back({.slot = slot, .plan = &fixture.plan()});
  int step = 0;
  // The matrix rate before and after: this machine's speed may change in between.
  double matrix_rate = fixture.MatrixRate();
  const BenchClock::time_point start = BenchClock::now();
  for (auto _ : state) {
    for (StepRow& row : batch) row.step = step;
    step = (step + 1) % static_cast<int>(fixture.plan().size());
    if (!fixture.engine().Step(batch).ok()) state.SkipWithError("the step failed");
  }
  const double seconds = SecondsSince(start);
  matrix_rate = (matrix_rate + fixture.MatrixRate()) / 2;
  const double rate = fixture.operations_per_row() * rows * static_cast<double>(state.iterations()) / seconds;
  state.counters["rows/s"] =
      benchmark::Counter(static_cast<double>(state.iterations()) * rows, benchmark::Counter::kIsRate);
  state.counters["ms/row"] = 1e3 * seconds / static_cast<double>(state.iterations()) / rows;
  state.counters["GFLOP/s"] = rate * 1e-9;
  state.counters["matrix_GFLOP/s"] = matrix_rate * 1e-9;
  state.counters["share_of_matrix_rate"] = rate / matrix_rate;
}
BENCHMARK(BM_Step)
    ->Arg(1)
    ->Arg(2)
    ->Arg(4)
    ->Arg(8)
    ->Arg(16)
    ->Arg(32)
    ->Arg(64)
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

}  // namespace
}  // namespace denoised

BENCHMARK_MAIN();
