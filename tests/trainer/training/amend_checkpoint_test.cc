#include "trainer/training/amend_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/checkpoint/checkpoint.h"
#include "tests/testing/program.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

using nlohmann::json;
using testing::HasSubstr;

class AmendCheckpointTest : public testing::Test {
 protected:
  Checkpoint Load() const { return *LoadCheckpoint(path_); }

  // A file as denoise-eval writes it.
  std::string WriteFigures(const std::string& name, const std::string& sha256, int steps, double distance) const {
    const json figures = {{"checkpoint_sha256", sha256}, {"reference", "test"},
                          {"sampler", "ddim"},           {"steps", steps},
                          {"seeds", {1, 2, 3}},          {"figures", {{"distance", {{"mean", distance}}}}}};
    return folder_.Write(name, figures.dump());
  }

  // Steps and distances that the checkpoint has by now; the shipped one has figures of another sampler.
  std::vector<std::pair<int, double>> Kept() const {
    std::vector<std::pair<int, double>> kept;
    const json evaluation = json::parse(Load().metadata.evaluation_json);
    for (const json& run : evaluation.at("runs")) {
      if (run.at("sampler") == "ddim") kept.emplace_back(run.at("steps"), run.at("figures").at("distance").at("mean"));
    }
    return kept;
  }

  const TempFolder folder_;
  const std::string path_ = folder_.Write("m.pt", Slurp(DENOISED_SOURCE_DIR "/models/mnist.pt"));
};

using Runs = std::vector<std::pair<int, double>>;

TEST_F(AmendCheckpointTest, FiguresAreKeptAndWeightsStay) {
  const Checkpoint before = Load();
  const std::string files = absl::StrCat(WriteFigures("twenty.json", before.sha256, 20, 1.5), ",",
                                         WriteFigures("fifty.json", before.sha256, 50, 1.25));
  const ProgramResult result =
      RunProgram({"denoise-train", "--add_evaluation", files, "--to", "m.pt"}, {}, folder_.path());
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, absl::StrCat("m.pt: now carries the figures of ", folder_.File("twenty.json"), ", ",
                                     folder_.File("fifty.json"), "\n"));
  const Checkpoint after = Load();
  EXPECT_EQ(after.metadata.parameters_sha256, before.metadata.parameters_sha256);
  EXPECT_EQ(after.metadata.training, before.metadata.training);
  EXPECT_EQ(Kept(), (Runs{{20, 1.5}, {50, 1.25}}));
}

TEST_F(AmendCheckpointTest, LaterFiguresOfTheSameSettingsReplaceEarlierOnes) {
  const std::string first = Load().sha256;
  ASSERT_THAT(AddEvaluations(path_, {WriteFigures("a.json", first, 20, 1.5)}), IsOk());
  const std::string second = Load().sha256;
  ASSERT_NE(second, first);
  // Of the file that it was when the figures were taken, or of what it is now.
  ASSERT_THAT(AddEvaluations(path_, {WriteFigures("b.json", first, 50, 1.25), WriteFigures("c.json", second, 20, 1.4)}),
              IsOk());
  EXPECT_EQ(Kept(), (Runs{{20, 1.4}, {50, 1.25}}));
}

TEST_F(AmendCheckpointTest, FiguresOfAnotherCheckpointAreRefused) {
  const Checkpoint before = Load();
  const std::string other(64, 'a');
  const absl::Status status = AddEvaluations(path_, {WriteFigures("a.json", other, 20, 1.5)});
  EXPECT_EQ(status, absl::FailedPreconditionError(
                        absl::StrCat(folder_.File("a.json"), " has the figures of another checkpoint: its SHA-256 is ",
                                     other, ", here it is ", before.sha256)));
  EXPECT_EQ(Load().sha256, before.sha256);
}

TEST_F(AmendCheckpointTest, FiguresOfAnotherEtaStandBesideThem) {
  const std::string sha256 = Load().sha256;
  const auto write = [&](const std::string& name, double eta, double distance) {
    json run = json::parse(Slurp(WriteFigures(name, sha256, 50, distance)));
    run["eta"] = eta;
    return folder_.Write(name, run.dump());
  };
  ASSERT_THAT(AddEvaluations(path_, {write("a.json", 0, 1.5), write("b.json", 1, 2.5)}), IsOk());
  EXPECT_EQ(Kept(), (Runs{{50, 1.5}, {50, 2.5}}));
}

TEST_F(AmendCheckpointTest, MoreThanCanBeReadAgainIsRefused) {
  const Checkpoint before = Load();
  json run = json::parse(Slurp(WriteFigures("a.json", before.sha256, 20, 1.5)));
  run["figures"]["padding"] = std::string((1 << 20) - 4096, 'x');
  EXPECT_THAT(std::string(AddEvaluations(path_, {folder_.Write("a.json", run.dump())}).message()),
              HasSubstr("which is as it was"));
  run["figures"]["padding"] = json::parse(std::string(40, '[') + std::string(40, ']'));
  EXPECT_FALSE(AddEvaluations(path_, {folder_.Write("a.json", run.dump())}).ok());
  EXPECT_EQ(Load().sha256, before.sha256);
}

TEST_F(AmendCheckpointTest, OtherFilesAreRefused) {
  for (const char* text : {"", "7", "{}", R"({"figures":{},"seeds":[1],"checkpoint_sha256":3})"}) {
    const absl::Status status = AddEvaluations(path_, {folder_.Write("a.json", text)});
    EXPECT_EQ(status, absl::InvalidArgumentError(absl::StrCat(
                          folder_.File("a.json"),
                          " is no seeds.json of denoise-eval; denoise-eval --seeds 3 --checkpoint FILE writes one")));
  }
  EXPECT_EQ(AddEvaluations(path_, {"/nowhere/a.json"}).code(), absl::StatusCode::kNotFound);
}

TEST_F(AmendCheckpointTest, CheckpointMustBeNamed) {
  const ProgramResult result = RunProgram({"denoise-train", "--add_evaluation", "a.json"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("--add_evaluation requires --to"));
}

TEST_F(AmendCheckpointTest, BlackLevelIsSetAndFiguresOfOtherPixelsAreGone) {
  const std::string before = Load().metadata.parameters_sha256;
  const ProgramResult result = RunProgram({"denoise-train", "--black_below", "4", "--to", "m.pt"}, {}, folder_.path());
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "m.pt: pixels below 4 of 255 are now black; figures that it had are gone\n");
  const ModelMetadata after = Load().metadata;
  EXPECT_EQ(after.black_below, 4);
  EXPECT_EQ(after.evaluation_json, "{}");
  EXPECT_EQ(after.parameters_sha256, before);
  const ProgramResult back = RunProgram({"denoise-train", "--black_below", "0", "--to", "m.pt"}, {}, folder_.path());
  ASSERT_EQ(back.exit_code, 0) << back.err;
  EXPECT_EQ(back.out, "m.pt: no pixels are made black any more; figures that it had are gone\n");
  EXPECT_EQ(Load().metadata.black_below, 0);
}

// Such a command may have been meant to train; the file stays as it is.
TEST_F(AmendCheckpointTest, FlagsOfATrainingAreRefused) {
  const std::string before = Slurp(path_);
  const std::vector<std::vector<std::string>> commands = {
      {"--add_golden_draw", "m.pt", "--epochs", "3"},
      {"--add_golden_draw", "m.pt", "--resume"},
      {"--add_golden_draw", "m.pt", "--black_below", "4", "--to", "m.pt"},
      {"--add_evaluation", "a.json", "--to", "m.pt", "--black_below", "4"},
      {"--black_below", "4", "--to", "m.pt", "--data", "data"},
  };
  for (std::vector<std::string> command : commands) {
    command.insert(command.begin(), "denoise-train");
    const ProgramResult result = RunProgram(command, {}, folder_.path());
    EXPECT_EQ(result.exit_code, 2) << result.out;
    EXPECT_THAT(result.err, HasSubstr(", which changes a checkpoint and trains nothing: leave one out\n"));
    EXPECT_TRUE(Slurp(path_) == before);
  }
}

TEST_F(AmendCheckpointTest, CheckpointAloneIsNothingToDo) {
  const ProgramResult result = RunProgram({"denoise-train", "--to", "m.pt"}, {}, folder_.path());
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(result.err, "denoise-train: error: --to needs --add_evaluation, or --black_below with 0 to 32\n");
}

}  // namespace
}  // namespace denoised
