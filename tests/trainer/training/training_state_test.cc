#include "trainer/training/training_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <random>

#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

using testing::StartsWith;

constexpr char kDamaged[] = "state.pt is damaged, or of another version of this program; it cannot be resumed";

// A run of one parameter, after one step of its optimizer.
class SmallRun {
 public:
  SmallRun() {
    weight_.sum().backward();
    optimizer_.step();
  }

  TrainingState state() {
    return {.recipe = &recipe_,
            .weights = {weight_},
            .averages = {average_},
            .optimizer = &optimizer_,
            .progress = &progress_,
            .log = &log_,
            .origin = &origin_};
  }
  at::Tensor& average() { return average_; }
  at::Tensor& moment() {
    return static_cast<torch::optim::AdamWParamState&>(*optimizer_.state().begin()->second).exp_avg();
  }
  TrainingProgressState& progress() { return progress_; }
  RunOrigin& origin() { return origin_; }

 private:
  at::Tensor weight_ = torch::ones({8}, torch::requires_grad());
  at::Tensor average_ = torch::ones({8});
  torch::optim::AdamW optimizer_{std::vector<at::Tensor>{weight_}, torch::optim::AdamWOptions(0.1)};
  Recipe recipe_ = {{"--seed", "1"}};
  TrainingProgressState progress_;
  TrainingLog log_;
  RunOrigin origin_ = {.command = "--seed 1", .source_revision = "abc", .libtorch_version = "2.0"};
};

TEST(TrainingStateTest, ComesBack) {
  SmallRun saved, restored;
  saved.average().fill_(3);
  saved.moment().fill_(4);
  saved.progress().step = 5;
  ASSERT_THAT(RestoreTrainingState("state.pt", SerializeTrainingState(saved.state()), restored.state()), IsOk());
  EXPECT_EQ(restored.average()[7].item<float>(), 3);
  EXPECT_EQ(restored.moment()[7].item<float>(), 4);
  EXPECT_EQ(restored.progress().step, 5);
}

TEST(TrainingStateTest, OriginIsThatOfTheBeginningAndOfWhoeverWentOn) {
  SmallRun saved, restored;
  restored.origin() = {.command = "--seed 1 --resume", .source_revision = "def", .libtorch_version = "2.0"};
  ASSERT_THAT(RestoreTrainingState("state.pt", SerializeTrainingState(saved.state()), restored.state()), IsOk());
  EXPECT_EQ(restored.origin(),
            (RunOrigin{.command = "--seed 1", .source_revision = "abc, def", .libtorch_version = "2.0"}));
  SmallRun again;
  ASSERT_THAT(RestoreTrainingState("state.pt", SerializeTrainingState(restored.state()), again.state()), IsOk());
  EXPECT_EQ(again.origin().source_revision, "abc, def") << "each once";
}

TEST(TrainingStateTest, FlagOfASavedRunIsFoundBeforeItIsRestored) {
  SmallRun saved;
  const std::string bytes = SerializeTrainingState(saved.state());
  EXPECT_EQ(SavedFlag(bytes, "--seed"), "1");
  EXPECT_EQ(SavedFlag(bytes, "--threads"), "");
  EXPECT_EQ(SavedFlag("junk", "--seed"), "");
}

// Such a tensor would be read from whatever memory lies behind the file's data.
TEST(TrainingStateTest, TensorsThatGoBeyondTheirDataAreRefused) {
  for (const bool moment : {false, true}) {
    SmallRun saved, restored;
    at::Tensor& tensor = moment ? saved.moment() : saved.average();
    tensor = tensor.clone();
    tensor.unsafeGetTensorImpl()->set_storage_offset(1);
    const absl::Status status =
        RestoreTrainingState("state.pt", SerializeTrainingState(saved.state()), restored.state());
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(status.message()), StartsWith(kDamaged));
  }
}

TEST(TrainingStateTest, FlippedBitInAWeightIsNoticed) {
  SmallRun saved, restored;
  saved.average().fill_(3);
  std::string bytes = SerializeTrainingState(saved.state());
  const float three = 3;
  bytes[bytes.find(std::string(reinterpret_cast<const char*>(&three), sizeof three)) + 3] ^= 1;
  const absl::Status status = RestoreTrainingState("state.pt", bytes, restored.state());
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), StartsWith(kDamaged));
}

TEST(TrainingStateTest, StateOfBeforeThereWereSumsIsRead) {
  SmallRun saved, restored;
  saved.progress().step = 5;
  std::string bytes = SerializeTrainingState(saved.state());
  bytes.resize(bytes.rfind("\nsha256 "));
  ASSERT_THAT(RestoreTrainingState("state.pt", bytes, restored.state()), IsOk());
  EXPECT_EQ(restored.progress().step, 5);
}

// LibTorch 1.13 ended the process over some of them.
TEST(TrainingStateTest, DamagedBytesAnywhereAreSaidOrHarmless) {
  SmallRun saved;
  const std::string good = SerializeTrainingState(saved.state());
  std::mt19937 random(7);
  for (int i = 0; i < 200; ++i) {
    std::string damaged = good;
    damaged[random() % damaged.size()] = static_cast<char>(random());
    SmallRun restored;
    const absl::Status status = RestoreTrainingState("state.pt", damaged, restored.state());
    if (!status.ok()) {
      EXPECT_THAT(std::string(status.message()), StartsWith("state.pt ")) << i;
    }
  }
}

}  // namespace
}  // namespace denoised
