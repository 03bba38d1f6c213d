// The program denoise-eval, as a user runs it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "absl/strings/str_replace.h"
#include "common/checkpoint/checkpoint.h"
#include "common/checkpoint/unet.h"
#include "common/image/idx.h"
#include "common/image/png.h"
#include "tests/testing/mnist_folder.h"
#include "tests/testing/pattern_set.h"
#include "tests/testing/program.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "trainer/data/class_names.h"
#include "trainer/data/mnist.h"
#include "trainer/judges/judge_training.h"

namespace denoised {
namespace {

using testing::HasSubstr;

constexpr char kModels[] = DENOISED_SOURCE_DIR "/models";

// denoise-eval with the small data set, the shipped checkpoint and judges, few images and few steps. Flags that are
// added win over these.
class DenoiseEvalTest : public testing::Test {
 protected:
  std::vector<std::string> Command(const std::vector<std::string>& more = {}) {
    std::vector<std::string> command = {"denoise-eval"};
    const auto add = [&](const std::string& flag, const std::string& value) {
      if (std::find(more.begin(), more.end(), flag) == more.end()) command.insert(command.end(), {flag, value});
    };
    add("--data", SmallMnistFolder());
    add("--checkpoint", std::string(kModels) + "/mnist.pt");
    add("--judges", std::string(kModels) + "/judges");
    add("--out", "eval");
    add("--count", "40");
    add("--sampler", "dpm_solver_pp_2m");
    add("--steps", "4");
    add("--device", "cpu");
    command.push_back("--noverify_data");
    command.insert(command.end(), more.begin(), more.end());
    return command;
  }
  ProgramResult Run(const std::vector<std::string>& more = {}) { return RunProgram(Command(more), {}, folder_.path()); }
  // What it says when it refuses.
  std::string Error(const std::vector<std::string>& more) {
    const ProgramResult result = Run(more);
    EXPECT_EQ(result.exit_code, result.err.find("error: --") == std::string::npos ? 1 : 2)
        << "a flag is at fault, or not";
    EXPECT_EQ(result.out, "");
    EXPECT_FALSE(std::filesystem::exists(folder_.File("eval"))) << "nothing was begun";
    return result.err;
  }
  nlohmann::json Report() { return nlohmann::json::parse(Slurp(folder_.File("eval/report.json"))); }

  TempFolder folder_;
};

TEST_F(DenoiseEvalTest, ScoresTheShippedCheckpoint) {
  const ProgramResult result = Run();
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("mnist.pt: 40 images, dpm_solver_pp_2m in 4 steps, no guidance, seed 1\n"));
  EXPECT_THAT(result.out, HasSubstr("times the floor"));
  EXPECT_THAT(result.out, testing::ContainsRegex("NOTE: the distances of as few as [12]. images are too high"));
  EXPECT_THAT(result.out, testing::Not(HasSubstr("not the judges")));
  EXPECT_THAT(result.out, HasSubstr("Look at:  eval/contact_sheet.png, eval/nearest_neighbours.png\n"));

  const nlohmann::json report = Report();
  EXPECT_EQ(report["sampling"]["count"], 40);
  EXPECT_EQ(report["sampling"]["network_calls"], 160);
  EXPECT_EQ(report["checkpoint"]["sha256"].get<std::string>().size(), 64u);
  EXPECT_EQ(report["data"]["reference"], "held_out");
  EXPECT_EQ(report["data"]["reference_images"], 42);
  EXPECT_EQ(report["judges"]["lenet5"]["pinned"], true);
  EXPECT_GT(report["frechet_distance"]["of_a_draw"]["generated"], 0);
  EXPECT_GT(report["frechet_distance"]["of_a_draw"]["real"]["lowest"], 0);
  EXPECT_GT(report["class_accuracy"]["generated"]["overall"], 0.5) << "four steps draw digits, if not good ones";
  EXPECT_GE(report["class_accuracy"]["real"]["overall"], 40. / 42);
  EXPECT_EQ(report["class_accuracy"]["generated"]["images"].size(), 10u);
  EXPECT_GT(report["nearest_training_image"]["generated"]["distance"]["median"], 1);
  EXPECT_EQ(report["nearest_training_image"]["generated"]["copies"], 0);
  for (const char* picture : {"eval/contact_sheet.png", "eval/nearest_neighbours.png"}) {
    EXPECT_TRUE(DecodePng(Slurp(folder_.File(picture))).ok()) << picture;
  }
}

// Reported: figures that could not be printed were lost, and the exit status was 0.
TEST_F(DenoiseEvalTest, WhatCannotBePrintedIsAnError) {
  std::vector<std::string> command = Command();
  command[0] = DENOISED_BIN_DIR "/denoise-eval";
  command.insert(command.begin(), {"/bin/sh", "-c", "exec \"$0\" \"$@\" >/dev/full"});
  const ProgramResult result = RunProgram(command, {}, folder_.path());
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, testing::EndsWith("denoise-eval: error: cannot write to standard output: No space left on "
                                            "device\n"));
}

TEST_F(DenoiseEvalTest, TheSameCommandAgainGivesTheSameFigures) {
  ASSERT_EQ(Run().exit_code, 0);
  nlohmann::json first = Report();
  std::filesystem::remove(folder_.File("eval/report.json"));
  ASSERT_EQ(Run().exit_code, 0);
  nlohmann::json second = Report();
  EXPECT_EQ(first["seconds"]["drawing"], second["seconds"]["drawing"]) << "nothing was drawn";
  first.erase("seconds");
  second.erase("seconds");
  EXPECT_EQ(first, second);
}

TEST_F(DenoiseEvalTest, SeveralSamplersAndStepsMakeATableAndPlots) {
  const ProgramResult result = Run({"--sampler", "ddim,dpm_solver_pp_2m", "--steps", "2,3"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("mnist.pt: 1 times 40 images each, seeds from 1\n\n| Variant "));
  EXPECT_THAT(result.out, HasSubstr("\n| dpm_solver_pp_2m-3 "));
  EXPECT_THAT(result.out, HasSubstr("Look at:  eval/distances.png, eval/misread.png\nTable:    eval/sweep.md\n"));
  EXPECT_THAT(result.out, HasSubstr(Slurp(folder_.File("eval/sweep.md"))));
  EXPECT_TRUE(DecodePng(Slurp(folder_.File("eval/distances.png"))).ok());
  for (const char* one : {"ddim-2", "ddim-3", "dpm_solver_pp_2m-2", "dpm_solver_pp_2m-3"}) {
    const auto report = nlohmann::json::parse(Slurp(folder_.File(std::string("eval/") + one + "/report.json")));
    EXPECT_EQ(std::string(one), report["sampling"]["sampler"].get<std::string>() + "-" +
                                    std::to_string(report["sampling"]["steps"].get<int>()));
  }
}

TEST_F(DenoiseEvalTest, SeveralSeedsHaveAMeanAndADeviation) {
  const ProgramResult result = Run({"--seed", "5", "--seeds", "2"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out,
              HasSubstr("mnist.pt: 2 times 40 images, dpm_solver_pp_2m in 4 steps, no guidance, seeds 5 to 6\n"));
  EXPECT_THAT(result.out, testing::ContainsRegex("Frechet distance +[0-9.]+ \\+- [0-9.]+ "));
  EXPECT_THAT(result.out, HasSubstr("Of all 80 drawn images "));
  const auto seeds = nlohmann::json::parse(Slurp(folder_.File("eval/seeds.json")));
  EXPECT_EQ(seeds["seeds"], nlohmann::json({5, 6}));
  for (int i = 0; i < 2; ++i) {
    const auto report =
        nlohmann::json::parse(Slurp(folder_.File("eval/seed-" + std::to_string(5 + i) + "/report.json")));
    EXPECT_EQ(report["frechet_distance"]["of_a_draw"]["generated"], seeds["figures"]["distance"]["values"][i]);
  }
}

TEST_F(DenoiseEvalTest, SeveralCheckpointsAreComparedInPairs) {
  const std::string shipped = std::string(kModels) + "/mnist.pt", copy = folder_.File("copy.pt");
  std::filesystem::copy(shipped, copy);
  const ProgramResult result = Run({"--checkpoint", shipped + "," + copy, "--seeds", "2"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("|  +0.00 +- 0.00 |")) << "the same weights draw the same digits";
  EXPECT_THAT(result.out, HasSubstr("\n| models-mnist-dpm_solver_pp_2m-4 |"));
}

TEST_F(DenoiseEvalTest, ClassifierLearnsFromDrawnDigitsAlone) {
  ASSERT_EQ(Run({"--count", "60", "--steps", "10"}).exit_code, 0);
  const ProgramResult result = RunProgram({"denoise-eval", "--train_on", "eval", "--data", SmallMnistFolder(),
                                           "--noverify_data", "--out", "learnt", "--seeds", "2"},
                                          {}, folder_.path());
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, testing::ContainsRegex("learnt/classifier-1/convnet.pt: learnt from 60 drawn images alone in "
                                                 ".*, reads [0-9.]+ % of 64 real test images \\(95 % interval "));
  EXPECT_THAT(result.out,
              testing::ContainsRegex("learnt/classifier-2/convnet.pt: .*\nMean and standard deviation of 2: "
                                     "[0-9.]+ \\+- [0-9.]+ %\n"));
}

TEST_F(DenoiseEvalTest, DrawingThatLacksADigitIsNotLearntFrom) {
  ASSERT_EQ(Run({"--count", "20"}).exit_code, 0);
  const std::string labels = folder_.File("eval/samples-labels-idx1-ubyte");
  std::string bytes = Slurp(labels);
  for (char& label : bytes) label = label == 9 ? 8 : label;
  folder_.Write("eval/samples-labels-idx1-ubyte", bytes);
  const ProgramResult result = RunProgram(
      {"denoise-eval", "--train_on", "eval", "--data", SmallMnistFolder(), "--noverify_data"}, {}, folder_.path());
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(
      result.err,
      "denoise-eval: error: cannot learn from --train_on: eval has no image of class 9: is its drawing complete? the "
      "command that began it goes on\n");
}

TEST_F(DenoiseEvalTest, SecondCheckpointIsLookedAtBeforeTheFirstDraws) {
  EXPECT_THAT(Error({"--checkpoint", std::string(kModels) + "/mnist.pt,none.pt"}), HasSubstr("cannot open none.pt"));
  EXPECT_THAT(Error({"--sampler", "ddim,ddpm", "--eta", "0.5"}), HasSubstr("--eta is for --sampler ddim only"));
}

TEST_F(DenoiseEvalTest, NothingToLearnFromIsSaid) {
  const ProgramResult result = RunProgram(
      {"denoise-eval", "--train_on", "nowhere", "--data", SmallMnistFolder(), "--noverify_data"}, {}, folder_.path());
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(
      result.err,
      "denoise-eval: error: cannot learn from --train_on: nowhere has neither samples-images-idx3-ubyte, as "
      "denoise-eval's --out has (with --seeds its folders seed-N), nor train-images-idx3-ubyte, as those of `denoise "
      "dataset` have, or not the labels beside it\n");
}

TEST_F(DenoiseEvalTest, InterruptedRunSaysThatItGoesOn) {
  // The full chain: it will not be done before it is asked to stop.
  BackgroundProgram program(Command({"--count", "2000", "--sampler", "ddpm", "--steps", "0"}), {}, folder_.path());
  while (!std::filesystem::exists(folder_.File("eval/samples.json"))) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  program.Signal(SIGINT);
  EXPECT_EQ(program.Wait(), 130);
  EXPECT_THAT(program.err(),
              HasSubstr(" of 2000 images drawn; they are kept, and the same command goes on from there\n"));
  EXPECT_FALSE(std::filesystem::exists(folder_.File("eval/report.json")));
}

TEST_F(DenoiseEvalTest, MissingJudgesSayHowToTrainThem) {
  EXPECT_EQ(
      Error({"--judges", "/nowhere"}),
      "denoise-eval: error: cannot load a judge: cannot open /nowhere/lenet5.pt: No such file or directory; name the "
      "judges' folder with --judges, or train them: denoise-eval --train_judges --data DIR --judges DIR\n");
}

TEST_F(DenoiseEvalTest, DamagedJudge) {
  folder_.Write("lenet5.pt", "junk");
  EXPECT_EQ(Error({"--judges", folder_.path()}),
            "denoise-eval: error: " + folder_.File("lenet5.pt") +
                " is not a whole judge of kind lenet5; train the judges again: denoise-eval --train_judges --data DIR "
                "--judges DIR\n");
}

// The real images, with each label one too high.
TEST_F(DenoiseEvalTest, JudgesOfOtherDataAreNotAsked) {
  const Dataset data = *LoadMnist(SmallMnistFolder(), Split::kTrain, {.verify_checksums = false});
  std::string labels;
  for (const uint8_t label : data.labels) labels.push_back(static_cast<char>((label + 1) % 10));
  folder_.Write("train-labels-idx1-ubyte", IdxHeader({static_cast<uint32_t>(labels.size())}) + labels);
  folder_.Write("train-images-idx3-ubyte.gz", Slurp(SmallMnistFolder() + "/train-images-idx3-ubyte.gz"));
  EXPECT_THAT(Error({"--data", folder_.path()}),
              testing::MatchesRegex("denoise-eval: error: .*/convnet.pt reads only [0-9.]+ % of 42 real images of " +
                                    folder_.path() +
                                    ": it has learnt from other data, or these are too few or too hard for it; "
                                    "denoise-eval --train_judges --judges FOLDER, with the same --data and "
                                    "--class_names, trains judges on these\n"));
}

// Eight of ten classes are where they were, so that most images are read as before.
TEST_F(DenoiseEvalTest, JudgesOfTheClassesInAnotherOrderAreNotAsked) {
  for (const auto& [split, name] : {std::pair(Split::kTrain, "train"), std::pair(Split::kTest, "t10k")}) {
    const Dataset data = *LoadMnist(SmallMnistFolder(), split, {.verify_checksums = false});
    std::string labels;
    for (const uint8_t label : data.labels) {
      labels.push_back(static_cast<char>(label == 1 ? 7 : label == 7 ? 1 : label));
    }
    folder_.Write(absl::StrCat(name, "-labels-idx1-ubyte"), IdxHeader({static_cast<uint32_t>(labels.size())}) + labels);
    const std::string images = absl::StrCat(name, "-images-idx3-ubyte.gz");
    folder_.Write(images, Slurp(SmallMnistFolder() + "/" + images));
  }
  EXPECT_THAT(
      Error({"--data", folder_.path(), "--reference", "test"}),
      testing::MatchesRegex("denoise-eval: error: .*/convnet.pt reads only 0.0 % of [0-9]+ real images of class "
                            "1, less than by chance: it has learnt the classes in another order, or other "
                            "data; denoise-eval --train_judges --judges FOLDER, with the same --data and "
                            "--class_names, trains judges on these\n"));
}

// A network as small as it gets, with random weights, that draws clothes by its names.
class DenoiseEvalNamesTest : public DenoiseEvalTest {
 protected:
  DenoiseEvalNamesTest() {
    ModelMetadata metadata;
    metadata.unet.channels = {8, 8, 8};
    metadata.unet.embedding_dim = 8;
    metadata.class_names = *ParseClassNames("names", kNames);
    EXPECT_THAT(SaveCheckpoint(folder_.File("clothes.pt"), metadata, MakeUnet(metadata.unet)), IsOk());
  }

  static constexpr char kNames[] = "T-shirt,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot";
};

TEST_F(DenoiseEvalNamesTest, CheckpointOfOtherClassesThanTheDatasIsRefused) {
  const std::string refused =
      "denoise-eval: error: clothes.pt draws other classes than --data has: \"T-shirt\", \"Trouser\", \"Pullover\", "
      "\"Dress\", \"Coat\", \"Sandal\", \"Shirt\", \"Sneaker\", \"Bag\" and \"Ankle boot\" in the place of "
      "\"0\", \"1\", \"2\", \"3\", \"4\", \"5\", \"6\", \"7\", \"8\" and \"9\"; give it its own data, or if they are "
      "its own, say by --class_names what their classes are called\n";
  EXPECT_EQ(Error({"--checkpoint", "clothes.pt"}), refused);
  EXPECT_EQ(Error({"--checkpoint", std::string(kModels) + "/mnist.pt,clothes.pt"}), refused)
      << "before the first draws";
}

TEST_F(DenoiseEvalNamesTest, DataMayBeNamedByTheFlagOrByAFile) {
  const ProgramResult by_flag = Run({"--checkpoint", "clothes.pt", "--class_names", kNames});
  EXPECT_EQ(by_flag.exit_code, 0) << by_flag.err;
  for (const char* file : {"train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"}) {
    folder_.Write(file, Slurp(SmallMnistFolder() + "/" + file));
  }
  folder_.Write("class_names.txt", absl::StrReplaceAll(kNames, {{",", "\n"}}));
  const ProgramResult by_file = Run({"--checkpoint", "clothes.pt", "--data", folder_.path()});
  EXPECT_EQ(by_file.exit_code, 0) << by_file.err;
  EXPECT_THAT(Run({"--data", folder_.path()}).err, HasSubstr("/mnist.pt draws other classes than --data has: \"0\", "));
}

TEST_F(DenoiseEvalNamesTest, NamesOfFewerClassesThanTheDataHasAreRefused) {
  EXPECT_THAT(Error({"--class_names", "ant,bee"}), HasSubstr(", expected 0 to 1\n"));
}

// Sets of patterns, and a network with random weights that draws their classes.
class DenoiseEvalClassesTest : public DenoiseEvalTest {
 protected:
  void MakeModel(const std::vector<std::string>& class_names) {
    ModelMetadata metadata;
    metadata.unet.channels = {8, 8, 8};
    metadata.unet.embedding_dim = 8;
    metadata.unet.num_labels = static_cast<int>(class_names.size());
    metadata.class_names = class_names;
    EXPECT_THAT(SaveCheckpoint(folder_.File("model.pt"), metadata, MakeUnet(metadata.unet)), IsOk());
  }
  ProgramResult TrainJudges() {
    return RunProgram({"denoise-eval", "--train_judges", "--data", folder_.path(), "--noverify_data", "--judges",
                       "judges", "--threads", "2"},
                      {}, folder_.path());
  }
  std::vector<std::string> OwnSet(std::vector<std::string> more = {}) {
    more.insert(more.end(), {"--data", folder_.path(), "--checkpoint", "model.pt", "--steps", "2"});
    return more;
  }
};

TEST_F(DenoiseEvalClassesTest, ThreeClassesFromJudgesToAClassifier) {
  WritePatternSet(PatternSet(3, 120), folder_);
  WritePatternSet(PatternSet(3, 20, /*seed=*/2), folder_, "t10k");
  folder_.Write("class_names.txt", "ant\nbee\ncat\n");
  MakeModel({"ant", "bee", "cat"});
  const ProgramResult judges = TrainJudges();
  ASSERT_EQ(judges.exit_code, 0) << judges.err;
  EXPECT_THAT(judges.out, HasSubstr(" % of 60 held-out images of 3 classes, trained on 300 in "));

  const ProgramResult result = Run(OwnSet({"--judges", "judges", "--reference", "test", "--seeds", "2"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, testing::ContainsRegex("The worst class of all is [012] \"(ant|bee|cat)\", with "));

  const ProgramResult learnt = RunProgram({"denoise-eval", "--train_on", folder_.path(), "--data", folder_.path(),
                                           "--noverify_data", "--out", "learnt", "--threads", "2"},
                                          {}, folder_.path());
  ASSERT_EQ(learnt.exit_code, 0) << learnt.err;
  EXPECT_THAT(learnt.out, testing::ContainsRegex("worst class [012] \"(ant|bee|cat)\", [0-9.]+ %\\)\n"));
}

// Judges as the library trains them: in fewer epochs.
TEST_F(DenoiseEvalClassesTest, TwentySixClasses) {
  const Dataset data = PatternSet(26, 24);
  WritePatternSet(data, folder_);
  MakeModel(NumbersAsNames(26));
  for (const JudgeKind kind : {JudgeKind::kLeNet5, JudgeKind::kConvNet}) {
    ASSERT_THAT(TrainJudge(kind, data, data, {.folder = folder_.File("judges"), .threads = 2, .epochs = 12}), IsOk());
  }
  const ProgramResult result = Run(OwnSet({"--judges", "judges", "--count", "104"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, testing::ContainsRegex("\n   25       4 .*\n\nReference: 104 held-out training images"));
  const nlohmann::json report = Report();
  EXPECT_EQ(report["class_names"].size(), 26u);
  EXPECT_EQ(report["class_accuracy"]["generated"]["by_class"].size(), 26u);
  EXPECT_EQ(report["nearest_training_image"]["real"]["distance_median_by_class"].size(), 26u);
  EXPECT_EQ(report["judges"]["convnet"]["pinned"], false);
  for (const char* picture : {"eval/contact_sheet.png", "eval/nearest_neighbours.png"}) {
    EXPECT_TRUE(DecodePng(Slurp(folder_.File(picture))).ok()) << picture;
  }
  std::filesystem::remove_all(folder_.File("eval"));
  EXPECT_EQ(
      Error(OwnSet({"--judges", "judges", "--count", "20"})),
      "denoise-eval: error: 20 drawn and 104 held-out images of 26 classes are too few to compare: ask for more with "
      "--count, or give a larger set with --data\n");
}

TEST_F(DenoiseEvalClassesTest, JudgesAndCheckpointsOfAnotherNumberOfClassesAreRefused) {
  WritePatternSet(PatternSet(3, 24), folder_);
  MakeModel({"ant", "bee", "cat"});
  EXPECT_EQ(Error(OwnSet()), "denoise-eval: error: " + std::string(kModels) + "/judges/lenet5.pt tells 10 classes " +
                                 "apart, and " + folder_.path() +
                                 " has 3; denoise-eval --train_judges --judges FOLDER, with the same --data and "
                                 "--class_names, trains judges on these\n");
  EXPECT_EQ(Error({"--checkpoint", "model.pt"}),
            "denoise-eval: error: model.pt draws 3 classes, \"ant\", \"bee\" and \"cat\", and --data has 10, \"0\", "
            "\"1\", \"2\", \"3\", \"4\", \"5\", \"6\", \"7\", \"8\" and \"9\"; give it its own data\n");
}

TEST_F(DenoiseEvalTest, MissingDataAndCheckpoint) {
  EXPECT_THAT(Error({"--data", "/nowhere"}), HasSubstr("there is no folder /nowhere; "));
  EXPECT_THAT(Error({"--checkpoint", "none.pt"}), HasSubstr("cannot load the checkpoint: cannot open none.pt"));
}

TEST_F(DenoiseEvalTest, RangesAreSaid) {
  EXPECT_EQ(Error({"--count", "19"}), "denoise-eval: error: --count must be 20 to 100000, got 19\n");
  EXPECT_EQ(Error({"--count", "100001"}), "denoise-eval: error: --count must be 20 to 100000, got 100001\n");
  EXPECT_EQ(Error({"--sampler", "euler"}),
            "denoise-eval: error: --sampler must be ddpm, ddim or dpm_solver_pp_2m, got \"euler\"\n");
  EXPECT_EQ(Error({"--sampler", "ddim,euler"}),
            "denoise-eval: error: --sampler must be ddpm, ddim or dpm_solver_pp_2m, got \"euler\"\n");
  EXPECT_EQ(Error({"--steps", "10,1001"}), "denoise-eval: error: --steps must be 1 to 1000, got 1001\n");
  EXPECT_EQ(Error({"--guidance_scale", "1,20"}), "denoise-eval: error: --guidance_scale must be 1 to 10, got 20\n");
  EXPECT_EQ(Error({"--steps", "1001"}), "denoise-eval: error: --steps must be 1 to 1000, got 1001\n");
}

TEST_F(DenoiseEvalTest, ThreadsThatNoMachineHasAreRefused) {
  for (const char* threads : {"-1", "100000"}) {
    EXPECT_THAT(Error({"--threads", threads}), HasSubstr(std::string("--threads: must be 0 to 1024, got ") + threads));
  }
}

TEST_F(DenoiseEvalTest, SeedsAndReferencesThatAreNone) {
  EXPECT_THAT(Error({"--seeds", "0"}), HasSubstr("--seeds"));
  EXPECT_THAT(Error({"--reference", "train"}), testing::AllOf(HasSubstr("--reference"), HasSubstr("held_out")));
}

TEST_F(DenoiseEvalTest, FolderMustBeWritable) {
  const std::string file = folder_.Write("file", "x");
  EXPECT_THAT(Error({"--out", file + "/eval"}),
              testing::AllOf(HasSubstr(file), HasSubstr("choose another with --out")));
}

TEST_F(DenoiseEvalTest, TrainingJudgesNeedsAFolder) {
  const ProgramResult result = RunProgram(
      {"denoise-eval", "--train_judges", "--data", SmallMnistFolder(), "--noverify_data"}, {}, folder_.path());
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(result.err, "denoise-eval: error: --train_judges writes two files: name their folder with --judges\n");
}

TEST_F(DenoiseEvalTest, FlagsThatTrainingJudgesWouldIgnoreAreRefused) {
  const ProgramResult result = RunProgram({"denoise-eval", "--train_judges", "--judges=judges", "--count=100"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, testing::MatchesRegex("denoise-eval: error: --[a-z_]+ excludes --[a-z_]+\nSee .*\n"));
}

}  // namespace
}  // namespace denoised
