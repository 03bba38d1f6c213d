// File: machine.h
//
// What a network costs, for the benchmarks: operations counted as LibTorch runs them.
#ifndef DENOISED_TESTS_BENCH_MACHINE_H_
#define DENOISED_TESTS_BENCH_MACHINE_H_

#include <ATen/record_function.h>
#include <torch/script.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/image/image.h"

namespace denoised {

using BenchClock = std::chrono::steady_clock;

inline double SecondsSince(BenchClock::time_point start) {
  return std::chrono::duration<double>(BenchClock::now() - start).count();
}

template <typename T>
T OrDie(absl::StatusOr<T> value) {
  if (value.ok()) return *std::move(value);
  std::fprintf(stderr, "error: %s\n", std::string(value.status().message()).c_str());
  std::exit(EXIT_FAILURE);
}

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

// Of one network row.
inline double OperationsPerRow(torch::jit::Module unet) {
  const torch::NoGradGuard no_grad;
  const OperationCounter counter;
  unet.forward({torch::zeros({1, 1, kModelSize, kModelSize}), torch::zeros({1}, torch::kInt64),
                torch::zeros({1}, torch::kInt64)});
  return counter.total();
}

}  // namespace denoised

#endif  // DENOISED_TESTS_BENCH_MACHINE_H_
