#include "common/engine/cpu/onednn_network.h"

#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <omp.h>
#include <torch/script.h>
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

#include "common/checkpoint/unet.h"
#include "common/engine/cpu/cpu_kernels.h"
#include "common/image/image.h"
#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

constexpr int kTimesteps = 20;
constexpr int kRows = 3;

std::vector<float> Values(const at::Tensor& tensor) {
  const at::Tensor plain = tensor.contiguous();
  return {plain.data_ptr<float>(), plain.data_ptr<float>() + plain.numel()};
}

struct Case {
  std::string architecture;
  Precision precision;
};

UnetConfig ConfigOf(const std::string& architecture) {
  if (architecture == "seed") return SeedUnetConfig();
  UnetConfig config;
  if (architecture == "deep") config.blocks = {2, 1, 3};
  return config;
}

class OneDnnNetworkTest : public testing::TestWithParam<Case> {
 protected:
  OneDnnNetworkTest() : config_(ConfigOf(GetParam().architecture)) {
    torch::jit::setGraphExecutorOptimize(false);  // which takes far longer than these few calls
    torch::manual_seed(5);
    unet_ = MakeUnet(config_);
    const torch::NoGradGuard no_grad;
    for (const at::Tensor& parameter : unet_.parameters()) parameter.add_(0.02 * torch::randn_like(parameter));
    x_ = torch::randn({kRows, 1, kModelSize, kModelSize});
  }

  void SetUp() override {
    if (GetParam().precision == Precision::kBf16 && !HasBfloat16()) {
      GTEST_SKIP() << "this processor has no bfloat16 instructions";
    }
    const auto model = MakeOneDnnModel(*MakeUnetWeights(config_, HostTensorsOf(unet_), kTimesteps));
    ASSERT_THAT(model, IsOk());
    model_ = *model;
  }

  // Rows begin to end of x_, on `threads` threads.
  std::vector<float> Predict(int begin, int end, int threads = 1) {
    const auto network =
        MakeOneDnnNetwork(model_, {.max_rows = kRows, .threads = threads, .precision = GetParam().precision});
    std::vector<float> e(static_cast<size_t>(end - begin) * kModelPixels);
    std::vector<NetworkRow> rows;
    for (int i = begin; i < end; ++i) {
      rows.push_back({.x = x_.data_ptr<float>() + i * kModelPixels, .t = t_[i], .y = y_[i]});
    }
    network->Predict(rows, e.data());
    return e;
  }

  const UnetConfig config_;
  torch::jit::Module unet_;
  at::Tensor x_;
  const std::vector<int64_t> t_ = {0, 7, kTimesteps - 1}, y_ = {9, 0, 3};
  std::shared_ptr<const OneDnnModel> model_;
};

TEST_P(OneDnnNetworkTest, IsTheNetworkOfTheCheckpoint) {
  const torch::NoGradGuard no_grad;
  const at::Tensor expected = unet_.forward({x_, torch::tensor(t_), torch::tensor(y_)}).toTensor();
  ASSERT_GT(expected.abs().max().item<float>(), 0.1f);
  const float tolerance = GetParam().precision == Precision::kBf16 ? 5e-2f : 1e-4f;
  EXPECT_THAT(Predict(0, kRows), testing::Pointwise(testing::FloatNear(tolerance), Values(expected)));
}

TEST_P(OneDnnNetworkTest, ARowsBitsDependOnNeitherRowsNorThreads) {
  const std::vector<float> together = Predict(0, kRows);
  for (int row = 0; row < kRows; ++row) {
    const std::vector<float> alone(together.begin() + row * kModelPixels, together.begin() + (row + 1) * kModelPixels);
    EXPECT_EQ(Predict(row, row + 1), alone) << "row " << row;
    EXPECT_EQ(Predict(row, row + 1, /*threads=*/2), alone) << "row " << row;
  }
  EXPECT_EQ(Predict(0, kRows, /*threads=*/3), together);
}

// Training draws samples in between on its own thread, and must go on as if it had not.
TEST_P(OneDnnNetworkTest, LeavesTheThreadsOfItsCallerAsTheyWere) {
  const int before = at::get_num_threads();
  Predict(0, 1, /*threads=*/before + 1);
  EXPECT_EQ(at::get_num_threads(), before);
}

#if defined(__SSE2__)
// Field report "numbers near zero make every step many times slower": a team's threads took them as whoever had started
// them did. Here all sums are of such numbers, and big enough to be seen if one thread takes them as they are.
TEST_P(OneDnnNetworkTest, TinyNumbersAreZeroInEveryThreadOfATeam) {
  const torch::NoGradGuard no_grad;
  x_.zero_();
  for (at::Tensor parameter : unet_.parameters()) {
    parameter.fill_(parameter.dim() == 4 ? 1e30 : parameter.dim() == 1 ? 1e-40 : 0);
  }
  model_ = *MakeOneDnnModel(*MakeUnetWeights(config_, HostTensorsOf(unet_), kTimesteps));
  const auto modes = [] {
    std::vector<unsigned> of_threads(2);
#pragma omp parallel num_threads(2)
    of_threads[static_cast<size_t>(omp_get_thread_num())] = _mm_getcsr();
    return of_threads;
  };
  const std::vector<unsigned> before = modes();  // and from here on the team has its threads
  {
    const FlushDenormals flush_denormals;  // as the engine has it
    EXPECT_THAT(Predict(0, 1, /*threads=*/2), testing::Each(0.0f));
    EXPECT_THAT(Predict(0, kRows), testing::Each(0.0f));
  }
  EXPECT_EQ(modes(), before) << "as a trainer needs them";
}
#endif

INSTANTIATE_TEST_SUITE_P(Cases, OneDnnNetworkTest,
                         testing::Values(Case{"compact", Precision::kFp32}, Case{"compact", Precision::kBf16},
                                         Case{"deep", Precision::kFp32}, Case{"deep", Precision::kBf16},
                                         Case{"seed", Precision::kFp32}, Case{"seed", Precision::kBf16}),
                         [](const auto& test) {
                           return test.param.architecture +
                                  (test.param.precision == Precision::kBf16 ? "Bf16" : "Fp32");
                         });

TEST(MakeOneDnnModelTest, LeavesOddSizesToLibTorch) {
  UnetConfig config;
  config.channels = {24, 48, 96};
  const auto model = MakeOneDnnModel(*MakeUnetWeights(config, HostTensorsOf(MakeUnet(config)), kTimesteps));
  EXPECT_EQ(model.status().code(), absl::StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace denoised
