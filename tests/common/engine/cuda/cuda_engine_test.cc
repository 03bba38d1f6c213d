// The CUDA kernel's arithmetic, emulated on the CPU; and, where there is a GPU, the kernel itself beside it.
#include "common/engine/cuda/cuda_engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/script.h>

#include <algorithm>
#include <cmath>

#include "common/checkpoint/checkpoint.h"
#include "common/checkpoint/unet.h"
#include "common/diffusion/noise.h"
#include "common/diffusion/row_update.h"
#include "common/engine/cuda/cuda_rows.h"
#include "common/engine/make_engine.h"
#include "common/image/image.h"
#include "common/weights/plain_checkpoint.h"
#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

constexpr int kTimesteps = 20;

struct Network {
  UnetConfig config;
  torch::jit::Module unet;
  UnetWeights weights;
};

Network MakeNetwork(const std::string& architecture) {
  torch::jit::setGraphExecutorOptimize(false);  // which takes far longer than these few calls
  Network network;
  if (architecture == "seed") network.config = SeedUnetConfig();
  if (architecture == "deep") network.config.blocks = {2, 1, 3};
  torch::manual_seed(5);
  network.unet = MakeUnet(network.config);
  const torch::NoGradGuard no_grad;
  for (const at::Tensor& parameter : network.unet.parameters()) parameter.add_(0.02 * torch::randn_like(parameter));
  network.weights = *MakeUnetWeights(network.config, HostTensorsOf(network.unet), kTimesteps);
  return network;
}

// How far the kernel's output may be from LibTorch's, of an output whose values are about 1.
float Tolerance(Precision precision) { return precision == Precision::kFp32 ? 1e-4f : 2e-2f; }

struct Case {
  std::string architecture;
  Precision precision;
  bool on_gpu = false;
};

class CudaEngineTest : public testing::TestWithParam<Case> {
 protected:
  std::unique_ptr<Engine> MakeEngine(int threads = 1, int images_per_block = 1) const {
    const absl::StatusOr<NetworkProgram> program = CompileNetwork(network_.weights, GetParam().precision);
    EXPECT_THAT(program, IsOk());
    const CudaEngineOptions options = {.null_label = NullLabel(),
                                       .num_slots = 3,
                                       .num_threads = threads,
                                       .num_train_timesteps = kTimesteps,
                                       .images_per_block = images_per_block};
    return GetParam().on_gpu ? *MakeCudaEngine(*program, options) : MakeEmulatedCudaEngine(*program, options);
  }

  int NullLabel() const { return network_.config.num_labels - 1; }

  StepRow Row(int slot, int step, float guidance_scale = 1) const {
    return {.slot = slot,
            .plan = &plan_,
            .step = step,
            .label = 3 + slot,
            .guidance_scale = guidance_scale,
            .seed = 0x123456789ull + slot,
            .image_index = static_cast<uint32_t>(slot)};
  }

  static std::vector<float> Read(Engine& engine, int slot, FrameKind kind = FrameKind::kNoisy) {
    std::vector<float> pixels(kModelPixels);
    EXPECT_THAT(engine.Read(slot, kind, absl::MakeSpan(pixels)), IsOk());
    return pixels;
  }

  // The network's output for a row, by LibTorch.
  std::vector<float> Predict(const std::vector<float>& x, int timestep, int label) {
    const torch::NoGradGuard no_grad;
    const at::Tensor input = torch::tensor(x).view({1, 1, kModelSize, kModelSize});
    const at::Tensor e =
        network_.unet.forward({input, torch::tensor({int64_t{timestep}}), torch::tensor({int64_t{label}})}).toTensor();
    const at::Tensor plain = e.contiguous();
    return {plain.data_ptr<float>(), plain.data_ptr<float>() + kModelPixels};
  }

  Network network_ = MakeNetwork(GetParam().architecture);
  // The second row shows e itself, as x0; the others are a sampler's.
  const StepPlan plan_ = {{.timestep = 12, .p = 0, .q = 1, .lo = -1e9f, .hi = 1e9f, .a = 1, .b = 0.5f, .d = 0.25f},
                          {.timestep = 7, .p = 0.5f, .q = -0.5f, .lo = -1, .hi = 1, .a = 0.25f, .b = 0.5f, .c = 0.5f}};
};

class EmulatedCudaEngineTest : public CudaEngineTest {};

TEST_P(CudaEngineTest, PredictsWhatTheCheckpointsNetworkDoes) {
  const auto engine = MakeEngine();
  ASSERT_THAT(engine->Step({Row(0, 0), Row(2, 0)}), IsOk());
  for (const int slot : {0, 2}) {
    const StepRow row = Row(slot, 0);
    std::vector<float> x(kModelPixels);
    FillNoise({.seed = row.seed, .image_index = row.image_index}, absl::MakeSpan(x));
    const std::vector<float> expected = Predict(x, plan_[0].timestep, row.label);
    ASSERT_GT(*std::max_element(expected.begin(), expected.end()), 0.1f);
    EXPECT_THAT(Read(*engine, slot, FrameKind::kPredictedClean),
                testing::Pointwise(testing::FloatNear(Tolerance(GetParam().precision)), expected));
  }
}

// With the network's output as the kernel has it, start, noise and update are the CPU's, to the last bit.
TEST_P(CudaEngineTest, NoiseAndUpdateAreTheCpusToTheLastBit) {
  const auto engine = MakeEngine();
  ASSERT_THAT(engine->Step({Row(1, 0)}), IsOk());
  const StepRow row = Row(1, 0);
  std::vector<float> x(kModelPixels), z(kModelPixels), x0(kModelPixels);
  FillNoise({.seed = row.seed, .image_index = row.image_index}, absl::MakeSpan(x));
  FillNoise({.seed = row.seed, .image_index = row.image_index, .stream = 1}, absl::MakeSpan(z));
  const std::vector<float> e = Read(*engine, 1, FrameKind::kPredictedClean);
  UpdateRow(plan_[0], e.data(), z.data(), kModelPixels, x.data(), x0.data());
  EXPECT_EQ(Read(*engine, 1), x);
}

TEST_P(CudaEngineTest, GuidanceMovesAwayFromTheNullLabelsPrediction) {
  const int null_label = NullLabel();
  const auto engine = MakeEngine();
  ASSERT_THAT(engine->Step({Row(0, 0, 2.5f), Row(1, 0)}), IsOk());
  const StepRow row = Row(0, 0);
  std::vector<float> x(kModelPixels);
  FillNoise({.seed = row.seed, .image_index = row.image_index}, absl::MakeSpan(x));
  const std::vector<float> label = Predict(x, plan_[0].timestep, row.label);
  const std::vector<float> null = Predict(x, plan_[0].timestep, null_label);
  std::vector<float> expected(kModelPixels);
  for (int i = 0; i < kModelPixels; ++i) expected[i] = null[i] + 2.5f * (label[i] - null[i]);
  EXPECT_THAT(Read(*engine, 0, FrameKind::kPredictedClean),
              testing::Pointwise(testing::FloatNear(5 * Tolerance(GetParam().precision)), expected));
}

TEST_P(CudaEngineTest, FramesThatAreBroughtTogetherAreThoseThatAreBroughtAlone) {
  const auto engine = MakeEngine();
  std::vector<std::vector<float>> alone, together;
  const std::vector<WantedFrame> frames = {
      {2, FrameKind::kNoisy}, {0, FrameKind::kPredictedClean}, {1, FrameKind::kNoisy}, {2, FrameKind::kPredictedClean}};
  for (const int step : {0, 1}) {
    ASSERT_THAT(engine->Step({Row(0, step), Row(1, step), Row(2, step)}), IsOk());
    for (const WantedFrame& frame : frames) alone.push_back(Read(*engine, frame.slot, frame.kind));
    engine->Prefetch(frames);
    for (const WantedFrame& frame : frames) together.push_back(Read(*engine, frame.slot, frame.kind));
    alone.push_back(Read(*engine, 0));  // it was not announced
    engine->Prefetch({});
    together.push_back(Read(*engine, 0));
  }
  EXPECT_EQ(alone, together);
  EXPECT_NE(alone[0], alone[frames.size() + 1]) << "each step has other frames";
  EXPECT_NE(alone[0], alone[2]) << "and each slot";
}

// Its kernel notices; nobody has to read the image.
TEST_P(CudaEngineTest, ImageThatIsNotFiniteIsKnownAfterItsStep) {
  const StepPlan breaks = {{.timestep = 12, .lo = -1, .hi = 1, .a = 1, .b = 1e37f, .d = 1e37f},
                           {.timestep = 7, .lo = -1, .hi = 1, .a = 1e38f, .b = 0.5f}};
  const auto engine = MakeEngine();
  StepRow bad = Row(1, 0, /*guidance_scale=*/2);
  bad.plan = &breaks;
  ASSERT_THAT(engine->Step({Row(0, 0), bad, Row(2, 0)}), IsOk());
  for (const int slot : {0, 1, 2}) EXPECT_TRUE(engine->Finite(slot)) << slot;
  bad.step = 1;
  ASSERT_THAT(engine->Step({Row(0, 1), bad}), IsOk());
  EXPECT_TRUE(engine->Finite(0));
  EXPECT_FALSE(engine->Finite(1));
  EXPECT_TRUE(engine->Finite(2));
  std::vector<float> pixels(kModelPixels);
  EXPECT_THAT(engine->Read(1, FrameKind::kNoisy, absl::MakeSpan(pixels)),
              StatusIs(absl::StatusCode::kInternal, "the network produced values that are not finite numbers"));
  ASSERT_THAT(engine->Step({Row(1, 0)}), IsOk());
  EXPECT_TRUE(engine->Finite(1)) << "the slot's next image";
}

TEST_P(CudaEngineTest, AnImagesBitsDependNeitherOnItsCompanyNorOnItsSlot) {
  const auto alone = MakeEngine();
  for (const int step : {0, 1}) ASSERT_THAT(alone->Step({Row(1, step)}), IsOk());
  for (const int images_per_block : {1, 2}) {
    const auto together = MakeEngine(/*threads=*/2, images_per_block);
    for (const int step : {0, 1}) {
      ASSERT_THAT(together->Step({Row(2, step, /*guidance_scale=*/3), Row(1, step), Row(0, step)}), IsOk());
    }
    EXPECT_EQ(Read(*together, 1), Read(*alone, 1)) << images_per_block;
  }
}

// Threads that take turns in another order would find out a barrier that is missing, and rubbish in memory what is read
// before it is written.
TEST_P(EmulatedCudaEngineTest, BitsDependNeitherOnTheOrderOfThreadsNorOnWhatMemoryHeld) {
  const absl::StatusOr<NetworkProgram> program = CompileNetwork(network_.weights, GetParam().precision);
  ASSERT_THAT(program, IsOk());
  std::vector<std::vector<float>> images;
  for (const int disorder : {0, 1, 2}) {
    const auto engine = MakeEmulatedCudaEngine(*program, {.null_label = NullLabel(),
                                                          .num_slots = 3,
                                                          .num_threads = 2,
                                                          .num_train_timesteps = kTimesteps,
                                                          .disorder = disorder,
                                                          .images_per_block = 2});
    for (const int step : {0, 1}) {
      ASSERT_THAT(engine->Step({Row(0, step), Row(1, step, 2.5f), Row(2, step)}), IsOk());
    }
    std::vector<float> all;
    for (const int slot : {0, 1, 2}) {
      const std::vector<float> image = Read(*engine, slot);
      all.insert(all.end(), image.begin(), image.end());
    }
    images.push_back(all);
  }
  EXPECT_EQ(images[1], images[0]);
  EXPECT_EQ(images[2], images[0]);
}

// The emulation, and the kernel itself where there is a GPU: the original's activations lie in global memory there.
const std::vector<Case> kEmulated = {{"compact", Precision::kFp32},
                                     {"compact", Precision::kFp16},
                                     {"deep", Precision::kFp16},
                                     {"seed", Precision::kFp16}};

std::vector<Case> Cases() {
  std::vector<Case> cases = kEmulated;
  for (Case on_gpu : kEmulated) {
    on_gpu.on_gpu = true;
    if (CudaDeviceCount() > 0) cases.push_back(on_gpu);
  }
  return cases;
}

std::string NameOf(const testing::TestParamInfo<Case>& test) {
  return (test.param.on_gpu ? "gpu_" : "emulated_") + test.param.architecture +
         (test.param.precision == Precision::kFp32 ? "_fp32" : "_fp16");
}

INSTANTIATE_TEST_SUITE_P(Networks, CudaEngineTest, testing::ValuesIn(Cases()), NameOf);
INSTANTIATE_TEST_SUITE_P(Networks, EmulatedCudaEngineTest, testing::ValuesIn(kEmulated), NameOf);

TEST(CompileNetworkTest, EndsWithTheTilesThatAreReadAhead) {
  const NetworkProgram program = *CompileNetwork(MakeNetwork("compact").weights, Precision::kFp16);
  int64_t used = 0;  // tiles
  for (const Operation& operation : program.operations) {
    if (operation.kind != Operation::Kind::kConvolve) continue;
    used = std::max(used, operation.weights + (operation.column_tiles + 1) / 2 * 2 * int64_t{operation.depth});
  }
  EXPECT_GT(used, 0);
  EXPECT_EQ(static_cast<int64_t>(program.weights.size()), (used + kTilesAhead) * kTileValues);
}

// What a block may have of a multiprocessor's: 99 KB on GPUs for pictures (sm_86, 89 and 120), 163 KB on sm_80, 227 KB
// on sm_90 and sm_100 (CUDA C++ Programming Guide, "Technical Specifications per Compute Capability").
TEST(BlockMemoryTest, ShippedNetworkFitsOnEveryGpuThatTheKernelIsFor) {
  const absl::StatusOr<PlainCheckpoint> checkpoint = LoadPlainCheckpoint(DENOISED_SOURCE_DIR "/models/mnist.pt");
  ASSERT_THAT(checkpoint, IsOk());
  cuda_step::Arguments<Half> shape = cuda_step::ShapeOf<Half>(
      *CompileNetwork(*MakeUnetWeights(checkpoint->metadata.unet, checkpoint->tensors, kTimesteps), Precision::kFp16));
  shape.rows_at_once = 1;
  EXPECT_LE(cuda_step::BlockMemory::Bytes(shape, /*with_activations=*/true), 99 << 10);
  shape.rows_at_once = 2;
  EXPECT_LE(cuda_step::BlockMemory::Bytes(shape, /*with_activations=*/true), 227 << 10);
}

// Guided images come first, so that with two rows to a block nothing stays empty.
TEST(PackRowsTest, RowsOfAGuidedImageShareABlock) {
  const StepPlan plan = {{.timestep = 9}, {.timestep = 4}};
  const StepRow plain = {.slot = 1, .plan = &plan, .label = 3, .seed = 7, .image_index = 5};
  StepRow guided = plain;
  guided.slot = 2;
  guided.guidance_scale = 2;
  cuda_step::PackedRows packed;
  const CudaEngineOptions options = {.null_label = 10, .num_train_timesteps = 100};
  cuda_step::PackRows({plain, guided, plain}, /*num_steps=*/2, /*rows_per_block=*/2, options, packed);
  ASSERT_EQ(packed.rows.size(), 4u);
  EXPECT_THAT(packed.first_rows, testing::ElementsAre(0, 2, 4));
  EXPECT_EQ(packed.rows[0].slot, 2);
  EXPECT_EQ(packed.rows[0].conditioning, 300);
  EXPECT_TRUE(packed.rows[1].null_label);
  EXPECT_EQ(packed.rows[1].conditioning, 1000);
  EXPECT_EQ(packed.rows[2].slot, 1);
  ASSERT_EQ(packed.coefficients.size(), 8u);  // of both steps
  EXPECT_EQ(packed.coefficients[3].timestep, 9);
  EXPECT_EQ(packed.coefficients[4].timestep, 4);

  cuda_step::PackRows({plain, guided, plain}, 1, /*rows_per_block=*/1, options, packed);
  EXPECT_THAT(packed.first_rows, testing::ElementsAre(0, 2, 3, 4)) << "its two rows are one after the other in a block";
}

// ---- Whole chains with the shipped checkpoint ----

int GreyLevel(float pixel) { return static_cast<int>(std::lround((std::clamp(pixel, -1.0f, 1.0f) + 1) * 127.5f)); }

// The largest difference of two images, in grey levels.
int Difference(const std::vector<float>& a, const std::vector<float>& b) {
  int largest = 0;
  for (size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(GreyLevel(a[i]) - GreyLevel(b[i])));
  return largest;
}

class CudaChainTest : public testing::Test {
 protected:
  // Images of a few digits, by 20 steps of two samplers; each alone, or all in one batch.
  std::vector<std::vector<float>> Draw(const std::string& device, Precision precision, bool together) {
    const auto engine =
        MakeEngine(Plain(checkpoint_), {.device = device, .num_slots = kImages, .precision = precision});
    EXPECT_THAT(engine, IsOk());
    std::vector<StepRow> rows;
    for (int i = 0; i < kImages; ++i) {
      rows.push_back(
          {.slot = i, .plan = &plans_[i % 2], .label = 3 * i, .seed = 7, .image_index = static_cast<uint32_t>(i)});
    }
    for (int step = 0; step < kSteps; ++step) {
      for (StepRow& row : rows) row.step = step;
      const size_t batch = together ? rows.size() : 1;
      for (size_t i = 0; i < rows.size(); i += batch) {
        EXPECT_THAT((*engine)->Step(absl::MakeSpan(rows).subspan(i, batch)), IsOk());
      }
    }
    std::vector<std::vector<float>> images(kImages, std::vector<float>(kModelPixels));
    for (int i = 0; i < kImages; ++i) {
      EXPECT_THAT((*engine)->Read(i, FrameKind::kNoisy, absl::MakeSpan(images[i])), IsOk());
    }
    return images;
  }

  static constexpr int kImages = 4, kSteps = 20;
  const Checkpoint checkpoint_ = *LoadCheckpoint(DENOISED_SOURCE_DIR "/models/mnist.pt");
  const NoiseSchedule schedule_ = *NoiseSchedule::Create(checkpoint_.metadata.noise_schedule);
  const StepPlan plans_[2] = {*MakeStepPlan(schedule_, {.sampler = SamplerType::kDdpm, .steps = kSteps}),
                              *MakeStepPlan(schedule_, {.sampler = SamplerType::kDpmSolverPp2M, .steps = kSteps})};
};

TEST_F(CudaChainTest, EmulatedFp32DrawsTheCpusImages) {
  const auto cpu = Draw("cpu", Precision::kFp32, true), emulated = Draw("emulated-cuda", Precision::kFp32, true);
  for (int i = 0; i < kImages; ++i) EXPECT_LE(Difference(cpu[i], emulated[i]), 2) << "image " << i;
}

TEST_F(CudaChainTest, EmulatedFp16DrawsNearlyTheSame) {
  const auto cpu = Draw("cpu", Precision::kFp32, true), emulated = Draw("emulated-cuda", Precision::kFp16, true);
  for (int i = 0; i < kImages; ++i) EXPECT_LE(Difference(cpu[i], emulated[i]), 12) << "image " << i;
}

TEST_F(CudaChainTest, GpuDrawsTheCpusImagesInAnyCompany) {
  if (CudaDeviceCount() == 0) GTEST_SKIP() << "there is no GPU here, or this build has no CUDA: the kernel is not run";
  const auto cpu = Draw("cpu", Precision::kFp32, true), fp32 = Draw("cuda", Precision::kFp32, true);
  for (int i = 0; i < kImages; ++i) EXPECT_LE(Difference(cpu[i], fp32[i]), 2) << "image " << i;
  for (const Precision precision : {Precision::kFp32, Precision::kFp16}) {
    EXPECT_EQ(Draw("cuda", precision, true), Draw("cuda", precision, false));
  }
  const auto fp16 = Draw("cuda", Precision::kFp16, true);
  const auto emulated = Draw("emulated-cuda", Precision::kFp16, true);
  for (int i = 0; i < kImages; ++i) EXPECT_LE(Difference(fp16[i], emulated[i]), 12) << "image " << i;
}

}  // namespace
}  // namespace denoised
