#include "trainer/evaluation/ruler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <random>
#include <set>

#include "common/image/image.h"
#include "common/image/png.h"
#include "tests/testing/mnist_folder.h"
#include "tests/testing/pattern_set.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "trainer/data/mnist.h"
#include "trainer/judges/judge_network.h"
#include "trainer/judges/judge_training.h"

namespace denoised {
namespace {

constexpr char kJudges[] = DENOISED_SOURCE_DIR "/models/judges";

// With the small data set: 256 training images, of which 42 are held out, and 64 test images.
RulerOptions Options(Reference reference = Reference::kHeldOut) {
  return {.data = SmallMnistFolder(),
          .set = {.verify_checksums = false},
          .judges = kJudges,
          .reference = reference,
          .threads = 2,
          .stop_requested = nullptr};
}

std::unique_ptr<Ruler> MakeRuler(Reference reference = Reference::kHeldOut) {
  absl::StatusOr<std::unique_ptr<Ruler>> ruler = Ruler::Make(Options(reference));
  EXPECT_THAT(ruler, IsOk());
  return *std::move(ruler);
}

// Real images in the place of drawn ones.
Drawing RealDrawing(Split split) {
  const Dataset data = *LoadMnist(SmallMnistFolder(), split, {.verify_checksums = false});
  Drawing drawing;
  drawing.pixels = data.pixels;
  drawing.labels = data.labels;
  return drawing;
}

Drawing Noise() {
  Drawing drawing = RealDrawing(Split::kTest);
  std::mt19937_64 random(1);
  for (uint8_t& pixel : drawing.pixels) pixel = static_cast<uint8_t>(random());
  return drawing;
}

EvaluationReport Measured(Ruler& ruler, const Drawing& drawing) {
  EvaluationReport report;
  EXPECT_THAT(ruler.Measure(drawing, report), IsOk());
  return report;
}

TEST(RulerTest, RealImagesScoreAboutTheFloorAndNoiseDoesNot) {
  const std::unique_ptr<Ruler> ruler = MakeRuler();
  const EvaluationReport real = Measured(*ruler, RealDrawing(Split::kTest)), noise = Measured(*ruler, Noise());
  EXPECT_LT(real.distance.times_floor(), 1.5);
  EXPECT_GT(noise.distance.times_floor(), 5);
  EXPECT_GT(real.reading.accuracy.overall, 0.95);
  EXPECT_LT(noise.reading.accuracy.overall, 0.5);
  EXPECT_EQ(real.distance.real.mean, noise.distance.real.mean) << "the floor is of real images alone";
}

TEST(RulerTest, DrawsOfAFloorDiffer) {
  const EvaluationReport report = Measured(*MakeRuler(), RealDrawing(Split::kTest));
  EXPECT_EQ(report.draws, 30);
  EXPECT_GT(report.distance.real.deviation, 0);
  EXPECT_LT(report.distance.real.lowest, report.distance.real.mean);
  EXPECT_LT(report.distance_limit.real.mean, report.distance.real.mean) << "a finite count adds to a distance";
  EXPECT_FALSE(report.distance_of_all.has_value());
}

TEST(RulerTest, SameDrawingSameFigures) {
  const std::unique_ptr<Ruler> ruler = MakeRuler(), another = MakeRuler();
  const Drawing drawing = RealDrawing(Split::kTest);
  const std::string first = ToJson(Measured(*ruler, drawing));
  Measured(*ruler, Noise());
  EXPECT_EQ(ToJson(Measured(*ruler, drawing)), first) << "whatever is measured in between";
  EXPECT_EQ(ToJson(Measured(*another, drawing)), first);
}

TEST(RulerTest, NoHeldOutImageIsAmongTheTrainingImages) {
  const std::unique_ptr<Ruler> ruler = MakeRuler();
  EXPECT_EQ(ruler->reference().size(), 42u);
  EXPECT_EQ(ruler->training_pixels().size(), size_t{214} * kModelPixels);
  const EvaluationReport report = Measured(*ruler, RealDrawing(Split::kTest));
  EXPECT_EQ(report.reference, "held_out");
  EXPECT_EQ(report.reference_images, 42);
  EXPECT_EQ(report.training_images, 214);
  EXPECT_EQ(report.neighbours_real.copies, 0);
}

// The training images themselves: as good as they come, and copies one and all.
TEST(RulerTest, CopiesOfTrainingImagesAreFound) {
  const EvaluationReport report = Measured(*MakeRuler(Reference::kTest), RealDrawing(Split::kTrain));
  EXPECT_EQ(report.training_images, 256) << "the held-out ones, too: models may have learnt from them";
  EXPECT_EQ(report.neighbours.copies, 256);
  EXPECT_EQ(report.neighbours_real.copies, 0);
}

// Choices must not look at the test images, so that a claim can be made on them.
TEST(RulerTest, TestImagesAreNotOpenedForChoices) {
  const TempFolder folder;
  for (const auto& file : std::filesystem::directory_iterator(SmallMnistFolder())) {
    const std::string name = file.path().filename();
    if (name.starts_with("train")) std::filesystem::copy(file.path(), folder.File(name));
  }
  RulerOptions options = Options();
  options.data = folder.path();
  EXPECT_THAT(Ruler::Make(options), IsOk());
  options.reference = Reference::kTest;
  EXPECT_THAT(Ruler::Make(options), StatusIs(absl::StatusCode::kNotFound, testing::HasSubstr("t10k-images")));
}

TEST(RulerTest, ClaimsAreComparedWithAllTestImages) {
  const EvaluationReport report = Measured(*MakeRuler(Reference::kTest), RealDrawing(Split::kTest));
  EXPECT_EQ(report.reference, "test");
  EXPECT_EQ(report.reference_images, 64);
  ASSERT_TRUE(report.distance_of_all.has_value());
  EXPECT_LT(report.distance_of_all->generated, report.distance_of_all->real.mean) << "they are test images";
  EXPECT_GT(report.distance_of_all->real.mean, 0);
  EXPECT_GT(report.count_of_all, 20);
  EXPECT_LE(report.count_of_all, 42);
}

TEST(RulerTest, TooFewImagesAreSaid) {
  Drawing drawing = RealDrawing(Split::kTest);
  drawing.labels.resize(3);
  drawing.pixels.resize(size_t{3} * kModelPixels);
  EvaluationReport report;
  EXPECT_THAT(MakeRuler()->Measure(drawing, report),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "3 drawn and 42 held-out images of 10 classes are too few to compare: ask for more with "
                       "--count, or give a larger set with --data"));
}

// A set of patterns and judges that have learnt it.
class RulerClassesTest : public testing::Test {
 protected:
  // 24 images of each: 4 are held out.
  void Learn(int classes) {
    const Dataset data = PatternSet(classes, 24);
    WritePatternSet(data, folder_);
    for (const JudgeKind kind : {JudgeKind::kLeNet5, JudgeKind::kConvNet}) {
      const int epochs = classes > 10 ? 12 : 40;
      ASSERT_THAT(TrainJudge(kind, data, data, {.folder = folder_.path(), .threads = 2, .epochs = epochs}), IsOk());
    }
  }
  RulerOptions Options() const {
    RulerOptions options;
    options.data = options.judges = folder_.path();
    options.set.verify_checksums = false;
    options.threads = 2;
    return options;
  }
  // Other images of the same patterns in the place of drawn ones.
  static Drawing DrawingOf(int classes, int images_per_class) {
    const Dataset data = PatternSet(classes, images_per_class, /*seed=*/2);
    Drawing drawing;
    drawing.pixels = data.pixels;
    drawing.labels = data.labels;
    return drawing;
  }
  // Networks that have learnt nothing.
  void WriteJudges(int classes) {
    for (const JudgeKind kind : {JudgeKind::kLeNet5, JudgeKind::kConvNet}) {
      folder_.Write(JudgeName(kind) + ".pt", SerializeJudge(kind, JudgeNetwork(kind, classes)));
    }
  }

  TempFolder folder_;
};

TEST_F(RulerClassesTest, MeasuresThreeClasses) {
  Learn(3);
  const absl::StatusOr<std::unique_ptr<Ruler>> ruler = Ruler::Make(Options());
  ASSERT_THAT(ruler, IsOk());
  EXPECT_EQ((*ruler)->class_names(), NumbersAsNames(3));
  EXPECT_EQ((*ruler)->proportions(), ClassCounts(3, 4));
  const EvaluationReport report = Measured(**ruler, DrawingOf(3, 8));
  EXPECT_EQ(report.draw_count, 6);
  EXPECT_EQ(report.classes_left_out, 0);
  EXPECT_EQ(report.reading.labels, ClassCounts(3, 8));
  EXPECT_EQ(report.reading.accuracy.by_class.size(), 3u);
  EXPECT_GT(report.reading.accuracy.overall, 0.8);
  EXPECT_EQ(report.neighbours.distance_median_by_class.size(), 3u);
}

TEST_F(RulerClassesTest, MeasuresTwentySixClasses) {
  Learn(26);
  const absl::StatusOr<std::unique_ptr<Ruler>> ruler = Ruler::Make(Options());
  ASSERT_THAT(ruler, IsOk());
  const EvaluationReport report = Measured(**ruler, DrawingOf(26, 4));
  EXPECT_EQ(report.draw_count, 52) << "two of each class";
  EXPECT_EQ(report.classes_left_out, 0);
  EXPECT_EQ(report.reading.read_as.size(), 26u);
  EXPECT_GT(report.reading.accuracy.overall, 0.5);
  EXPECT_THAT((*ruler)->CheckCounts(ClassCounts(26, 1)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "26 drawn and 104 held-out images of 26 classes are too few to compare: ask for more with "
                       "--count, or give a larger set with --data"))
      << "a draw's halves need an image each";
}

TEST_F(RulerClassesTest, RareClassesAreInNoDrawAndCounted) {
  Learn(3);
  Dataset data = PatternSet(3, 48);
  data.labels.resize(2 * 48 + 6);  // of the third class one image is held out
  data.pixels.resize(data.labels.size() * kModelPixels);
  WritePatternSet(data, folder_);
  const absl::StatusOr<std::unique_ptr<Ruler>> ruler = Ruler::Make(Options());
  ASSERT_THAT(ruler, IsOk());
  EXPECT_EQ(Measured(**ruler, DrawingOf(3, 8)).classes_left_out, 1);
}

TEST_F(RulerClassesTest, JudgesOfAnotherNumberOfClassesAreRefused) {
  WritePatternSet(PatternSet(3, 24), folder_);
  for (const int classes : {2, 4, 10}) {
    WriteJudges(classes);
    EXPECT_THAT(Ruler::Make(Options()),
                StatusIs(absl::StatusCode::kFailedPrecondition,
                         folder_.File("lenet5.pt") + " tells " + std::to_string(classes) + " classes apart, and " +
                             folder_.path() +
                             " has 3; denoise-eval --train_judges --judges FOLDER, with the same --data and "
                             "--class_names, trains judges on these"));
  }
}

TEST_F(RulerClassesTest, PngsByClassAreReadAsTheTrainerReadsThem) {
  const std::string png =
      *EncodePng({.width = kModelSize, .height = kModelSize, .pixels = std::vector<uint8_t>(kModelPixels, 255)});
  for (const char* name : {"ant", "bee", "cat"}) {
    std::filesystem::create_directories(folder_.File(std::string("set/") + name));
    for (const char* image : {"/0.png", "/1.png"}) folder_.Write(std::string("set/") + name + image, png);
  }
  WriteJudges(10);
  RulerOptions options = Options();
  options.data = folder_.File("set");
  EXPECT_THAT(Ruler::Make(options), StatusIs(absl::StatusCode::kFailedPrecondition,
                                             testing::HasSubstr(" classes apart, and " + options.data + " has 3; ")));
}

// Of two classes a judge that knows nothing guesses half.
TEST_F(RulerClassesTest, JudgeThatGuessesIsRefused) {
  WritePatternSet(PatternSet(2, 24), folder_);
  torch::manual_seed(1);
  WriteJudges(2);
  EXPECT_THAT(Ruler::Make(Options()),
              StatusIs(absl::StatusCode::kFailedPrecondition, testing::HasSubstr("it has learnt from other data")));
}

TEST(RulerTest, StopsWhenAsked) {
  RulerOptions options = Options();
  bool stop = false;
  options.stop_requested = [&stop] { return stop; };
  const std::unique_ptr<Ruler> ruler = *Ruler::Make(options);
  const Drawing drawing = RealDrawing(Split::kTest);
  EvaluationReport report;
  stop = true;
  EXPECT_THAT(ruler->Measure(drawing, report), StatusIs(absl::StatusCode::kCancelled, testing::_));
  stop = false;
  EXPECT_THAT(ruler->Measure(drawing, report), IsOk()) << "and can be asked again";
}

TEST(RulerTest, OfTheWholeOfMnistTenThousandAreHeldOut) {
  if (WholeMnistFolder().empty()) GTEST_SKIP() << "the whole of MNIST is not here; see tests/data/README.md";
  RulerOptions options = Options();
  options.data = WholeMnistFolder();
  const std::unique_ptr<Ruler> ruler = *Ruler::Make(options);
  EXPECT_EQ(ruler->reference().size(), 10'000u);
  EXPECT_EQ(ruler->training_pixels().size(), size_t{50'000} * kModelPixels);
}

}  // namespace
}  // namespace denoised
