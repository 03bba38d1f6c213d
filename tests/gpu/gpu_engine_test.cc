// The CUDA engine on a GPU, against the CPU's engine in fp32 and against its own emulation. Without a GPU: skipped.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "common/diffusion/engine.h"
#include "common/diffusion/golden_draw.h"
#include "common/diffusion/noise.h"
#include "common/diffusion/row_update.h"
#include "common/engine/cuda/cuda_engine.h"
#include "common/engine/cuda/network_program.h"
#include "common/engine/make_engine.h"
#include "common/engine/self_test.h"
#include "common/image/image.h"
#include "common/model/golden_record.h"
#include "common/weights/plain_checkpoint.h"
#include "common/weights/unet_parameters.h"
#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

using testing::HasSubstr;

using Image = std::vector<float>;

Image Read(Engine& engine, int slot, FrameKind kind = FrameKind::kNoisy) {
  Image pixels(kModelPixels);
  EXPECT_THAT(engine.Read(slot, kind, absl::MakeSpan(pixels)), IsOk());
  return pixels;
}

// How far apart two images are at their worst pixel.
float Distance(const Image& a, const Image& b) {
  float largest = 0;
  for (size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

class GpuEngineTest : public testing::TestWithParam<Precision> {
 protected:
  static void SetUpTestSuite() {
    if (CudaDeviceCount() > 0)
      checkpoint_ = new PlainCheckpoint(*LoadPlainCheckpoint(DENOISED_SOURCE_DIR "/models/mnist.pt"));
  }
  static void TearDownTestSuite() { delete std::exchange(checkpoint_, nullptr); }

  void SetUp() override {
    if (CudaDeviceCount() == 0) GTEST_SKIP() << "there is no GPU here that the kernel can run on";
  }

  static UnetWeights Weights() {
    return *MakeUnetWeights(checkpoint_->metadata.unet, checkpoint_->tensors,
                            checkpoint_->metadata.noise_schedule.num_train_timesteps);
  }
  static int NullLabel() { return checkpoint_->metadata.null_label.value_or(0); }

  static std::unique_ptr<Engine> OnGpu(Precision precision, int slots, int images_per_block = 0) {
    return *MakeCudaEngine(*CompileNetwork(Weights(), precision),
                           {.null_label = NullLabel(),
                            .num_slots = slots,
                            .num_train_timesteps = checkpoint_->metadata.noise_schedule.num_train_timesteps,
                            .images_per_block = images_per_block});
  }
  static std::unique_ptr<Engine> OnCpu(int slots) {
    return *MakeEngine(*checkpoint_, {.device = "cpu", .num_slots = slots, .precision = Precision::kFp32});
  }

  // Of an output of values about 1.
  static float Tolerance() { return GetParam() == Precision::kFp32 ? 1e-4f : 2e-2f; }

  // An image's step of a plan whose x0 is the network's output itself.
  StepRow Revealing(int slot, float guidance_scale = 1) const {
    return {.slot = slot,
            .plan = &revealing_,
            .label = slot % 10,
            .guidance_scale = guidance_scale,
            .seed = 0x123456789ull,
            .image_index = static_cast<uint32_t>(slot)};
  }

  const StepPlan revealing_ = {
      {.timestep = 412, .p = 0, .q = 1, .lo = -1e9f, .hi = 1e9f, .a = 1, .b = 0.5f, .d = 0.25f}};
  static inline PlainCheckpoint* checkpoint_ = nullptr;
};

TEST_P(GpuEngineTest, PassesTheSelfTestOfTheServer) {
  ASSERT_TRUE(checkpoint_->golden.has_value());
  const GoldenReference reference = {.rows = GoldenRowsOf(checkpoint_->metadata),
                                     .images = checkpoint_->golden->images};
  EXPECT_THAT(
      MakeCheckedEngine(*checkpoint_, reference, {.device = "cuda:0", .num_slots = 32, .precision = GetParam()}),
      IsOk());
}

// With one, two and four images to a block, where a block has room; every third image is guided.
TEST_P(GpuEngineTest, PredictsWhatTheCpuDoes) {
  constexpr int kImages = 12;
  std::vector<StepRow> rows;
  for (int i = 0; i < kImages; ++i) rows.push_back(Revealing(i, i % 3 == 0 ? 2.5f : 1));
  const auto cpu = OnCpu(kImages);
  ASSERT_THAT(cpu->Step(rows), IsOk());
  for (const int images_per_block : {1, 2, 4}) {
    const auto gpu = OnGpu(GetParam(), kImages, images_per_block);
    ASSERT_THAT(gpu->Step(rows), IsOk());
    float worst = 0;
    for (int i = 0; i < kImages; ++i) {
      const Image expected = Read(*cpu, i, FrameKind::kPredictedClean);
      ASSERT_GT(*std::max_element(expected.begin(), expected.end()), 0.1f);
      const float distance = Distance(Read(*gpu, i, FrameKind::kPredictedClean), expected);
      EXPECT_LT(distance, Tolerance() * (i % 3 == 0 ? 5 : 1)) << images_per_block << " to a block, image " << i;
      worst = std::max(worst, distance);
    }
    RecordProperty("worst" + std::to_string(images_per_block), std::to_string(worst));
  }
}

// With the network's output as the kernel has it, start, noise and update are the CPU's, to the last bit.
TEST_P(GpuEngineTest, NoiseAndUpdateAreTheCpusToTheLastBit) {
  const auto gpu = OnGpu(GetParam(), 4);
  const StepRow row = Revealing(2);
  ASSERT_THAT(gpu->Step({row}), IsOk());
  Image x(kModelPixels), z(kModelPixels), x0(kModelPixels);
  FillNoise({.seed = row.seed, .image_index = row.image_index}, absl::MakeSpan(x));
  FillNoise({.seed = row.seed, .image_index = row.image_index, .stream = 1}, absl::MakeSpan(z));
  const Image e = Read(*gpu, 2, FrameKind::kPredictedClean);
  UpdateRow(revealing_[0], e.data(), z.data(), kModelPixels, x.data(), x0.data());
  EXPECT_EQ(Read(*gpu, 2), x);
}

// A race would show as a repeat that differs: sizes that fill the GPU unevenly, in several arrangements.
TEST_P(GpuEngineTest, AHundredRepeatsGiveTheSameBitsInAnyCompany) {
  constexpr int kImages = 300;
  const auto gpu = OnGpu(GetParam(), kImages);
  std::vector<Image> alone(kImages);
  for (int i = 0; i < kImages; ++i) {
    ASSERT_THAT(gpu->Step({Revealing(i, i % 7 == 0 ? 2.0f : 1)}), IsOk());
    alone[i] = Read(*gpu, i);
  }
  std::mt19937 random(1);
  for (int repeat = 0; repeat < 100; ++repeat) {
    std::vector<StepRow> rows;
    for (int i = 0; i < kImages; ++i) rows.push_back(Revealing(i, i % 7 == 0 ? 2.0f : 1));
    std::shuffle(rows.begin(), rows.end(), random);
    rows.resize(1 + random() % kImages);
    ASSERT_THAT(gpu->Step(rows), IsOk());
    for (size_t i = 0; i < rows.size(); i += 37) {
      ASSERT_EQ(Read(*gpu, rows[i].slot), alone[rows[i].slot]) << "repeat " << repeat << ", " << rows.size() << " rows";
    }
  }
}

// Chains of 50 steps end as the CPU's: their differences do not grow.
TEST_P(GpuEngineTest, ChainsEndAsTheCpusDo) {
  constexpr int kImages = 8, kSteps = 50;
  const NoiseSchedule schedule = *NoiseSchedule::Create(checkpoint_->metadata.noise_schedule);
  const StepPlan plans[2] = {*MakeStepPlan(schedule, {.sampler = SamplerType::kDdpm, .steps = kSteps}),
                             *MakeStepPlan(schedule, {.sampler = SamplerType::kDpmSolverPp2M, .steps = kSteps})};
  const auto cpu = OnCpu(kImages), gpu = OnGpu(GetParam(), kImages);
  std::vector<StepRow> rows;
  for (int i = 0; i < kImages; ++i) {
    rows.push_back({.slot = i, .plan = &plans[i % 2], .label = i, .guidance_scale = i == 5 ? 2.0f : 1, .seed = 7});
  }
  for (int step = 0; step < kSteps; ++step) {
    for (StepRow& row : rows) row.step = step;
    ASSERT_THAT(cpu->Step(rows), IsOk());
    ASSERT_THAT(gpu->Step(rows), IsOk());
  }
  for (int i = 0; i < kImages; ++i) {
    const Image expected = Read(*cpu, i), image = Read(*gpu, i);
    double squares = 0;
    for (int pixel = 0; pixel < kModelPixels; ++pixel) squares += std::pow(image[pixel] - expected[pixel], 2);
    EXPECT_LT(std::sqrt(squares / kModelPixels), LargestRms(GetParam())) << "image " << i;
  }
}

// Of a whole chain, guided or not.
TEST_P(GpuEngineTest, SeveralStepsAtOnceAreSoManyStepsToTheLastBit) {
  constexpr int kSteps = 40, kImages = 3;
  const NoiseSchedule schedule = *NoiseSchedule::Create(checkpoint_->metadata.noise_schedule);
  const StepPlan plan = *MakeStepPlan(schedule, {.sampler = SamplerType::kDdpm, .steps = kSteps});
  std::vector<StepRow> rows;
  for (int i = 0; i < kImages; ++i) {
    rows.push_back({.slot = i, .plan = &plan, .label = i, .guidance_scale = i == 1 ? 2.0f : 1, .seed = 9});
  }
  const auto one_by_one = OnGpu(GetParam(), kImages), at_once = OnGpu(GetParam(), kImages);
  for (int step = 0; step < kSteps; ++step) {
    for (StepRow& row : rows) row.step = step;
    ASSERT_THAT(one_by_one->Step(rows), IsOk());
  }
  for (int step = 0; const int count : {1, 7, 2, 30}) {
    for (StepRow& row : rows) row.step = step;
    ASSERT_THAT(at_once->Steps(rows, count), IsOk());
    step += count;
  }
  for (int i = 0; i < kImages; ++i) EXPECT_EQ(Read(*at_once, i), Read(*one_by_one, i)) << i;
}

TEST_P(GpuEngineTest, TooManySlotsAreRefusedInWords) {
  const absl::StatusOr<std::unique_ptr<Engine>> engine =
      MakeCudaEngine(*CompileNetwork(Weights(), GetParam()), {.num_slots = 200'000'000, .max_images = 8});
  EXPECT_THAT(engine, StatusIs(absl::StatusCode::kInternal, HasSubstr("the GPU has no room for")));
  EXPECT_THAT(OnGpu(GetParam(), 2)->Step({Revealing(0)}), IsOk());  // the GPU is as good as before
}

// The original's activations do not fit into shared memory; random weights, against the emulation.
TEST_P(GpuEngineTest, NetworksTooLargeForSharedMemoryRunToo) {
  const UnetConfig config = {
      .architecture = "seed", .channels = {64, 128, 256, 512}, .blocks = {}, .embedding_dim = 256, .num_labels = 10};
  HostTensors tensors;
  std::mt19937 random(3);
  for (const UnetParameter& parameter : UnetParameters(config)) {
    const int64_t values = NumberOfValues(parameter.shape);
    const double fan_in = static_cast<double>(values) / static_cast<double>(parameter.shape[0]);
    std::normal_distribution<float> normal(0, static_cast<float>(1 / std::sqrt(fan_in)));
    HostTensor& tensor = tensors[parameter.name] = {parameter.shape, std::vector<float>(values)};
    for (float& value : tensor.values) value = normal(random);
  }
  const NetworkProgram program = *CompileNetwork(*MakeUnetWeights(config, std::move(tensors), 1000), GetParam());
  const CudaEngineOptions options = {.null_label = 9, .num_slots = 3, .num_train_timesteps = 1000};
  const auto gpu = *MakeCudaEngine(program, options), emulated = MakeEmulatedCudaEngine(program, options);
  const std::vector<StepRow> rows = {Revealing(0), Revealing(2, 1.5f)};
  ASSERT_THAT(gpu->Step(rows), IsOk());
  ASSERT_THAT(emulated->Step(rows), IsOk());
  for (const int slot : {0, 2}) {
    const Image expected = Read(*emulated, slot, FrameKind::kPredictedClean);
    float scale = 0;
    for (const float value : expected) scale = std::max(scale, std::abs(value));
    EXPECT_LT(Distance(Read(*gpu, slot, FrameKind::kPredictedClean), expected), Tolerance() * scale) << slot;
  }
}

INSTANTIATE_TEST_SUITE_P(Precisions, GpuEngineTest, testing::Values(Precision::kFp32, Precision::kFp16),
                         [](const auto& test) { return PrecisionName(test.param); });

}  // namespace
}  // namespace denoised
