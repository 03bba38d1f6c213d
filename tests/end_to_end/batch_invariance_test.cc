// What an image looks like depends on its own request alone: not on what shares its batch, not on previews, not on the
// load, not on who leaves. The real scheduler, LibTorch's engine and the shipped checkpoint, down to the PNG's SHA-256.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "common/checkpoint/checkpoint.h"
#include "common/engine/cuda/cuda_engine.h"
#include "common/engine/device.h"
#include "common/engine/make_engine.h"
#include "common/image/image.h"
#include "common/image/png.h"
#include "common/support/digest.h"
#include "server/scheduler/scheduler.h"
#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

constexpr int kSeeds = 32;
const SchedulerOptions kOptions = {.max_batch_rows = 16, .max_queued_images = 16 * kSeeds};

class Recorder : public DrawListener {
 public:
  void OnPreview(const PreviewFrame&) override { ++previews; }
  void OnImage(const FinishedImage& image) override {
    const absl::StatusOr<std::string> png = EncodePng(FromModelPixels(image.pixels, kModelSize, kModelSize));
    sha256 = Sha256Hex(*png);
  }
  void OnDone(const absl::Status& status) override { done = status; }

  int previews = 0;
  std::string sha256;
  std::optional<absl::Status> done;
};

struct Case {
  std::string name, device;
  Precision precision;
  bool measured;  // the scheduler makes its steps as wide as the engine rewards, so that images overtake one another
};

class BatchInvarianceTest : public testing::TestWithParam<Case> {
 protected:
  struct Call {
    std::shared_ptr<Recorder> heard = std::make_shared<Recorder>();
    Admission admission;
  };

  BatchInvarianceTest()
      : checkpoint_(*LoadCheckpoint(DENOISED_SOURCE_DIR "/models/mnist.pt")),
        schedule_(*NoiseSchedule::Create(checkpoint_.metadata.noise_schedule)),
        engine_(*MakeEngine(Plain(checkpoint_), {.device = GetParam().device,
                                                 .num_slots = UsefulSlots(kOptions),
                                                 .num_threads = 2,
                                                 .precision = GetParam().precision})),
        scheduler_(*engine_, kOptions) {
    if (GetParam().measured) {
      EXPECT_THAT(scheduler_.Calibrate(), IsOk());
    }
  }

  // Every sampler, several lengths, with and without guidance.
  DrawRequest Request(uint64_t seed) const {
    const SamplerType samplers[] = {SamplerType::kDdpm, SamplerType::kDdim, SamplerType::kDpmSolverPp2M};
    DrawRequest request;
    request.label = static_cast<int>(seed % 10);
    request.seed = seed;
    request.sampler = samplers[seed % 3];
    request.plan =
        std::make_shared<const StepPlan>(*MakeStepPlan(schedule_, {.sampler = request.sampler,
                                                                   .steps = 6 + static_cast<int>(seed % 5),
                                                                   .variance_type = checkpoint_.metadata.variance_type,
                                                                   .clip_sample = checkpoint_.metadata.clip_sample}));
    request.guidance_scale = seed % 4 == 0 ? 1.5f : 1;
    return request;
  }

  Call Submit(const DrawRequest& request) {
    Call call;
    absl::StatusOr<Admission> admission = scheduler_.Submit(request, call.heard);
    EXPECT_THAT(admission.status(), IsOk());
    if (admission.ok()) call.admission = *std::move(admission);
    return call;
  }

  const Checkpoint checkpoint_;
  const NoiseSchedule schedule_;
  const std::unique_ptr<Engine> engine_;
  Scheduler scheduler_;
};

TEST_P(BatchInvarianceTest, PngsOf32SeedsAreTheSameAloneAndInACrowd) {
  std::map<uint64_t, std::string> alone;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const Call call = Submit(Request(seed));
    while (scheduler_.RunStep()) {
    }
    alone[seed] = call.heard->sha256;
    ASSERT_EQ(alone[seed].size(), 64u);
  }

  std::mt19937_64 random(7);
  const auto chance = [&random](double share) { return std::bernoulli_distribution(share)(random); };
  std::map<uint64_t, Call> calls;
  std::vector<Call> others;
  for (uint64_t next = 0; next < kSeeds || scheduler_.stats().denoising_images > 0;) {
    if (next < kSeeds && chance(0.5)) {
      DrawRequest request = Request(next);
      if (chance(0.5)) request.preview_every = 2;
      calls.emplace(next++, Submit(request));
    }
    if (next < kSeeds && chance(0.3)) {  // somebody else
      DrawRequest request = Request(1000 + random() % 1000);
      request.count = 1 + static_cast<uint32_t>(random() % 3);
      others.push_back(Submit(request));
    }
    if (!others.empty() && chance(0.2)) others[random() % others.size()].admission.ticket.Cancel();
    scheduler_.RunStep();
  }
  while (scheduler_.RunStep()) {
  }

  int previews = 0;
  for (const auto& [seed, call] : calls) {
    EXPECT_EQ(call.heard->sha256, alone[seed]) << "seed " << seed;
    previews += call.heard->previews;
  }
  EXPECT_EQ(calls.size(), size_t{kSeeds});
  EXPECT_GT(previews, 0);
  EXPECT_GT(others.size(), 5u);
}

std::vector<Case> Cases() {
  std::vector<Case> cases = {
      {"Cpu", "cpu", Precision::kAuto, false},
      {"CpuInStepsAsWideAsItRewards", "cpu", Precision::kAuto, true},
  };
  if (*ResolvePrecision(Precision::kAuto, "cpu") != Precision::kFp32) {
    cases.push_back({"CpuFp32", "cpu", Precision::kFp32, false});
  }
  if (CudaDeviceCount() > 0) cases.push_back({"Cuda", "cuda", Precision::kAuto, true});
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Devices, BatchInvarianceTest, testing::ValuesIn(Cases()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace denoised
