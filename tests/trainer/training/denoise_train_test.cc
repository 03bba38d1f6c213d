// The program denoise-train, as a user runs it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "common/checkpoint/checkpoint.h"
#include "tests/testing/mnist_folder.h"
#include "tests/testing/program.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

using testing::HasSubstr;

TEST(DenoiseTrainTest, TrainsOnSmallRealDataAndNamesTheCheckpoint) {
  const TempFolder folder;
  const ProgramResult result = RunProgram({"denoise-train", "--data", SmallMnistFolder(), "--noverify_data", "--epochs",
                                           "1", "--sample_every", "0", "--out", "run"},
                                          {}, folder.path());
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("training on cpu, 256 images an epoch, 64 a step; writing to run/\n"));
  EXPECT_THAT(result.out, testing::MatchesRegex(
                              "run/best.pt: best loss [0-9.]+ in epoch 1 of 1, 256 images in [0-9]+ s, and [0-9]+ s "
                              "for files and pictures\n"
                              "Serve it:  denoised --checkpoint run/best.pt\n"
                              "Look at:   run/loss.png\n"));
  EXPECT_TRUE(std::filesystem::exists(folder.File("run/best.pt")));
}

TEST(DenoiseTrainTest, KilledRunGoesOnAsIfNothingHadHappened) {
  const TempFolder folder;
  const std::vector<std::string> command = {"denoise-train", "--data", SmallMnistFolder(), "--noverify_data",
                                            "--epochs",      "4",      "--sample_every",   "0",
                                            "--threads",     "2"};
  for (const char* name : {"whole", "parts"}) std::filesystem::create_directory(folder.File(name));
  ASSERT_EQ(RunProgram(command, {}, folder.File("whole")).exit_code, 0);
  {
    BackgroundProgram killed(command, {}, folder.File("parts"));
    killed.AwaitLine("epoch 2/4");
    killed.Signal(SIGKILL);
    EXPECT_EQ(killed.Wait(), 128 + SIGKILL);
  }
  std::vector<std::string> resume = command;
  resume.insert(resume.end(), {"--resume", "--save_every", "5"});
  const ProgramResult resumed = RunProgram(resume, {}, folder.File("parts"));
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_THAT(resumed.err, testing::Not(HasSubstr("epoch 1/4")));
  EXPECT_THAT(resumed.err,
              testing::ContainsRegex("\ngoing on (with|after batch [1-4] of 4 in) epoch [34] of 4; [0-9]+ s "
                                     "so far, best loss [0-9.]+\n"));
  const auto losses = [&](const std::string& run) {
    std::istringstream lines(Slurp(folder.File(run + "/run/log.jsonl")));
    std::vector<double> values;
    for (std::string line; std::getline(lines, line);) values.push_back(nlohmann::json::parse(line)["loss"]);
    return values;
  };
  EXPECT_EQ(losses("parts"), losses("whole"));
  for (const char* file : {"/run/last.pt", "/run/best.pt"}) {
    EXPECT_TRUE(Slurp(folder.File("parts") + file) == Slurp(folder.File("whole") + file)) << file;
  }
}

TEST(DenoiseTrainTest, AddsAGoldenDrawToACheckpointWithoutTraining) {
  const TempFolder folder;
  const std::string path = folder.Write("m.pt", Slurp(DENOISED_SOURCE_DIR "/models/mnist.pt"));
  const Checkpoint before = *LoadCheckpoint(path);
  const ProgramResult result = RunProgram({"denoise-train", "--add_golden_draw", "m.pt"}, {}, folder.path());
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "m.pt: now carries what its network draws here\n");
  const Checkpoint after = *LoadCheckpoint(path);
  EXPECT_TRUE(after.golden.has_value());
  EXPECT_TRUE(after.metadata == before.metadata);
  EXPECT_FALSE(std::filesystem::exists(folder.File("run")));
}

// Reported: what could not be printed was lost, and the exit status was 0.
TEST(DenoiseTrainTest, WhatCannotBePrintedIsAnError) {
  const TempFolder folder;
  folder.Write("m.pt", Slurp(DENOISED_SOURCE_DIR "/models/mnist.pt"));
  for (const std::string arguments : {"--add_golden_draw m.pt", "--help"}) {
    const ProgramResult result = RunProgram(
        {"/bin/sh", "-c", "exec " DENOISED_BIN_DIR "/denoise-train " + arguments + " >/dev/full"}, {}, folder.path());
    EXPECT_EQ(result.exit_code, 1) << arguments;
    EXPECT_EQ(result.err, "denoise-train: error: cannot write to standard output: No space left on device\n");
  }
}

TEST(DenoiseTrainTest, GoldenDrawOfAMissingCheckpointIsSaid) {
  const ProgramResult result = RunProgram({"denoise-train", "--add_golden_draw", "/nowhere/m.pt"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("denoise-train: error: cannot load the checkpoint: cannot open /nowhere/m.pt"));
}

TEST(DenoiseTrainTest, RunThatIsTooShortToLearnAnythingIsTold) {
  const TempFolder folder;
  const ProgramResult result = RunProgram({"denoise-train", "--data", SmallMnistFolder(), "--noverify_data", "--epochs",
                                           "2", "--batch_size", "100", "--sample_every", "0"},
                                          {}, folder.path());
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("each epoch leaves out 56 images, which fill no batch: --keep_last_batch or a "
                                    "smaller --batch_size takes them in\n"
                                    "4 steps are hardly enough to learn anything, where the learning rate rises for "
                                    "500: raise --epochs or --max_steps, or lower --warmup_steps\n"));
}

TEST(DenoiseTrainTest, InterruptedRunSaysHowToGoOn) {
  const TempFolder folder;
  BackgroundProgram program({"denoise-train", "--data", SmallMnistFolder(), "--noverify_data", "--sample_every", "0",
                             "--epochs", "10000", "--patience", "10000"},
                            {}, folder.path());
  program.AwaitLine("epoch 1/10000");
  program.Signal(SIGTERM);
  EXPECT_EQ(program.Wait(), 130);
  EXPECT_THAT(
      program.err(),
      testing::ContainsRegex("stopped in epoch [0-9]+; everything is saved, and the same command with --resume goes "
                             "on\n$"));
  EXPECT_EQ(program.out(), "Serve what it has learnt:  denoised --checkpoint run/last.pt\n");
  EXPECT_TRUE(std::filesystem::exists(folder.File("run/state.pt")));
  EXPECT_TRUE(LoadCheckpoint(folder.File("run/last.pt")).ok());
}

// On a terminal of 80 columns, as script(1) makes one.
TEST(DenoiseTrainTest, ProgressFitsTheTerminal) {
  if (!std::filesystem::exists("/usr/bin/script")) GTEST_SKIP() << "needs script, of Debian's bsdutils";
  const TempFolder folder;
  const std::string train = "stty cols 60 rows 24; exec " DENOISED_BIN_DIR "/denoise-train --data " +
                            SmallMnistFolder() +
                            " --noverify_data --sample_every 0 --channels 8,16,16 --batch_size 4 --max_steps 100";
  const ProgramResult result =
      RunProgram({"/usr/bin/script", "-qec", train, "typescript"}, {"TERM=xterm"}, folder.path());
  ASSERT_EQ(result.exit_code, 0) << result.out;
  size_t bars = 0;
  const std::string kRewrite = "\r\x1b[K";
  for (size_t at = result.out.find(kRewrite); at != std::string::npos; at = result.out.find(kRewrite, at)) {
    at += kRewrite.size();
    const std::string line = result.out.substr(at, result.out.find_first_of("\r\n", at) - at);
    if (line.find(" left") == std::string::npos) continue;
    ++bars;
    EXPECT_LT(line.size(), 60u) << line;
    EXPECT_TRUE(line.ends_with(" left")) << "cut off: " << line;
  }
  EXPECT_GT(bars, 0u);
}

TEST(DenoiseTrainTest, FullDiskKeepsTheLastGoodCheckpoint) {
  const TempFolder folder;
  const std::vector<std::string> train = {
      "denoise-train", "--data", SmallMnistFolder(), "--noverify_data", "--sample_every", "0", "--out", "run"};
  std::vector<std::string> first = train;
  first.insert(first.end(), {"--epochs", "1", "--nocosine"});
  ASSERT_EQ(RunProgram(first, {}, folder.path()).exit_code, 0);
  const std::string best = Slurp(folder.File("run/best.pt")), state = Slurp(folder.File("run/state.pt"));
  // No file may grow beyond 4 MiB, less than a checkpoint has: writing fails half-way, as on a full disk.
  const std::string command = "trap '' XFSZ; ulimit -f 4096; exec " DENOISED_BIN_DIR "/denoise-train --data " +
                              SmallMnistFolder() +
                              " --noverify_data --sample_every 0 --out run --epochs 2 --nocosine --resume";
  const ProgramResult result = RunProgram({"/bin/bash", "-c", command}, {}, folder.path());
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("denoise-train: error: cannot write run/last.pt"));
  EXPECT_TRUE(Slurp(folder.File("run/best.pt")) == best);
  EXPECT_TRUE(Slurp(folder.File("run/state.pt")) == state);
}

// A state, which is four times as large as a checkpoint, was first written after the first epoch's checkpoints: of a
// run that ended there nothing could be resumed, and nothing begun.
TEST(DenoiseTrainTest, DiskThatIsTooSmallIsFoundBeforeTraining) {
  const TempFolder folder;
  const std::string command = "trap '' XFSZ; ulimit -f 8192; exec " DENOISED_BIN_DIR "/denoise-train --data " +
                              SmallMnistFolder() + " --noverify_data --sample_every 0 --out run --epochs 1";
  const ProgramResult result = RunProgram({"/bin/bash", "-c", command}, {}, folder.path());
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("denoise-train: error: cannot write run/state.pt"));
  EXPECT_FALSE(std::filesystem::exists(folder.File("run/best.pt")));
  const ProgramResult again = RunProgram({"denoise-train", "--data", SmallMnistFolder(), "--noverify_data", "--epochs",
                                          "1", "--sample_every", "0", "--out", "run"},
                                         {}, folder.path());
  EXPECT_EQ(again.exit_code, 0) << again.err;
}

TEST(DenoiseTrainTest, FolderOfARunIsItsAlone) {
  const TempFolder folder;
  const std::vector<std::string> command = {"denoise-train", "--data", SmallMnistFolder(), "--noverify_data",
                                            "--epochs",      "10000",  "--sample_every",   "0",
                                            "--patience",    "10000"};
  BackgroundProgram first(command, {}, folder.path());
  first.AwaitLine("epoch 1/10000");
  std::vector<std::string> resume = command;
  resume.emplace_back("--resume");
  const ProgramResult second = RunProgram(resume, {}, folder.path());
  EXPECT_EQ(second.exit_code, 1);
  EXPECT_EQ(second.err,
            "denoise-train: error: another denoise-train writes to run: let it end, or choose another --out\n");
  first.Signal(SIGHUP);  // its terminal closes
  EXPECT_EQ(first.Wait(), 130);
  EXPECT_TRUE(LoadCheckpoint(folder.File("run/last.pt")).ok());
}

TEST(DenoiseTrainTest, StepsBeyondTheEpochsAreTold) {
  const TempFolder folder;
  const ProgramResult result = RunProgram({"denoise-train", "--data", SmallMnistFolder(), "--noverify_data", "--epochs",
                                           "6", "--max_steps", "5000", "--sample_every", "0", "--channels", "8,16,16"},
                                          {}, folder.path());
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("--epochs 6 is over after 24 steps, before --max_steps 5000: raise it for more\n"));
  EXPECT_THAT(result.err, HasSubstr(" to the end of epoch 6, at "));
  const ProgramResult few =
      RunProgram({"denoise-train", "--data", SmallMnistFolder(), "--noverify_data", "--epochs", "150", "--max_steps",
                  "7", "--sample_every", "0", "--channels", "8,16,16", "--out", "few"},
                 {}, folder.path());
  EXPECT_THAT(few.err, HasSubstr("\nepoch 2/2  loss "));
}

TEST(DenoiseTrainTest, OtherDataIsRefusedUnlessAskedFor) {
  const TempFolder folder;
  const ProgramResult result = RunProgram({"denoise-train", "--data", SmallMnistFolder()}, {}, folder.path());
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("denoise-train: error: " + SmallMnistFolder() +
                                    "/train-images-idx3-ubyte.gz is not MNIST's file"));
  EXPECT_FALSE(std::filesystem::exists(folder.File("run"))) << "nothing was begun";
}

TEST(DenoiseTrainTest, MissingDataSaysWhatToDo) {
  const ProgramResult result = RunProgram({"denoise-train", "--data", "/nowhere"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(
      result.err,
      "denoise-train: error: there is no folder /nowhere; scripts/download_mnist.sh fetches MNIST, --data names its "
      "folder; a data set of one's own may also be a folder of PNGs for each class in it\n");
}

TEST(DenoiseTrainTest, UnknownArchitectureAndFlag) {
  const ProgramResult big = RunProgram({"denoise-train", "--arch", "big"});
  EXPECT_EQ(big.exit_code, 2);
  EXPECT_EQ(big.err, "denoise-train: error: --arch must be compact or seed, got \"big\"\n");
  EXPECT_EQ(
      RunProgram({"denoise-train", "--learning_rate=nan"}).err,
      "denoise-train: error: --learning_rate: must be a finite decimal number, got nan\nSee denoise-train --help.\n");
  for (const char* threads : {"-1", "100000"}) {
    const ProgramResult result = RunProgram({"denoise-train", "--threads", threads});
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_THAT(result.err, HasSubstr(absl::StrCat("--threads: must be 0 to 1024, got ", threads, "\n")));
  }
  const ProgramResult prediction = RunProgram({"denoise-train", "--prediction_type", "v"});
  EXPECT_EQ(prediction.exit_code, 2);
  EXPECT_THAT(prediction.err, HasSubstr("denoise-train: error: --prediction_type must be "));
  for (const char* flag : {"--teacher_steps=7", "--student_steps=3"}) {
    const ProgramResult alone = RunProgram({"denoise-train", flag});
    EXPECT_EQ(alone.exit_code, 2);
    EXPECT_THAT(alone.err, HasSubstr(" requires --"));
  }
  const ProgramResult unknown = RunProgram({"denoise-train", "--bogus"});
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_EQ(unknown.err,
            "denoise-train: error: The following argument was not expected: --bogus\nSee denoise-train --help.\n");
}

TEST(DenoiseTrainTest, FlagsMayComeFromAFile) {
  const TempFolder folder;
  folder.Write("small.toml", "data = \"" + SmallMnistFolder() +
                                 "\"\nverify_data = false\nepochs = 3\nchannels = [8, 16, 16]\n"
                                 "sample_every = 0\n");
  const ProgramResult result =
      RunProgram({"denoise-train", "--config", "small.toml", "--epochs", "1"}, {}, folder.path());
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("in epoch 1 of 1, 256 images")) << "the command line wins";
  EXPECT_EQ(LoadCheckpoint(folder.File("run/best.pt"))->metadata.unet.channels, (std::vector<int>{8, 16, 16}));

  folder.Write("seed.toml", "arch = \"seed\"\n");
  const ProgramResult help = RunProgram({"denoise-train", "--config", "seed.toml", "--help"}, {}, folder.path());
  EXPECT_THAT(help.out, HasSubstr("--learning_rate NUMBER [0.0002]")) << "its own recipe";
}

TEST(DenoiseTrainTest, FileOfFlagsWithAMistakeIsSaid) {
  const TempFolder folder;
  const auto error = [&folder](const std::string& text) {
    folder.Write("wrong.toml", text);
    const ProgramResult result = RunProgram({"denoise-train", "--config", "wrong.toml"}, {}, folder.path());
    EXPECT_EQ(result.exit_code, 2);
    return result.err;
  };
  EXPECT_THAT(error("epoch = 3\n"), HasSubstr("denoise-train: error: --config: there is no flag named epoch\n"));
  EXPECT_THAT(
      error("epochs = 0x3\n"),
      HasSubstr("denoise-train: error: wrong.toml: epochs: must be a whole number in decimal digits, got 0x3\n"));
  EXPECT_THAT(error("prediction_type = \"x\"\n"),
              HasSubstr("denoise-train: error: wrong.toml: prediction_type must be \"epsilon\" or"));
  EXPECT_THAT(error("arch = \"x\"\n"), HasSubstr("denoise-train: error: wrong.toml: arch must be compact or seed"));
  const ProgramResult missing = RunProgram({"denoise-train", "--config", "none.toml"}, {}, folder.path());
  EXPECT_EQ(missing.exit_code, 2);
  EXPECT_THAT(missing.err, HasSubstr("--config: cannot read none.toml; name a file that is there\n"));
}

// Reported: of a wrong flag and missing data the data were told, and with data the flag only after they had been read.
TEST(DenoiseTrainTest, WrongFlagsAreSaidBeforeDataAreRead) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"--epochs=-3", "--epochs must be at least 1, got -3"},
      {"--batch_size=0", "--batch_size must be at least 1, got 0"},
      {"--validation_images=-1", "--validation_images must be at least 0, got -1"},
      {"--epochs=-10000000", "--epochs must be at least 1, got -10000000"},
      {"--learning_rate=0", "--learning_rate must be more than 0, got 0"},
      {"--precision=fp16", "--precision must be fp32 or bf16, got \"fp16\""},
  };
  for (const auto& [flag, message] : cases) {
    const ProgramResult result = RunProgram({"denoise-train", flag, "--data=nowhere"}, {}, TempFolder().path());
    EXPECT_EQ(result.exit_code, 2) << flag;
    EXPECT_EQ(result.err, "denoise-train: error: " + message + "\n");
  }
}

TEST(DenoiseTrainTest, WrongChannelsAreSaid) {
  const ProgramResult result =
      RunProgram({"denoise-train", "--channels", "48,96", "--data", SmallMnistFolder(), "--noverify_data"}, {},
                 TempFolder().path());
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(result.err, "denoise-train: error: --channels: architecture \"compact\" has 3 channel counts, got 2\n");
}

TEST(DenoiseTrainTest, SeedRecipeIsTheOriginals) {
  const ProgramResult help = RunProgram({"denoise-train", "--arch", "seed", "--help"});
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_THAT(help.out, HasSubstr("--learning_rate NUMBER [0.0002]"));  // by CLI11's version
}

}  // namespace
}  // namespace denoised
