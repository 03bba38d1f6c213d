#include "tests/bench/matrix_rate.h"

#include <dlfcn.h>
#include <torch/torch.h>

#include <chrono>
#include <functional>

#include "common/checkpoint/torch_threads.h"

#if defined(DENOISED_BENCH_ONEDNN)
#include <oneapi/dnnl/dnnl.hpp>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace denoised {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kSize =
    768;  // of square matrices: three of them in fp32 fit into a core's second-level cache and half more
constexpr double kOperations = 2.0 * kSize * kSize * kSize;

// Which of its kernels OpenBLAS has chosen for this processor, if it says.
std::string OpenBlasName() {
  using CoreName = char* (*)();
  const auto name = reinterpret_cast<CoreName>(dlsym(RTLD_DEFAULT, "openblas_get_corename"));
  return name == nullptr ? "LibTorch's BLAS" : std::string("OpenBLAS ") + name();
}

// ---- A bare loop ----

// Each returns how many multiplications and additions it did.
using Loop = double (*)(int64_t rounds);

#if defined(__x86_64__)
constexpr int kChains =
    12;  // sums that do not wait for one another: two units, each a result in four clocks, and to spare

__attribute__((target("avx512f"))) double Avx512Loop(int64_t rounds) {
  __m512 sums[kChains];
  for (__m512& sum : sums) sum = _mm512_set1_ps(1.0f);
  const __m512 a = _mm512_set1_ps(0.999f), b = _mm512_set1_ps(0.001f);
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) sums[i] = _mm512_fmadd_ps(sums[i], a, b);
  }
  volatile float kept = 0;
  for (const __m512& sum : sums) kept = kept + sum[0];
  return 2.0 * 16 * kChains * static_cast<double>(rounds);
}

__attribute__((target("avx2,fma"))) double Avx2Loop(int64_t rounds) {
  __m256 sums[kChains];
  for (__m256& sum : sums) sum = _mm256_set1_ps(1.0f);
  const __m256 a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(0.001f);
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) sums[i] = _mm256_fmadd_ps(sums[i], a, b);
  }
  volatile float kept = 0;
  for (const __m256& sum : sums) kept = kept + sum[0];
  return 2.0 * 8 * kChains * static_cast<double>(rounds);
}

__attribute__((target("avx512f,avx512bf16"))) double Bf16Loop(int64_t rounds) {
  __m512 sums[kChains];
  for (__m512& sum : sums) sum = _mm512_set1_ps(1.0f);
  const __m512bh a = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.5f), _mm512_set1_ps(0.25f));
  const __m512bh b = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.001f), _mm512_set1_ps(0.002f));
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) sums[i] = _mm512_dpbf16_ps(sums[i], a, b);
  }
  volatile float kept = 0;
  for (const __m512& sum : sums) kept = kept + sum[0];
  return 2.0 * 32 * kChains * static_cast<double>(rounds);
}

Loop LoopFor(Precision precision) {
  __builtin_cpu_init();
  if (precision == Precision::kBf16) return __builtin_cpu_supports("avx512bf16") ? &Bf16Loop : nullptr;
  if (__builtin_cpu_supports("avx512f")) return &Avx512Loop;
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &Avx2Loop : nullptr;
}
#else
Loop LoopFor(Precision /*precision*/) { return nullptr; }
#endif

}  // namespace

// Matrices of each worker.
struct MatrixRates::Products {
  struct Matrices {
    at::Tensor a, b, c;
#if defined(DENOISED_BENCH_ONEDNN)
    dnnl::matmul product;
    std::unordered_map<int, dnnl::memory> arguments;
#endif
  };

  explicit Products(int cores) : fp32(cores), bf16(cores) {
    for (int i = 0; i < cores; ++i) {
      Fill(fp32[i], Precision::kFp32);
      if (has_bf16) Fill(bf16[i], Precision::kBf16);
    }
  }

  void Fill(Matrices& matrices, [[maybe_unused]] Precision precision) {
    matrices.a = torch::randn({kSize, kSize});
    matrices.b = torch::randn({kSize, kSize});
    matrices.c = torch::empty({kSize, kSize});
#if defined(DENOISED_BENCH_ONEDNN)
    using dnnl::memory;
    const auto type = precision == Precision::kBf16 ? memory::data_type::bf16 : memory::data_type::f32;
    const memory::desc any({kSize, kSize}, type, memory::format_tag::any);
    const memory::desc out({kSize, kSize}, memory::data_type::f32, memory::format_tag::ab);
    const dnnl::matmul::primitive_desc description(dnnl::matmul::desc(any, any, out), engine);
    matrices.product = dnnl::matmul(description);
    const auto in_order = [&](at::Tensor& values, const memory::desc& wanted) {
      memory plain({{kSize, kSize}, memory::data_type::f32, memory::format_tag::ab}, engine, values.data_ptr<float>());
      memory ordered(wanted, engine);
      dnnl::reorder(plain, ordered).execute(stream, plain, ordered);
      stream.wait();
      return ordered;
    };
    matrices.arguments = {{DNNL_ARG_SRC, in_order(matrices.a, description.src_desc())},
                          {DNNL_ARG_WEIGHTS, in_order(matrices.b, description.weights_desc())},
                          {DNNL_ARG_DST, memory(out, engine, matrices.c.data_ptr<float>())}};
#endif
  }

  const bool has_bf16 = LoopFor(Precision::kBf16) != nullptr;
#if defined(DENOISED_BENCH_ONEDNN)
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
#endif
  std::vector<Matrices> fp32, bf16;  // by worker
};

MatrixRates::MatrixRates(int cores) : pool_(cores), products_(std::make_unique<Products>(cores)) {}

MatrixRates::~MatrixRates() = default;

MatrixRate MatrixRates::Measure(Precision precision) {
  MatrixRate rate;
  // work(worker) does so many multiplications and additions.
  const auto measure = [&](const std::string& name, double operations, const std::function<void(int)>& work) {
    double best = 0;
    for (int i = 0; i < 4; ++i) {  // the first warms up
      const Clock::time_point start = Clock::now();
      pool_.Run(pool_.size(), [&](int worker) {
        ComputeOnThisThreadAlone();
        const torch::NoGradGuard no_grad;
        work(worker);
      });
      const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
      if (i > 0) best = std::max(best, operations * pool_.size() / seconds);
    }
    rate.by.emplace_back(name, best);
  };
  if (precision == Precision::kBf16 && !products_->has_bf16) return rate;
  std::vector<Products::Matrices>& matrices = precision == Precision::kBf16 ? products_->bf16 : products_->fp32;
  if (precision == Precision::kFp32) {
    measure(OpenBlasName(), kOperations,
            [&](int worker) { at::mm_out(matrices[worker].c, matrices[worker].a, matrices[worker].b); });
  }
#if defined(DENOISED_BENCH_ONEDNN)
  measure("oneDNN", kOperations, [&](int worker) {
    dnnl::stream stream(products_->engine);
    matrices[worker].product.execute(stream, matrices[worker].arguments);
    stream.wait();
  });
#endif
  if (const Loop loop = LoopFor(precision)) {
    constexpr int64_t kRounds = 2'000'000;
    measure("a bare loop", loop(1) * static_cast<double>(kRounds), [&](int) { loop(kRounds); });
  }
  return rate;
}

}  // namespace denoised
