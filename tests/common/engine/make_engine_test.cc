#include "common/engine/make_engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "common/checkpoint/checkpoint.h"
#include "common/checkpoint/unet.h"
#include "common/diffusion/noise.h"
#include "common/diffusion/row_update.h"
#include "common/engine/cpu/onednn_network.h"
#include "common/image/image.h"
#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

Checkpoint SmallCheckpoint() {
  ModelMetadata metadata;
  metadata.unet.channels = {16, 16, 32};
  metadata.unet.embedding_dim = 16;
  metadata.null_label = 10;
  torch::manual_seed(1);
  torch::jit::Module unet = MakeUnet(metadata.unet);
  {
    const torch::NoGradGuard no_grad;
    for (const at::Tensor& parameter : unet.parameters()) parameter.add_(0.1 * torch::randn_like(parameter));
  }
  return *ParseCheckpoint("small", *SerializeCheckpoint(metadata, unet));
}

StepPlan Plan(SamplerType sampler, int steps) {
  return *MakeStepPlan(*NoiseSchedule::Create({}), {.sampler = sampler, .steps = steps});
}

struct Image {
  StepPlan plan;
  int label = 3;
  uint64_t seed = 42;
  uint32_t image_index = 0;
  float guidance_scale = 1;

  StepRow Row(int slot, int step) const {
    return {.slot = slot,
            .plan = &plan,
            .step = step,
            .label = label,
            .guidance_scale = guidance_scale,
            .seed = seed,
            .image_index = image_index};
  }
};

std::vector<float> Read(Engine& engine, int slot) {
  std::vector<float> pixels(kModelPixels);
  EXPECT_THAT(engine.Read(slot, FrameKind::kNoisy, absl::MakeSpan(pixels)), IsOk());
  return pixels;
}

std::vector<float> DrawAlone(Engine& engine, const Image& image, int slot = 0) {
  for (size_t step = 0; step < image.plan.size(); ++step) {
    EXPECT_THAT(engine.Step({image.Row(slot, static_cast<int>(step))}), IsOk());
  }
  return Read(engine, slot);
}

// The chain as the formulas say, with the network called row by row.
std::vector<float> DrawByHand(Checkpoint checkpoint, const Image& image) {
  const torch::NoGradGuard no_grad;
  at::Tensor x = torch::empty({1, 1, kModelSize, kModelSize});
  std::vector<float> x0(kModelPixels), z(kModelPixels);
  FillNoise({.seed = image.seed, .image_index = image.image_index}, {x.data_ptr<float>(), kModelPixels});
  for (size_t i = 0; i < image.plan.size(); ++i) {
    const StepCoefficients& row = image.plan[i];
    const auto network = [&](int64_t label) {
      return checkpoint.unet.forward({x, torch::tensor({int64_t{row.timestep}}), torch::tensor({label})}).toTensor();
    };
    at::Tensor e = network(image.label);
    if (image.guidance_scale != 1) {
      const at::Tensor null = network(*checkpoint.metadata.null_label);
      e = null + image.guidance_scale * (e - null);
    }
    e = e.contiguous();
    FillNoise({.seed = image.seed, .image_index = image.image_index, .stream = static_cast<uint32_t>(i + 1)},
              absl::MakeSpan(z));
    UpdateRow(row, e.data_ptr<float>(), row.d == 0 ? nullptr : z.data(), kModelPixels, x.data_ptr<float>(), x0.data());
  }
  return {x.data_ptr<float>(), x.data_ptr<float>() + kModelPixels};
}

class EveryEngineTest : public testing::TestWithParam<EnginePath> {
 protected:
  std::unique_ptr<Engine> EngineWith(int threads = 2) {
    return *MakeEngine(
        Plain(checkpoint_),
        {.device = "cpu", .num_slots = 8, .num_threads = threads, .precision = Precision::kFp32, .path = GetParam()});
  }

  const Checkpoint checkpoint_ = SmallCheckpoint();
};

// Whatever is chosen: a chain goes on by another team where it was left by the one before.
TEST_P(EveryEngineTest, ChoosingAgainInTheMiddleOfAChainChangesNoBit) {
  const Image image{.plan = Plan(SamplerType::kDdpm, 6)};
  const std::vector<float> expected = DrawAlone(*EngineWith(), image);
  const auto engine = EngineWith();
  for (int step = 0; step < 6; ++step) {
    ASSERT_THAT(engine->Step({image.Row(0, step)}), IsOk());
    engine->ChooseAgain([] { return false; });
  }
  EXPECT_EQ(Read(*engine, 0), expected);
}

TEST_P(EveryEngineTest, FollowsTheFormulas) {
  const auto engine = EngineWith();
  for (const Image& image :
       {Image{.plan = Plan(SamplerType::kDdpm, 12)}, Image{.plan = Plan(SamplerType::kDdim, 7), .label = 9},
        Image{.plan = Plan(SamplerType::kDpmSolverPp2M, 9), .seed = 5, .image_index = 2},
        Image{.plan = Plan(SamplerType::kDdpm, 5), .guidance_scale = 2.5f}}) {
    const std::vector<float> expected = DrawByHand(checkpoint_, image);
    EXPECT_THAT(DrawAlone(*engine, image), testing::Pointwise(testing::FloatNear(2e-3f), expected));
  }
}

TEST_P(EveryEngineTest, SlotsAreAlikeAndForgetTheirLastImage) {
  const auto engine = EngineWith();
  const Image image{.plan = Plan(SamplerType::kDpmSolverPp2M, 5)};
  const std::vector<float> first = DrawAlone(*engine, image, 0);
  DrawAlone(*engine, Image{.plan = Plan(SamplerType::kDdpm, 3), .label = 1, .seed = 1}, 7);
  EXPECT_EQ(DrawAlone(*engine, image, 7), first);
}

// Bit for bit on the CPU's own path: what an image looks like never depends on its neighbours.
TEST_P(EveryEngineTest, NeighboursDoNotChangeAnImage) {
  const auto engine = EngineWith();
  const Image image{.plan = Plan(SamplerType::kDdpm, 10)};
  const std::vector<float> alone = DrawAlone(*engine, image);
  const Image short_one{.plan = Plan(SamplerType::kDdim, 4), .label = 8, .seed = 1};
  const Image guided{.plan = Plan(SamplerType::kDpmSolverPp2M, 6), .label = 1, .seed = 2, .guidance_scale = 3};
  for (int step = 0; step < 10; ++step) {
    std::vector<StepRow> rows;
    if (step >= 2 && step < 6) rows.push_back(short_one.Row(5, step - 2));
    rows.push_back(image.Row(2, step));
    if (step >= 3 && step < 9) rows.push_back(guided.Row(0, step - 3));
    ASSERT_THAT(engine->Step(rows), IsOk());
  }
  if (GetParam() == EnginePath::kBatched) {
    EXPECT_THAT(Read(*engine, 2), testing::Pointwise(testing::FloatNear(1e-3f), alone));
  } else {
    EXPECT_EQ(Read(*engine, 2), alone);
  }
}

TEST_P(EveryEngineTest, ThreadsDoNotChangeAnImage) {
  const Image image{.plan = Plan(SamplerType::kDdpm, 6)};
  EXPECT_EQ(DrawAlone(*EngineWith(1), image), DrawAlone(*EngineWith(3), image));
}

TEST_P(EveryEngineTest, PredictedCleanImageStaysInItsRange) {
  const auto engine = EngineWith();
  const Image image{.plan = Plan(SamplerType::kDdpm, 10)};
  ASSERT_THAT(engine->Step({image.Row(0, 0)}), IsOk());
  std::vector<float> clean(kModelPixels);
  ASSERT_THAT(engine->Read(0, FrameKind::kPredictedClean, absl::MakeSpan(clean)), IsOk());
  EXPECT_THAT(clean, testing::Each(testing::AllOf(testing::Ge(-1.0f), testing::Le(1.0f))));
  EXPECT_NE(clean, Read(*engine, 0));
}

TEST_P(EveryEngineTest, ImageThatIsNotFiniteIsAnErrorOfItsOwn) {
  const auto engine = EngineWith();
  StepPlan broken = Plan(SamplerType::kDdim, 2);
  broken[0].a = std::numeric_limits<float>::infinity();
  const Image bad{.plan = broken};
  const Image good{.plan = Plan(SamplerType::kDdim, 2)};
  ASSERT_THAT(engine->Step({bad.Row(0, 0), good.Row(1, 0)}), IsOk());
  std::vector<float> pixels(kModelPixels);
  EXPECT_THAT(engine->Read(0, FrameKind::kNoisy, absl::MakeSpan(pixels)),
              StatusIs(absl::StatusCode::kInternal, "the network produced values that are not finite numbers"));
  EXPECT_THAT(engine->Read(1, FrameKind::kNoisy, absl::MakeSpan(pixels)), IsOk());
}

TEST_P(EveryEngineTest, CountsTheTimeInTheNetwork) {
  const auto engine = EngineWith();
  const double before = engine->network_seconds();
  DrawAlone(*engine, {.plan = Plan(SamplerType::kDdpm, 3)});
  EXPECT_GT(engine->network_seconds(), before);
}

INSTANTIATE_TEST_SUITE_P(Paths, EveryEngineTest,
                         testing::Values(EnginePath::kFastest, EnginePath::kTorchScript, EnginePath::kBatched),
                         [](const auto& test) {
                           if (test.param == EnginePath::kBatched) return "Batched";
                           return test.param == EnginePath::kFastest ? "Fastest" : "TorchScript";
                         });

class BatchSizesTest : public testing::Test {
 protected:
  static std::unique_ptr<Engine> EngineOf(int max_rows) {
    return *MakeEngine(Plain(SmallCheckpoint()),
                       {.device = "cpu", .num_slots = 4, .max_rows = max_rows, .path = EnginePath::kBatched});
  }
};

TEST_F(BatchSizesTest, HoldGuidedImagesInAllSlotsByDefault) {
  const auto engine = EngineOf(0);
  EXPECT_EQ(engine->ComputedRows(3), 4);
  EXPECT_EQ(engine->ComputedRows(5), 8);
  EXPECT_EQ(engine->ComputedRows(8), 8);
}

TEST_F(BatchSizesTest, EndAtTheMostRowsOfAStep) {
  const auto engine = EngineOf(3);
  EXPECT_EQ(engine->ComputedRows(1), 1);
  EXPECT_EQ(engine->ComputedRows(3), 3);
  const Image image{.plan = Plan(SamplerType::kDdim, 2)};
  const Image guided{.plan = Plan(SamplerType::kDdim, 2), .guidance_scale = 2};
  EXPECT_THAT(engine->Step({guided.Row(0, 0), image.Row(1, 0)}), IsOk());
  EXPECT_THAT(
      engine->Step({guided.Row(0, 0), guided.Row(1, 0)}),
      StatusIs(absl::StatusCode::kInternal, "a step of 4 network rows, where the engine was made for 3 at most"));
}

TEST(MakeEngineTest, Bfloat16DrawsNearlyTheSameDigits) {
  if (!HasBfloat16()) GTEST_SKIP() << "this processor has no bfloat16 instructions";
  const Checkpoint checkpoint = *LoadCheckpoint(DENOISED_SOURCE_DIR "/models/mnist.pt");
  const Image image{.plan = *MakeStepPlan(*NoiseSchedule::Create(checkpoint.metadata.noise_schedule),
                                          {.sampler = SamplerType::kDpmSolverPp2M, .steps = 20})};
  const auto draw = [&](Precision precision) {
    return DrawAlone(**MakeEngine(Plain(checkpoint), {.device = "cpu", .num_slots = 1, .precision = precision}), image);
  };
  const std::vector<float> fp32 = draw(Precision::kFp32), bf16 = draw(Precision::kBf16);
  EXPECT_NE(bf16, fp32);
  double difference = 0;
  for (size_t i = 0; i < fp32.size(); ++i) difference += std::abs(bf16[i] - fp32[i]);
  EXPECT_LT(difference / static_cast<double>(fp32.size()), 0.02);  // of a range of 2
}

// Networks that oneDNN cannot run have LibTorch's fp32 alone.
TEST(MakeEngineTest, Bfloat16WhereTheNetworkHasNoneIsSaid) {
  if (!HasBfloat16()) GTEST_SKIP() << "this processor has no bfloat16 instructions";
  ModelMetadata metadata;
  metadata.unet.channels = {24, 48, 96};
  const Checkpoint checkpoint = *ParseCheckpoint("odd", *SerializeCheckpoint(metadata, MakeUnet(metadata.unet)));
  EXPECT_THAT(MakeEngine(Plain(checkpoint), {.device = "cpu", .num_slots = 1}), IsOk());
  EXPECT_THAT(MakeEngine(Plain(checkpoint), {.device = "cpu", .num_slots = 1, .precision = Precision::kBf16}),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       "--precision=bf16: a layer of 24 channels in 8 groups does not divide into vectors of 16; use "
                       "auto or fp32"));
}

TEST(MakeEngineTest, NeedsASlot) {
  EXPECT_THAT(MakeEngine(Plain(SmallCheckpoint()), {.device = "cpu", .num_slots = 0}),
              StatusIs(absl::StatusCode::kInvalidArgument, "the engine needs at least 1 slot, got 0"));
}

}  // namespace
}  // namespace denoised
