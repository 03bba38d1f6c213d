#include "trainer/judges/judges.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "common/image/image.h"
#include "tests/testing/mnist_folder.h"
#include "tests/testing/pattern_set.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "trainer/data/mnist.h"
#include "trainer/judges/judge_network.h"
#include "trainer/judges/judge_training.h"

namespace denoised {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr char kShipped[] = DENOISED_SOURCE_DIR "/models/judges";
const MnistOptions kAnyData{.verify_checksums = false};
constexpr char kTrainAgain[] = "; train the judges again: denoise-eval --train_judges --data DIR --judges DIR";

std::unique_ptr<Judge> Shipped(JudgeKind kind, int threads = 1) { return *LoadJudge(kind, kShipped, threads); }

double AccuracyOn(const Dataset& data, Judge& judge) {
  return ClassAccuracy(judge.Look(data.pixels)->classes, data.labels, judge.info().classes).overall;
}

// As models/judges/README.md has it. If this fails, the files or the resizing of images have changed, and no figure can
// be compared with an older one. Another machine may round one image the other way.
TEST(ShippedJudgesTest, ReadTheTestImagesAsWellAsReported) {
  if (WholeMnistFolder().empty()) GTEST_SKIP() << "the whole of MNIST is not here; see tests/data/README.md";
  const Dataset test = *LoadMnist(WholeMnistFolder(), Split::kTest, {});
  EXPECT_NEAR(AccuracyOn(test, *Shipped(JudgeKind::kLeNet5, 2)), 0.9913, 2e-4);
  EXPECT_NEAR(AccuracyOn(test, *Shipped(JudgeKind::kConvNet, 2)), 0.9954, 2e-4);
}

// What 64 images can tell: they are read, not guessed.
TEST(ShippedJudgesTest, ReadAFewTestImages) {
  const Dataset test = *LoadMnist(SmallMnistFolder(), Split::kTest, kAnyData);
  for (const JudgeKind kind : {JudgeKind::kLeNet5, JudgeKind::kConvNet}) {
    EXPECT_GE(AccuracyOn(test, *Shipped(kind)), 62. / 64) << JudgeName(kind);
  }
}

TEST(ShippedJudgesTest, ArePinned) {
  for (const JudgeKind kind : {JudgeKind::kLeNet5, JudgeKind::kConvNet}) {
    const std::unique_ptr<Judge> judge = Shipped(kind);
    EXPECT_TRUE(judge->info().pinned) << judge->info().sha256;
    EXPECT_EQ(judge->info().kind, kind);
    EXPECT_EQ(judge->info().classes, 10);
    EXPECT_EQ(judge->info().path, std::string(kShipped) + "/" + JudgeName(kind) + ".pt");
  }
}

// Who writes such a file today writes the bytes of then, so that SHA-256 sums go on to be comparable.
TEST(ShippedJudgesTest, AreWrittenAsTheyWereRead) {
  for (const JudgeKind kind : {JudgeKind::kLeNet5, JudgeKind::kConvNet}) {
    const std::string bytes = Slurp(JudgePath(kind, kShipped));
    EXPECT_TRUE(SerializeJudge(kind, *ParseJudge(kind, "shipped", bytes)) == bytes) << JudgeName(kind);
  }
}

TEST(ShippedJudgesTest, NoiseIsFarFromDigits) {
  const Dataset train = *LoadMnist(SmallMnistFolder(), Split::kTrain, kAnyData);
  const Dataset test = *LoadMnist(SmallMnistFolder(), Split::kTest, kAnyData);
  std::vector<uint8_t> noise(test.pixels.size());
  std::mt19937_64 random(1);
  for (uint8_t& pixel : noise) pixel = static_cast<uint8_t>(random());
  const std::unique_ptr<Judge> lenet5 = Shipped(JudgeKind::kLeNet5);
  const auto gaussian = [&](const std::vector<uint8_t>& pixels) {
    return *FitGaussian(lenet5->Look(pixels)->features);
  };
  const double floor = *FrechetDistance(gaussian(test.pixels), gaussian(train.pixels));
  EXPECT_GT(*FrechetDistance(gaussian(noise), gaussian(train.pixels)), 5 * floor);
}

TEST(JudgeTest, VerdictsDoNotDependOnThreads) {
  const Dataset train = *LoadMnist(SmallMnistFolder(), Split::kTrain, kAnyData);  // three calls' worth
  const absl::StatusOr<Verdicts> alone = Shipped(JudgeKind::kLeNet5, 1)->Look(train.pixels);
  const absl::StatusOr<Verdicts> shared = Shipped(JudgeKind::kLeNet5, 2)->Look(train.pixels);
  ASSERT_THAT(alone, IsOk());
  ASSERT_THAT(shared, IsOk());
  EXPECT_EQ(alone->features.dim, 84u);
  EXPECT_EQ(alone->features.size(), train.size());
  EXPECT_EQ(alone->classes, shared->classes);
  EXPECT_EQ(alone->features.values, shared->features.values);
}

TEST(LoadJudgeTest, MissingFileSaysHowToTrainOne) {
  EXPECT_THAT(
      LoadJudge(JudgeKind::kLeNet5, "/nowhere", 1),
      StatusIs(absl::StatusCode::kNotFound,
               "cannot load a judge: cannot open /nowhere/lenet5.pt: No such file or directory; name the judges' "
               "folder with --judges, or train them: denoise-eval --train_judges --data DIR --judges DIR"));
}

class DamagedJudgeTest : public testing::Test {
 protected:
  // `bytes` as lenet5.
  absl::Status Load(const std::string& bytes) {
    folder_.Write("lenet5.pt", bytes);
    return LoadJudge(JudgeKind::kLeNet5, folder_.path(), 1).status();
  }
  std::string NotWhole() const { return path_ + " is not a whole judge of kind lenet5" + kTrainAgain; }

  TempFolder folder_;
  const std::string path_ = folder_.File("lenet5.pt");
  const std::string good_ = Slurp(JudgePath(JudgeKind::kLeNet5, kShipped));
};

TEST_F(DamagedJudgeTest, TruncatedOrSomethingElse) {
  EXPECT_THAT(Load(""), StatusIs(absl::StatusCode::kInvalidArgument, NotWhole()));
  EXPECT_THAT(Load("junk"), StatusIs(absl::StatusCode::kInvalidArgument, NotWhole()));
  EXPECT_THAT(Load(good_.substr(0, good_.size() / 2)), StatusIs(absl::StatusCode::kInvalidArgument, NotWhole()));
  EXPECT_THAT(Load(Slurp(JudgePath(JudgeKind::kConvNet, kShipped))),
              StatusIs(absl::StatusCode::kInvalidArgument, NotWhole()));
}

TEST_F(DamagedJudgeTest, ModulesWithCodeAreRefused) {
  EXPECT_THAT(Load(Slurp(DENOISED_SOURCE_DIR "/models/mnist.pt")),
              StatusIs(absl::StatusCode::kInvalidArgument, NotWhole()));
}

TEST_F(DamagedJudgeTest, FlippedBit) {
  std::string flipped = good_;
  flipped[flipped.size() / 2] ^= 1;  // within the weights of the first linear layer
  EXPECT_THAT(Load(flipped),
              StatusIs(absl::StatusCode::kDataLoss, path_ + ": the tensors do not match their SHA-256" + kTrainAgain));
}

TEST_F(DamagedJudgeTest, NumbersOfClassesThatNoDataSetHas) {
  for (const int classes : {1, 257}) {
    const JudgeNetwork network(JudgeKind::kLeNet5, classes);
    EXPECT_THAT(Load(SerializeJudge(JudgeKind::kLeNet5, network)),
                StatusIs(absl::StatusCode::kInvalidArgument, NotWhole()))
        << classes;
  }
}

// Whatever is damaged, an offset or a stride too, is refused in words or has done no harm to the tensors' SHA-256.
TEST_F(DamagedJudgeTest, BytesAnywhere) {
  std::mt19937 random(7);
  // Half of them in the last 4 KiB, where the archive's directory is.
  for (int i = 0; i < 60; ++i) {
    std::string damaged = good_;
    const size_t at = i % 2 == 0 ? damaged.size() - 1 - random() % 4096 : random() % damaged.size();
    damaged[at] = static_cast<char>(random());
    const absl::Status status = Load(damaged);
    if (!status.ok()) {
      EXPECT_THAT(std::string(status.message()), StartsWith(path_)) << i;
    }
  }
}

TEST(TrainJudgeTest, LearnsAndTheSameSeedGivesTheSameBytes) {
  const Dataset train = *LoadMnist(SmallMnistFolder(), Split::kTrain, kAnyData);
  const Dataset test = *LoadMnist(SmallMnistFolder(), Split::kTest, kAnyData);
  const TempFolder folder;
  for (const JudgeKind kind : {JudgeKind::kLeNet5, JudgeKind::kConvNet}) {
    const auto train_into = [&](const std::string& name, uint64_t seed, int epochs) {
      return TrainJudge(kind, train, test, {.folder = folder.File(name), .seed = seed, .threads = 2, .epochs = epochs});
    };
    const absl::StatusOr<TrainedJudge> judge = train_into("a", 1, 30);
    ASSERT_THAT(judge, IsOk());
    EXPECT_GT(judge->accuracy.overall, 0.5) << JudgeName(kind) << " must learn";
    EXPECT_FALSE(judge->info.pinned);
    ASSERT_THAT(train_into("b", 1, 1), IsOk());
    ASSERT_THAT(train_into("c", 1, 1), IsOk());
    ASSERT_THAT(train_into("d", 2, 1), IsOk());
    EXPECT_EQ(Slurp(JudgePath(kind, folder.File("b"))), Slurp(JudgePath(kind, folder.File("c"))));
    EXPECT_NE(Slurp(JudgePath(kind, folder.File("b"))), Slurp(JudgePath(kind, folder.File("d"))));
  }
}

// The recipe's epochs of so few are a few steps.
TEST(TrainJudgeTest, SmallSetsAreGoneThroughMoreOften) {
  const TempFolder folder;
  Dataset few = *LoadMnist(SmallMnistFolder(), Split::kTrain, kAnyData);
  few.labels.resize(60);
  few.pixels.resize(size_t{60} * kModelPixels);
  const absl::StatusOr<TrainedJudge> judge =
      TrainJudge(JudgeKind::kLeNet5, few, few, {.folder = folder.path(), .threads = 2});
  ASSERT_THAT(judge, IsOk());
  EXPECT_EQ(judge->accuracy.overall, 1);
}

TEST(TrainJudgeTest, LearnsAnyNumberOfClasses) {
  for (const int classes : {3, 26}) {
    const Dataset train = PatternSet(classes, 240 / classes), unseen = PatternSet(classes, 4, /*seed=*/2);
    const TempFolder folder;
    for (const JudgeKind kind : {JudgeKind::kLeNet5, JudgeKind::kConvNet}) {
      const absl::StatusOr<TrainedJudge> judge =
          TrainJudge(kind, train, unseen, {.folder = folder.path(), .threads = 2, .epochs = 40});
      ASSERT_THAT(judge, IsOk());
      EXPECT_EQ(judge->info.classes, classes) << "as its file says";
      EXPECT_EQ(judge->accuracy.by_class.size(), static_cast<size_t>(classes));
      EXPECT_GT(judge->accuracy.overall, 0.8) << JudgeName(kind) << " of " << classes;
    }
  }
}

TEST(TrainJudgeTest, TheMostClassesThereAre) {
  const Dataset data = PatternSet(256, 1);
  const TempFolder folder;
  ASSERT_THAT(TrainJudge(JudgeKind::kLeNet5, data, data, {.folder = folder.path(), .threads = 2, .epochs = 1}), IsOk());
  const absl::StatusOr<std::unique_ptr<Judge>> judge = LoadJudge(JudgeKind::kLeNet5, folder.path(), 1);
  ASSERT_THAT(judge, IsOk());
  EXPECT_EQ((*judge)->info().classes, 256);
  EXPECT_THAT((*judge)->Look(data.pixels), IsOk());
}

TEST(TrainJudgeTest, OneClassIsNothingToTellApart) {
  const Dataset data = PatternSet(1, 20);
  const TempFolder folder;
  EXPECT_THAT(
      TrainJudge(JudgeKind::kLeNet5, data, data, {.folder = folder.path()}),
      StatusIs(absl::StatusCode::kInvalidArgument, "a judge tells classes apart, and the data have one class alone"));
}

TEST(TrainJudgeTest, FolderIsNeededAndMustBeWritable) {
  const Dataset data = *LoadMnist(SmallMnistFolder(), Split::kTest, kAnyData);
  EXPECT_THAT(
      TrainJudge(JudgeKind::kLeNet5, data, data, {.folder = ""}),
      StatusIs(absl::StatusCode::kInvalidArgument, "--train_judges writes two files: name their folder with --judges"));
  const TempFolder folder;
  const std::string file = folder.Write("file", "x");
  EXPECT_THAT(TrainJudge(JudgeKind::kLeNet5, data, data, {.folder = file + "/judges"}).status().message(),
              testing::AllOf(HasSubstr(file), HasSubstr("choose another with --judges")));
}

}  // namespace
}  // namespace denoised
