// File: matrix_rate.h
//
// What this machine's processor can do at best with matrix products, in fp32 and in bfloat16, one product on each core
// at the same time: by OpenBLAS, by oneDNN, and by a bare loop of the widest multiply-add that the processor has, which
// reads no memory. OpenBLAS alone is no ruler: its environment can hold it to older kernels.
//
//   MatrixRates rates(AvailableCores());
//   const MatrixRate rate = rates.Measure(Precision::kFp32);   // of each in rate.by; rate.best()
#ifndef DENOISED_TESTS_BENCH_MATRIX_RATE_H_
#define DENOISED_TESTS_BENCH_MATRIX_RATE_H_

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/model/precision.h"
#include "common/support/worker_pool.h"

namespace denoised {

// Multiplications and additions a second, by whom.
struct MatrixRate {
  std::vector<std::pair<std::string, double>> by;  // "OpenBLAS SkylakeX", "oneDNN", "a bare loop"; only those there are

  double best() const {
    double most = 0;
    for (const auto& [name, rate] : by) most = std::max(most, rate);
    return most;
  }
};

// Not thread-safe.
class MatrixRates {
 public:
  explicit MatrixRates(int cores);
  ~MatrixRates();
  MatrixRates(const MatrixRates&) = delete;
  MatrixRates& operator=(const MatrixRates&) = delete;

  // kFp32 or kBf16; the best of three for each. Takes a few tenths of a second. Of kBf16 there is nothing where the
  // processor has no instructions for it.
  MatrixRate Measure(Precision precision);

 private:
  struct Products;
  WorkerPool pool_;
  const std::unique_ptr<Products> products_;
};

}  // namespace denoised

#endif  // DENOISED_TESTS_BENCH_MATRIX_RATE_H_
