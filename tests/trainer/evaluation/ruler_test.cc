#include "trainer/evaluation/ruler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <random>
#include <set>

#include "common/image/image.h"
#include "tests/testing/mnist_folder.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "trainer/data/mnist.h"

namespace denoised {
namespace {

constexpr char kJudges[] = DENOISED_SOURCE_DIR "/models/judges";

// With the small data set: 256 training images, of which 42 are held out, and 64 test images.
RulerOptions Options(Reference reference = Reference::kHeldOut) {
  return {.data = SmallMnistFolder(),
          .mnist = {.verify_checksums = false},
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

TEST(RulerTest, RealDigitsScoreAboutTheFloorAndNoiseDoesNot) {
  const std::unique_ptr<Ruler> ruler = MakeRuler();
  const EvaluationReport real = Measured(*ruler, RealDrawing(Split::kTest)), noise = Measured(*ruler, Noise());
  EXPECT_LT(real.distance.times_floor(), 1.5);
  EXPECT_GT(noise.distance.times_floor(), 5);
  EXPECT_GT(real.reading.accuracy.overall, 0.95);
  EXPECT_LT(noise.reading.accuracy.overall, 0.5);
  EXPECT_EQ(real.distance.real.mean, noise.distance.real.mean) << "the floor is of real digits alone";
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
                       "3 drawn and 42 held-out digits are too few to compare: ask for more with --count, or give a "
                       "larger set with --data"));
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
