// The parts of a digit, timed one by one: noise, row update, PNG, and a step of the engine by its rows, with the share
// of the machine's matrix rate that it reaches. Run with --benchmark_filter=Step for the steps alone;
// DENOISED_BENCH_CHECKPOINT names another checkpoint than the shipped one, DENOISED_BENCH_DEVICE another device.
#include <ATen/record_function.h>
#include <benchmark/benchmark.h>
#include <torch/torch.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "common/checkpoint.h"
#include "common/file.h"
#include "common/image.h"
#include "common/noise.h"
#include "common/row_update.h"
#include "common/torch_engine.h"
#include "common/torch_threads.h"
#include "common/worker_pool.h"

namespace denoised {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kMaxRows = 64;

std::string Environment(const char* name, const std::string& otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : value;
}

template <typename T>
T OrDie(absl::StatusOr<T> value) {
  if (value.ok()) return *std::move(value);
  std::fprintf(stderr, "parts_benchmark: error: %s\n", std::string(value.status().message()).c_str());
  std::exit(EXIT_FAILURE);
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

// Counts the multiplications and additions of convolutions and matrix products on this thread.
class OperationCounter {
 public:
  OperationCounter()
      : handle_(at::addThreadLocalCallback(
            at::RecordFunctionCallback([](const at::RecordFunction& function) -> std::unique_ptr<at::ObserverContext> {
              Count(function);
              return nullptr;
            }).needsInputs(true))) {
    total_ = 0;
  }
  ~OperationCounter() { at::removeCallback(handle_); }
  OperationCounter(const OperationCounter&) = delete;
  OperationCounter& operator=(const OperationCounter&) = delete;

  double total() const { return total_; }

 private:
  // 2 * (input's values) * (weight's values) / (channels that both have), corrected for the stride.
  static void Count(const at::RecordFunction& function) {
    const std::string name = function.name();
    const auto inputs = function.inputs();
    if (name != "aten::convolution" && name != "aten::linear") return;
    const at::Tensor& x = inputs[0].toTensor();
    const at::Tensor& weight = inputs[1].toTensor();
    if (name == "aten::linear") {
      total_ += 2.0 * static_cast<double>(x.numel() / x.size(-1) * weight.numel());
      return;
    }
    const bool transposed = inputs[6].toBool();
    const int64_t stride = inputs[3].toIntVector()[0];
    const double positions = static_cast<double>(x.size(0) * x.size(2) * x.size(3)) /
                             (transposed ? 1 : static_cast<double>(stride * stride));
    total_ += 2.0 * positions * static_cast<double>(weight.numel());
  }

  static inline thread_local double total_ = 0;
  const at::CallbackHandle handle_;
};

class Fixture {
 public:
  static Fixture& Get() {
    static Fixture fixture;
    return fixture;
  }

  Engine& engine() { return *engine_; }
  const StepPlan& plan() const { return plan_; }
  double operations_per_row() const { return operations_per_row_; }

  // Multiplications and additions a second of single-precision matrix products, one on each core at the same time.
  double SgemmRate() {
    constexpr int64_t kSize = 768;
    double best = 0;
    for (int i = 0; i < 5; ++i) {
      const Clock::time_point start = Clock::now();
      pool_.Run(pool_.size(), [&](int worker) {
        ComputeOnThisThreadAlone();
        benchmark::DoNotOptimize(torch::mm(a_[worker], b_[worker]).data_ptr<float>());
      });
      const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
      best = std::max(best, 2.0 * kSize * kSize * kSize * pool_.size() / seconds);
    }
    return best;
  }

 private:
  Fixture()
      : checkpoint_(
            OrDie(LoadCheckpoint(Environment("DENOISED_BENCH_CHECKPOINT", DENOISED_SOURCE_DIR "/models/mnist.pt")))),
        plan_(*MakeStepPlan(*NoiseSchedule::Create(checkpoint_.metadata.noise_schedule), {})),
        engine_(OrDie(MakeTorchEngine(checkpoint_,
                                      {.device = Environment("DENOISED_BENCH_DEVICE", "cpu"), .num_slots = kMaxRows}))),
        pool_(AvailableCores()) {
    torch::NoGradGuard no_grad;
    for (int i = 0; i < pool_.size(); ++i) {
      a_.push_back(torch::randn({768, 768}));
      b_.push_back(torch::randn({768, 768}));
    }
    torch::jit::Module unet = checkpoint_.unet;
    const OperationCounter counter;
    unet.forward({torch::zeros({1, 1, kModelSize, kModelSize}), torch::zeros({1}, torch::kInt64),
                  torch::zeros({1}, torch::kInt64)});
    operations_per_row_ = counter.total();
  }

  const Checkpoint checkpoint_;
  const StepPlan plan_;
  const std::unique_ptr<Engine> engine_;
  WorkerPool pool_;
  std::vector<at::Tensor> a_, b_;
  double operations_per_row_ = 0;
};

void BM_Step(benchmark::State& state) {
  Fixture& fixture = Fixture::Get();
  const int rows = static_cast<int>(state.range(0));
  std::vector<StepRow> batch;
  for (int slot = 0; slot < rows; ++slot) batch.push_back({.slot = slot, .plan = &fixture.plan()});
  int step = 0;
  // The matrix rate before and after: this machine's speed may change in between.
  double sgemm = fixture.SgemmRate();
  const Clock::time_point start = Clock::now();
  for (auto _ : state) {
    for (StepRow& row : batch) row.step = step;
    step = (step + 1) % static_cast<int>(fixture.plan().size());
    if (!fixture.engine().Step(batch).ok()) state.SkipWithError("the step failed");
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  sgemm = (sgemm + fixture.SgemmRate()) / 2;
  const double rate = fixture.operations_per_row() * rows * static_cast<double>(state.iterations()) / seconds;
  state.counters["rows/s"] =
      benchmark::Counter(static_cast<double>(state.iterations()) * rows, benchmark::Counter::kIsRate);
  state.counters["ms/row"] = 1e3 * seconds / static_cast<double>(state.iterations()) / rows;
  state.counters["GFLOP/s"] = rate * 1e-9;
  state.counters["sgemm_GFLOP/s"] = sgemm * 1e-9;
  state.counters["share_of_sgemm"] = rate / sgemm;
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
