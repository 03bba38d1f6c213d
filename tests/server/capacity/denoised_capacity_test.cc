// The program denoised-capacity, as a user runs it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "common/image/png.h"
#include "tests/testing/program.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

using testing::HasSubstr;

class CapacityTest : public testing::Test {
 protected:
  ProgramResult Run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "denoised-capacity");
    return RunProgram(arguments, {}, folder_.path());
  }

  TempFolder folder_;
};

TEST_F(CapacityTest, MeasuresThisMachineAndCanUseItsTimesAgain) {
  const ProgramResult measured = Run({"--checkpoint", std::string(DENOISED_SOURCE_DIR) + "/models/mnist.pt",
                                      "--device=cpu", "--max_batch_rows=4", "--steps=10", "--shares=0.8,0.5",
                                      "--replicas=1,3", "--seconds=20", "--warmup_seconds=2", "--out=capacity.json"});
  ASSERT_EQ(measured.exit_code, 0) << measured.err;
  EXPECT_THAT(measured.out, testing::MatchesRegex("A step of 1 row takes [0-9.]+ ms, of 4 rows (.|\n)*"));
  EXPECT_THAT(measured.out, HasSubstr("Figures:  capacity.json\nPlot:     capacity.png\n"));
  const nlohmann::json first = nlohmann::json::parse(Slurp(folder_.File("capacity.json")));
  EXPECT_EQ(first["step_seconds"].size(), 4u);
  ASSERT_EQ(first["loads"].size(), 4u);
  EXPECT_EQ(first["loads"][0]["share_of_capacity"], 0.5) << "in ascending order";
  EXPECT_GT(first["loads"][0]["step_level"]["finished"], 0);
  EXPECT_TRUE(DecodePng(Slurp(folder_.File("capacity.png"))).ok());

  const std::vector<std::string> again = {"--step_times=capacity.json", "--steps=10", "--seconds=20", "--replicas=1"};
  const ProgramResult one = Run(again), two = Run(again);
  EXPECT_EQ(one.exit_code, 0) << one.err;
  EXPECT_EQ(one.out, two.out) << "a simulation of the same times and seed";
}

TEST_F(CapacityTest, WhatDoesNotFitIsSaid) {
  folder_.Write("bad.json", R"({"step_seconds": [0.1, "x"]})");
  folder_.Write("none.json", "{}");
  EXPECT_EQ(Run({"--step_times=bad.json"}).err, "denoised-capacity: error: step times must be above 0\n");
  EXPECT_THAT(Run({"--step_times=none.json"}).err, HasSubstr("none.json has no step times: "));
  EXPECT_THAT(Run({"--step_times=nowhere.json"}).err, HasSubstr("cannot open nowhere.json"));
  EXPECT_THAT(Run({"--out=x.txt"}).err, HasSubstr("--out must end in .json, got x.txt"));
  EXPECT_THAT(Run({"--threads=100000"}).err, HasSubstr("--threads: must be 0 to 1024, got 100000"));
  EXPECT_THAT(Run({"--out=/proc/x.json"}).err, HasSubstr("denoised-capacity: error: cannot "));
  const ProgramResult both = Run({"--step_times=bad.json", "--max_batch_rows=4"});
  EXPECT_EQ(both.exit_code, 2);
  EXPECT_THAT(both.err, HasSubstr("excludes"));
}

// Reported: a table that could not be printed was lost, and the exit status was 0.
TEST_F(CapacityTest, WhatCannotBePrintedIsAnError) {
  folder_.Write("times.json", R"({"step_seconds": [0.1, 0.1]})");
  const ProgramResult result = RunProgram(
      {"/bin/sh", "-c", "exec " DENOISED_BIN_DIR "/denoised-capacity --step_times times.json --seconds=20 >/dev/full"},
      {}, folder_.path());
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.err, "denoised-capacity: error: cannot write to standard output: No space left on device\n");
}

TEST_F(CapacityTest, HelpShowsTheDefaultsOfFlagsWithSeveralValues) {
  const std::string help = Run({"--help"}).out;
  EXPECT_THAT(help, HasSubstr("--shares NUMBER..., 0.001 to 2 [0.2 0.4 0.6 0.7 0.8 0.9 0.95]"));
  EXPECT_THAT(help, HasSubstr("--replicas NUMBER..., 1 to 100000 [1 100]"));
}

}  // namespace
}  // namespace denoised
