#include "trainer/evaluation/draw_samples.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/checkpoint/checkpoint.h"
#include "common/checkpoint/unet.h"
#include "common/image/image.h"
#include "tests/testing/rewritten_archive.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

using testing::HasSubstr;

// A network as small as it gets, with random weights.
class DrawSamplesTest : public testing::Test {
 protected:
  DrawSamplesTest() { SaveModel("model.pt", /*null_label=*/10); }

  std::string SaveModel(const std::string& name, std::optional<int> null_label, int distilled_steps = 0) {
    ModelMetadata metadata;
    metadata.distilled_steps = distilled_steps;
    metadata.unet.channels = {8, 8, 8};
    metadata.unet.embedding_dim = 8;
    metadata.null_label = null_label;
    torch::manual_seed(1);
    EXPECT_THAT(SaveCheckpoint(folder_.File(name), metadata, MakeUnet(metadata.unet)), IsOk());
    return folder_.File(name);
  }
  // Two steps for each of 2 zeros, 1 one and `nines` nines.
  DrawOptions Options(const std::string& out, int nines = 1) {
    DrawOptions options;
    options.checkpoint = folder_.File("model.pt");
    options.out = folder_.File(out);
    options.device = "cpu";
    options.threads = 2;
    options.sampler = SamplerType::kDpmSolverPp2M;
    options.steps = 2;
    options.counts = {2, 1, 0, 0, 0, 0, 0, 0, 0, nines};
    return options;
  }

  TempFolder folder_;
};

TEST_F(DrawSamplesTest, LeavesIdxFilesAndSaysWithWhatTheyWereDrawn) {
  const absl::StatusOr<Drawing> drawing = DrawSamples(Options("a"));
  ASSERT_THAT(drawing, IsOk());
  EXPECT_THAT(drawing->labels, testing::ElementsAre(0, 0, 1, 9));
  EXPECT_EQ(drawing->pixels.size(), 4u * kModelPixels);
  EXPECT_EQ(drawing->steps, 2);
  EXPECT_EQ(drawing->network_calls, 8);
  EXPECT_FALSE(drawing->interrupted);
  const SampleFiles files(folder_.File("a"));
  EXPECT_EQ(Slurp(files.images), std::string("\0\0\x08\x03\0\0\0\x04\0\0\0\x20\0\0\0\x20", 16) +
                                     std::string(drawing->pixels.begin(), drawing->pixels.end()));
  EXPECT_EQ(Slurp(files.labels), std::string("\0\0\x08\x01\0\0\0\x04\0\0\x01\x09", 12));
  const nlohmann::json record = nlohmann::json::parse(Slurp(files.record))["drawn_with"];
  EXPECT_EQ(record["--checkpoint of SHA-256"], drawing->sha256);
  EXPECT_EQ(record["--sampler"], "dpm_solver_pp_2m");
  EXPECT_EQ(record["--steps"], "2");
}

// Also across batches: more nines than are drawn at once.
// As a server refuses to: figures would be of something else than what the checkpoint draws.
TEST_F(DrawSamplesTest, ImagesThatTheCheckpointCarriesMustBeDrawnHereToo) {
  const Checkpoint checkpoint = *LoadCheckpoint(folder_.File("model.pt"));
  for (at::Tensor parameter : checkpoint.unet.parameters()) {
    const torch::NoGradGuard no_grad;
    parameter.add_(0.1);
  }
  std::string others;
  Rewritten(*SerializeCheckpoint(checkpoint.metadata, checkpoint.unet),
            [&others](const std::string& name, std::string& data) {
              if (name == "extra/golden_draw.json") others = data;
            });
  folder_.Write("model.pt", Rewritten(Slurp(folder_.File("model.pt")), [&](const std::string& name, std::string& data) {
                  if (name == "extra/golden_draw.json") data = others;
                }));
  EXPECT_THAT(DrawSamples(Options("a")),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("the checkpoint's network draws something else here, by LibTorch ")));
}

TEST_F(DrawSamplesTest, AnImageDoesNotDependOnItsCompany) {
  const absl::StatusOr<Drawing> few = DrawSamples(Options("few", 1));
  const absl::StatusOr<Drawing> many = DrawSamples(Options("many", 70));
  ASSERT_THAT(few, IsOk());
  ASSERT_THAT(many, IsOk());
  EXPECT_EQ(many->labels.size(), 73u);
  EXPECT_TRUE(std::equal(few->pixels.begin(), few->pixels.end(), many->pixels.begin()));
  DrawOptions other = Options("other", 1);
  other.seed = 2;
  EXPECT_NE(DrawSamples(other)->pixels, few->pixels);
}

TEST_F(DrawSamplesTest, OtherClassesThanTenAreDrawnAndRecordedAsClasses) {
  ModelMetadata metadata;
  metadata.class_names = {"ant", "bee", "cat"};
  metadata.unet.channels = {8, 8, 8};
  metadata.unet.embedding_dim = 8;
  metadata.unet.num_labels = 3;
  ASSERT_THAT(SaveCheckpoint(folder_.File("three.pt"), metadata, MakeUnet(metadata.unet)), IsOk());
  DrawOptions options = Options("three");
  options.checkpoint = folder_.File("three.pt");
  options.counts = {2, 0, 1};
  EXPECT_THAT(DrawSamples(options),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       options.checkpoint + " draws 3 classes, \"ant\", \"bee\" and \"cat\", and --data has 10, \"0\", "
                                            "\"1\", \"2\", \"3\", \"4\", \"5\", \"6\", \"7\", \"8\" and \"9\"; give it "
                                            "its own data"));
  options.class_names = metadata.class_names;
  const absl::StatusOr<Drawing> drawing = DrawSamples(options);
  ASSERT_THAT(drawing, IsOk());
  EXPECT_THAT(drawing->labels, testing::ElementsAre(0, 0, 2));
  EXPECT_EQ(nlohmann::json::parse(Slurp(SampleFiles(options.out).record))["drawn_with"]["images of each class"],
            "2 0 1");
}

TEST_F(DrawSamplesTest, InterruptedRunGoesOnAsIfNothingHadHappened) {
  const std::vector<uint8_t> whole = DrawSamples(Options("whole", 70))->pixels;
  DrawOptions options = Options("parts", 70);
  int steps = 0;
  options.stop_requested = [&steps] { return ++steps == 3; };  // in the second batch
  const absl::StatusOr<Drawing> part = DrawSamples(options);
  ASSERT_THAT(part, IsOk());
  EXPECT_TRUE(part->interrupted);
  EXPECT_EQ(part->labels.size(), 64u);
  options.stop_requested = nullptr;
  const absl::StatusOr<Drawing> rest = DrawSamples(options);
  ASSERT_THAT(rest, IsOk());
  EXPECT_FALSE(rest->interrupted);
  EXPECT_EQ(rest->pixels, whole);
  EXPECT_EQ(Slurp(SampleFiles(options.out).images), Slurp(SampleFiles(folder_.File("whole")).images));
  EXPECT_GT(rest->seconds, part->seconds) << "the time of both parts";
}

TEST_F(DrawSamplesTest, FinishedRunIsNotDrawnAgain) {
  const absl::StatusOr<Drawing> first = DrawSamples(Options("a"));
  const auto written = std::filesystem::last_write_time(SampleFiles(folder_.File("a")).images);
  const absl::StatusOr<Drawing> again = DrawSamples(Options("a"));
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->pixels, first->pixels);
  EXPECT_EQ(again->seconds, first->seconds);
  EXPECT_EQ(std::filesystem::last_write_time(SampleFiles(folder_.File("a")).images), written);
}

// What is there when a run is killed before its first save, or between its files.
TEST_F(DrawSamplesTest, FilesThatWereNotWrittenYetAreNoHindrance) {
  const absl::StatusOr<Drawing> whole = DrawSamples(Options("a"));
  const SampleFiles files(folder_.File("a"));
  const std::string labels = Slurp(files.labels);
  std::filesystem::remove(files.images);
  std::filesystem::remove(files.labels);
  const absl::StatusOr<Drawing> again = DrawSamples(Options("a"));
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->pixels, whole->pixels);
  EXPECT_EQ(Slurp(files.labels), labels);
}

TEST_F(DrawSamplesTest, LabelsThatAFinishedRunLacksAreWrittenAgain) {
  ASSERT_THAT(DrawSamples(Options("a")), IsOk());
  const SampleFiles files(folder_.File("a"));
  const std::string labels = Slurp(files.labels);
  folder_.Write("a/samples-labels-idx1-ubyte", labels.substr(0, 10));
  ASSERT_THAT(DrawSamples(Options("a")), IsOk());
  EXPECT_EQ(Slurp(files.labels), labels);
}

TEST_F(DrawSamplesTest, UnfinishedDrawingIsKnownByItsRecord) {
  ASSERT_THAT(DrawSamples(Options("a")), IsOk());
  EXPECT_THAT(CheckIsComplete(folder_.File("a"), 4), IsOk());
  EXPECT_THAT(CheckIsComplete(folder_.File("a"), 3),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       folder_.File("a") + " has 3 of 4 images: its drawing is not complete; the command that began "
                                           "it goes on"));
  EXPECT_THAT(CheckIsComplete(folder_.path(), 3), IsOk()) << "no drawing of this program";
}

TEST_F(DrawSamplesTest, GuidanceCostsTwoCallsAStep) {
  DrawOptions options = Options("a");
  options.guidance_scale = 2;
  EXPECT_EQ(DrawSamples(options)->network_calls, 16);
}

TEST_F(DrawSamplesTest, FolderOfAnotherRunIsRefused) {
  ASSERT_THAT(DrawSamples(Options("a")), IsOk());
  DrawOptions options = Options("a");
  options.seed = 7;
  EXPECT_THAT(
      DrawSamples(options),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               folder_.File("a") + " holds images drawn with --seed 1, not 7; go on with them by that run's own "
                                   "flags, or name another --out"));
  options = Options("a");
  options.device = "emulated-cuda";
  EXPECT_THAT(DrawSamples(options), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(", not fp16; go on")));
  options = Options("a", 2);
  EXPECT_THAT(DrawSamples(options), StatusIs(absl::StatusCode::kFailedPrecondition,
                                             HasSubstr("images of each digit 2 1 0 0 0 0 0 0 0 1, not 2 "
                                                       "1 0 0 0 0 0 0 0 2")));
}

TEST_F(DrawSamplesTest, DamagedFilesAreSaid) {
  ASSERT_THAT(DrawSamples(Options("a")), IsOk());
  const SampleFiles files(folder_.File("a"));
  const std::string advice =
      " is damaged or does not come from denoise-eval; delete " + folder_.File("a") + " or name another --out";
  const std::string images = Slurp(files.images);
  folder_.Write("a/samples-images-idx3-ubyte", images.substr(0, images.size() - 1));
  EXPECT_THAT(DrawSamples(Options("a")), StatusIs(absl::StatusCode::kDataLoss, files.images + advice));
  folder_.Write("a/samples.json", "{");
  EXPECT_THAT(DrawSamples(Options("a")), StatusIs(absl::StatusCode::kDataLoss, files.record + advice));
  std::filesystem::remove(files.record);
  EXPECT_THAT(DrawSamples(Options("a")), StatusIs(absl::StatusCode::kDataLoss, files.images + advice));
}

TEST_F(DrawSamplesTest, RangesAreSaid) {
  const auto message = [this](const std::function<void(DrawOptions&)>& change) {
    DrawOptions options = Options("a");
    change(options);
    return std::string(DrawSamples(options).status().message());
  };
  EXPECT_EQ(message([](auto& o) { o.steps = 1001; }), "--steps must be 1 to 1000, got 1001");
  EXPECT_EQ(message([](auto& o) { o.steps = -1; }), "--steps must be 1 to 1000, got -1");
  EXPECT_EQ(message([](auto& o) { o.guidance_scale = 11; }), "--guidance_scale must be 1 (off) to 10, got 11");
  EXPECT_EQ(message([](auto& o) { o.eta = 0.5; }),
            "--eta is for --sampler ddim only; leave it out or choose that sampler");
  EXPECT_EQ(message([](auto& o) {
              o.sampler = SamplerType::kDdim;
              o.eta = 2;
            }),
            "--eta must be 0 to 1, got 2");
  EXPECT_FALSE(std::filesystem::exists(folder_.File("a"))) << "nothing was begun";
}

TEST_F(DrawSamplesTest, StudentIsDrawnWithByItsOwnChainAlone) {
  DrawOptions options = Options("a");
  options.checkpoint = SaveModel("student.pt", 10, /*distilled_steps=*/4);
  const auto refusal =
      StatusIs(absl::StatusCode::kInvalidArgument,
               options.checkpoint + " has learnt to draw in 4 steps of ddim alone: give --sampler ddim --steps 4");
  options.steps = 4;
  EXPECT_THAT(DrawSamples(options), refusal);
  options.sampler = SamplerType::kDdim;
  options.eta = 1;
  EXPECT_THAT(DrawSamples(options), refusal);
  options.eta = 0;
  options.steps = 0;
  EXPECT_THAT(DrawSamples(options), refusal);
  options.steps = 4;
  ASSERT_THAT(DrawSamples(options), IsOk());
}

TEST_F(DrawSamplesTest, GuidanceNeedsANullLabel) {
  DrawOptions options = Options("a");
  options.checkpoint = SaveModel("unguided.pt", std::nullopt);
  options.guidance_scale = 2;
  EXPECT_THAT(DrawSamples(options), StatusIs(absl::StatusCode::kInvalidArgument,
                                             "--guidance_scale must be 1 (off) for " + options.checkpoint +
                                                 ", got 2: it was trained without label dropout, so it cannot guide"));
}

TEST_F(DrawSamplesTest, FolderMustBeWritable) {
  const std::string file = folder_.Write("file", "x");
  EXPECT_THAT(DrawSamples(Options("file/a")).status().message(),
              testing::AllOf(HasSubstr(file), HasSubstr("choose another with --out")));
}

}  // namespace
}  // namespace denoised
