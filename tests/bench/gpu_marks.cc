// The CUDA engine against what the GPU can do, measured in turns in one run:
//
//   gpu_marks [rounds] [checkpoint]
//
// A step of 1 to 1024 images, as a share of the rate at which the GPU multiplies large matrices of fp16 (cuBLAS),
// beside the bandwidth of its memory; and what that means for chains of 1000 steps.
#include <cublas_v2.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "common/checkpoint/checkpoint.h"
#include "common/engine/cuda/cuda_engine.h"
#include "common/engine/make_engine.h"
#include "tests/bench/machine.h"

namespace denoised {
namespace {

constexpr int kSteps = 1000;

void Check(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "error: %s failed: %s\n", what, cudaGetErrorString(cudaGetLastError()));
  std::exit(EXIT_FAILURE);
}

// Seconds of work(), which queues something on the default stream, by the GPU's own clock; the best of five.
template <typename Work>
double GpuSeconds(const Work& work) {
  cudaEvent_t begin, end;
  Check(cudaEventCreate(&begin) == cudaSuccess && cudaEventCreate(&end) == cudaSuccess, "cudaEventCreate");
  float best = 1e9f;
  for (int i = 0; i < 6; ++i) {  // the first warms up
    Check(cudaEventRecord(begin) == cudaSuccess, "cudaEventRecord");
    work();
    Check(cudaEventRecord(end) == cudaSuccess && cudaEventSynchronize(end) == cudaSuccess, "the work");
    float milliseconds = 0;
    Check(cudaEventElapsedTime(&milliseconds, begin, end) == cudaSuccess, "cudaEventElapsedTime");
    if (i > 0) best = std::min(best, milliseconds);
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  return best * 1e-3;
}

class Gpu {
 public:
  Gpu() {
    // Values that differ: a GPU multiplies zeros faster than it does numbers.
    std::vector<uint16_t> values(kSize * kSize);
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<uint16_t>(0x3000 + i * 2654435761u % 0x0C00);
    for (void** matrix : {&a_, &b_, &c_}) {
      Check(cudaMalloc(matrix, kBytes) == cudaSuccess, "cudaMalloc");
      Check(cudaMemcpy(*matrix, values.data(), kBytes, cudaMemcpyHostToDevice) == cudaSuccess, "cudaMemcpy");
    }
    Check(cublasCreate(&blas_) == CUBLAS_STATUS_SUCCESS, "cublasCreate");
  }
  ~Gpu() {
    cublasDestroy(blas_);
    for (void* matrix : {a_, b_, c_}) cudaFree(matrix);
  }
  Gpu(const Gpu&) = delete;
  Gpu& operator=(const Gpu&) = delete;

  // Multiplications and additions a second.
  double MatrixRate() {
    const float one = 1, zero = 0;
    return 2.0 * kSize * kSize * kSize / GpuSeconds([&] {
             Check(cublasGemmEx(blas_, CUBLAS_OP_N, CUBLAS_OP_N, kSize, kSize, kSize, &one, a_, CUDA_R_16F, kSize, b_,
                                CUDA_R_16F, kSize, &zero, c_, CUDA_R_16F, kSize, CUBLAS_COMPUTE_32F,
                                CUBLAS_GEMM_DEFAULT) == CUBLAS_STATUS_SUCCESS,
                   "cublasGemmEx");
           });
  }

  // Bytes read and written a second.
  double CopyRate() {
    return 2.0 * kBytes / GpuSeconds([&] {
             Check(cudaMemcpyAsync(a_, b_, kBytes, cudaMemcpyDeviceToDevice) == cudaSuccess, "cudaMemcpyAsync");
           });
  }

 private:
  static constexpr int64_t kSize = 8192;
  static constexpr size_t kBytes = kSize * kSize * sizeof(uint16_t);  // more than a cache holds

  cublasHandle_t blas_ = nullptr;
  void *a_ = nullptr, *b_ = nullptr, *c_ = nullptr;
};

// Seconds a step of `images` images, by the clock of who calls.
double StepSeconds(Engine& engine, const StepPlan& plan, int images) {
  std::vector<StepRow> rows;
  for (int slot = 0; slot < images; ++slot) rows.push_back({.slot = slot, .plan = &plan, .label = slot % 10});
  const auto step = [&](int i) {
    for (StepRow& row : rows) row.step = i;
    const absl::Status status = engine.Step(rows);
    if (!status.ok()) OrDie(absl::StatusOr<int>(status));
  };
  for (int i = 0; i < 20; ++i) step(i);
  const BenchClock::time_point start = BenchClock::now();
  for (int i = 20; i < 220; ++i) step(i);
  return SecondsSince(start) / 200;
}

void Run(int rounds, const std::string& path) {
  torch::jit::setGraphExecutorOptimize(false);
  const std::vector<int> sizes = {1, 2, 8, 32, 64, 128, 256, 512, 1024};
  const Checkpoint checkpoint = OrDie(LoadCheckpoint(path));
  const StepPlan plan =
      OrDie(MakeStepPlan(OrDie(NoiseSchedule::Create(checkpoint.metadata.noise_schedule)), {.steps = kSteps}));
  const double operations = OperationsPerRow(checkpoint.unet);
  Gpu gpu;
  for (const Precision precision : {Precision::kFp16, Precision::kFp32}) {
    const std::unique_ptr<Engine> engine =
        OrDie(MakeEngine(Plain(checkpoint), {.device = "cuda", .num_slots = sizes.back(), .precision = precision}));
    std::printf("%s\na network row takes %.3f GFLOP\n", engine->Description().c_str(), operations * 1e-9);
    std::map<int, double> best;
    double matrix_rate = 0, copy_rate = 0;
    for (int round = 0; round < rounds; ++round) {
      matrix_rate = std::max(matrix_rate, gpu.MatrixRate());
      copy_rate = std::max(copy_rate, gpu.CopyRate());
      for (const int images : sizes) {
        const double seconds = StepSeconds(*engine, plan, images);
        double& so_far = best.try_emplace(images, seconds).first->second;
        so_far = std::min(so_far, seconds);
      }
    }
    std::printf("fp16 matrix products %.0f TFLOP/s, copies %.2f TB/s\n", matrix_rate * 1e-12, copy_rate * 1e-12);
    std::printf("%8s %12s %22s %24s\n", "images", "ms a step", "1000-step digits/s", "share of the matrix rate");
    for (const auto& [images, seconds] : best) {
      std::printf("%8d %12.4f %22.1f %24.4f\n", images, 1e3 * seconds, images / (seconds * kSteps),
                  images * operations / seconds / matrix_rate);
    }
    if (precision == Precision::kFp32) continue;
    const auto fastest = std::max_element(
        best.begin(), best.end(), [](const auto& a, const auto& b) { return a.first / a.second < b.first / b.second; });
    const double one = kSteps * best.at(1), most = fastest->first / (kSteps * fastest->second);
    std::printf("a 1000-step digit alone: %.4f s  wanted at most 0.15: %s\n", one, one <= 0.15 ? "met" : "MISSED");
    std::printf("1000-step digits a second, %d at once: %.0f  wanted at least 500: %s\n", fastest->first, most,
                most >= 500 ? "met" : "MISSED");
  }
}

}  // namespace
}  // namespace denoised

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 3;
  if (rounds < 1) {
    std::fprintf(stderr, "usage: gpu_marks [rounds, at least 1] [checkpoint]\n");
    return EXIT_FAILURE;
  }
  if (denoised::CudaDeviceCount() == 0) {
    std::fprintf(stderr, "gpu_marks: no CUDA device is usable here; nothing was measured\n");
    return 77;
  }
  denoised::Run(rounds, argc > 2 ? argv[2] : DENOISED_SOURCE_DIR "/models/mnist.pt");
}
