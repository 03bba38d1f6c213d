// A student, from its teacher to what it draws.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "common/checkpoint/checkpoint.h"
#include "common/checkpoint/unet.h"
#include "common/image/image.h"
#include "common/support/digest.h"
#include "tests/testing/mnist_folder.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "trainer/data/mnist.h"
#include "trainer/training/train.h"

namespace denoised {
namespace {

using testing::HasSubstr;

// Minutes become seconds: 64 images, a small network.
class DistillationTest : public testing::Test {
 protected:
  DistillationTest() {
    torch::jit::setGraphExecutorOptimize(false);
    data_ = *LoadMnist(SmallMnistFolder(), Split::kTrain, {.verify_checksums = false});
    data_.labels.resize(64);
    data_.pixels.resize(64 * kModelPixels);
    EXPECT_THAT(Train(data_, Options("teacher")), IsOk());
    teacher_ = folder_.File("teacher/last.pt");
  }

  TrainingOptions Options(const std::string& out) {
    TrainingOptions options = *DefaultTrainingOptions("compact");
    options.out = folder_.File(out);
    options.unet.channels = {8, 16, 16};
    options.unet.embedding_dim = 16;
    options.epochs = 2;
    options.batch_size = 16;
    options.learning_rate = 5e-3;
    options.warmup_steps = 0;
    options.ema_decay = 0;
    options.threads = 2;
    options.sample_every = 0;
    return options;
  }
  TrainingOptions StudentOptions(const std::string& out) {
    TrainingOptions options = Options(out);
    options.distill = teacher_;
    options.student_steps = 2;
    options.teacher_steps = 4;
    options.schedule.prediction_type = PredictionType::kVPrediction;
    return options;
  }
  std::vector<nlohmann::json> Log(const std::string& out) {
    std::istringstream lines(Slurp(folder_.File(out + "/log.jsonl")));
    std::vector<nlohmann::json> log;
    for (std::string line; std::getline(lines, line);) log.push_back(nlohmann::json::parse(line));
    return log;
  }
  // The same options, to go on with a run that was stopped in its first epoch.
  TrainingOptions Stopped(TrainingOptions options) {
    int steps = 0;
    options.stop_requested = [&steps] { return ++steps == 3; };
    EXPECT_THAT(Train(data_, options), IsOk());
    options.stop_requested = nullptr;
    options.resume = true;
    return options;
  }
  void ExpectRefusal(const TrainingOptions& options, absl::StatusCode code, const std::string& message) {
    EXPECT_THAT(Train(data_, options), StatusIs(code, HasSubstr(message)));
    EXPECT_FALSE(std::filesystem::exists(options.out));
  }

  TempFolder folder_;
  Dataset data_;
  std::string teacher_;
};

TEST_F(DistillationTest, StudentLearnsItsStepsAndTheyAreInItsCheckpoint) {
  TrainingOptions options = StudentOptions("student");
  options.epochs = 12;
  options.validation_images = 16;
  options.sample_every = 12;
  ASSERT_THAT(Train(data_, options), IsOk());
  const std::vector<nlohmann::json> log = Log("student");
  ASSERT_EQ(log.size(), 12u);
  EXPECT_LT(log.back()["validation_loss"].get<double>(), log.front()["validation_loss"].get<double>() * 0.8)
      << "it must learn";
  EXPECT_TRUE(std::filesystem::exists(folder_.File("student/samples.png")));
  const absl::StatusOr<Checkpoint> student = LoadCheckpoint(folder_.File("student/best.pt"));
  ASSERT_THAT(student, IsOk());
  EXPECT_EQ(student->metadata.distilled_steps, 2);
  EXPECT_EQ(student->metadata.noise_schedule.prediction_type, PredictionType::kVPrediction);
  const std::string sha256 = LoadCheckpoint(teacher_)->sha256;
  EXPECT_EQ(student->metadata.training.init_sha256, sha256);
  const auto flags = student->metadata.training.flags;
  const std::map<std::string, std::string> by_name(flags.begin(), flags.end());
  EXPECT_EQ(by_name.at("--distill"), "a file of SHA-256 " + sha256);
  EXPECT_EQ(by_name.at("--student_steps"), "2");
  EXPECT_EQ(by_name.at("--teacher_steps"), "4");
}

TEST_F(DistillationTest, StoppedItGoesOnAsIfNothingHadHappened) {
  ASSERT_THAT(Train(data_, StudentOptions("whole")), IsOk());
  ASSERT_THAT(Train(data_, Stopped(StudentOptions("parts"))), IsOk());
  EXPECT_EQ(Slurp(folder_.File("parts/last.pt")), Slurp(folder_.File("whole/last.pt")));
}

TEST_F(DistillationTest, RunOfAStudentIsResumedAsOneAlone) {
  TrainingOptions options = Stopped(StudentOptions("run"));
  options.student_steps = 1;
  EXPECT_THAT(Train(data_, options), StatusIs(absl::StatusCode::kFailedPrecondition,
                                              HasSubstr("belongs to a run with --student_steps 2, not 1")));
  options.distill = "";
  options.init = teacher_;
  options.schedule.prediction_type = PredictionType::kEpsilon;
  EXPECT_THAT(Train(data_, options), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("--distill a file of")));
}

TEST_F(DistillationTest, NeedsAPredictionThatKnowsTheImageInNoise) {
  TrainingOptions options = StudentOptions("run");
  options.schedule.prediction_type = PredictionType::kEpsilon;
  ExpectRefusal(options, absl::StatusCode::kInvalidArgument,
                "--distill needs --prediction_type v_prediction, whatever the teacher predicts");
}

TEST_F(DistillationTest, TakesNoGuidanceOfItsOwn) {
  TrainingOptions options = StudentOptions("run");
  options.model_guidance = 1.5;
  ExpectRefusal(options, absl::StatusCode::kInvalidArgument,
                "--distill takes the guidance that its teacher has learnt: leave out --model_guidance");
}

TEST_F(DistillationTest, StepsMustFitEachOther) {
  TrainingOptions options = StudentOptions("run");
  options.teacher_steps = 5;
  ExpectRefusal(options, absl::StatusCode::kInvalidArgument,
                "--teacher_steps must be twice --student_steps, 2, or more times that, got 5");
  options.student_steps = 0;
  ExpectRefusal(options, absl::StatusCode::kInvalidArgument, "--student_steps must be 1 to 1000, got 0");
}

TEST_F(DistillationTest, OnlyATeacherOfItsOwnKindWillDo) {
  TrainingOptions options = StudentOptions("run");
  options.unet.channels = {8, 16, 24};
  ExpectRefusal(options, absl::StatusCode::kFailedPrecondition,
                absl::StrCat("--distill ", teacher_, " is another kind of network than this run's"));
  options = StudentOptions("run");
  options.label_dropout = 0;
  ExpectRefusal(options, absl::StatusCode::kFailedPrecondition,
                absl::StrCat("--distill ", teacher_,
                             " has learnt a null label, and this run's network would not: give a --label_dropout above "
                             "0"));
  options = StudentOptions("run");
  options.distill = folder_.File("nowhere.pt");
  ExpectRefusal(options, absl::StatusCode::kNotFound, "nowhere.pt");
}

TEST_F(DistillationTest, StudentTeachesInItsOwnStepsAlone) {
  ASSERT_THAT(Train(data_, StudentOptions("student")), IsOk());
  TrainingOptions options = StudentOptions("run");
  options.distill = folder_.File("student/last.pt");
  options.student_steps = 1;
  ExpectRefusal(
      options, absl::StatusCode::kFailedPrecondition,
      " is a student itself, which draws in 2 steps alone: give --teacher_steps 2, or name the checkpoint that "
      "it learnt from");
  options.teacher_steps = 2;
  ASSERT_THAT(Train(data_, options), IsOk());
  EXPECT_EQ(LoadCheckpoint(folder_.File("run/last.pt"))->metadata.distilled_steps, 1);
  options = StudentOptions("further");
  options.distill = folder_.File("run/last.pt");
  ExpectRefusal(options, absl::StatusCode::kFailedPrecondition,
                " is a student itself, which draws in 1 step alone and can teach no one to draw in 2: name the "
                "checkpoint that it learnt from");
}

}  // namespace
}  // namespace denoised
