// Several processes that train one network, started as torchrun would: by environment variables alone.
#include "trainer/training/process_group.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/testing/free_port.h"
#include "tests/testing/mnist_folder.h"
#include "tests/testing/program.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

using testing::HasSubstr;

class ProcessGroupTest : public testing::Test {
 protected:
  static std::vector<std::string> Command(int batch_size, int epochs, const std::string& out) {
    return {"denoise-train",
            "--data",
            SmallMnistFolder(),
            "--noverify_data",
            "--epochs",
            std::to_string(epochs),
            "--batch_size",
            std::to_string(batch_size),
            "--sample_every",
            "0",
            "--threads",
            "1",
            "--learning_rate",
            "0.002",
            "--warmup_steps",
            "0",
            "--out",
            out};
  }

  static constexpr size_t kDataFolder = 2;  // its place in a command

  // One process per rank, in this test's folder, on the loopback interface.
  std::vector<std::unique_ptr<BackgroundProgram>> Start(const std::vector<std::string>& command, int ranks) {
    return Start(std::vector<std::vector<std::string>>(ranks, command));
  }
  std::vector<std::unique_ptr<BackgroundProgram>> Start(const std::vector<std::vector<std::string>>& commands) {
    const std::string port = std::to_string(FreePort());
    const size_t ranks = commands.size();
    std::vector<std::unique_ptr<BackgroundProgram>> processes;
    for (size_t rank = 0; rank < ranks; ++rank) {
      processes.push_back(std::make_unique<BackgroundProgram>(
          commands[rank],
          std::vector<std::string>{"RANK=" + std::to_string(rank), "WORLD_SIZE=" + std::to_string(ranks),
                                   "LOCAL_RANK=" + std::to_string(rank), "MASTER_ADDR=127.0.0.1", "MASTER_PORT=" + port,
                                   "GLOO_SOCKET_IFNAME=lo"},
          folder_.path()));
    }
    return processes;
  }

  std::vector<double> Losses(const std::string& out) const {
    std::istringstream lines(Slurp(folder_.File(out + "/log.jsonl")));
    std::vector<double> losses;
    for (std::string line; std::getline(lines, line);) losses.push_back(nlohmann::json::parse(line)["loss"]);
    return losses;
  }

  TempFolder folder_;
};

// Process 0 has ones everywhere.
class OnesAtTheFirst : public ProcessGroup {
 public:
  void Sum(at::Tensor&) override {}
  void Broadcast(at::Tensor& tensor) override { tensor.fill_(1); }
};

TEST(TakeFromFirstTest, TensorsBecomeThoseOfTheFirstAndTheDistanceIsTold) {
  OnesAtTheFirst group;
  const at::Tensor a = torch::full({2, 3}, 0.5, torch::requires_grad()), b = torch::full({4}, 3.0);
  EXPECT_EQ(TakeFromFirst(&group, {a, b}), 2);
  EXPECT_TRUE(torch::equal(a, torch::ones({2, 3})));
  EXPECT_TRUE(torch::equal(b, torch::ones({4})));
  EXPECT_EQ(TakeFromFirst(&group, {a, b}), 0);
}

TEST(TakeFromFirstTest, OneProcessKeepsItsOwn) {
  const at::Tensor a = torch::full({2}, 0.5);
  EXPECT_EQ(TakeFromFirst(nullptr, {a}), 0);
  EXPECT_EQ(a[0].item<float>(), 0.5f);
}

TEST_F(ProcessGroupTest, TwoProcessesLearnAsOneWithTwiceTheBatch) {
  const ProgramResult alone = RunProgram(Command(32, 3, "alone"), {}, folder_.path());
  ASSERT_EQ(alone.exit_code, 0) << alone.err;
  const auto processes = Start(Command(16, 3, "together"), 2);
  for (const auto& process : processes) ASSERT_EQ(process->Wait(), 0) << process->err();
  EXPECT_THAT(processes[0]->out(), HasSubstr("together/best.pt: best loss "));
  EXPECT_EQ(processes[1]->out(), "") << "process 0 speaks for all";
  EXPECT_EQ(processes[1]->err(), "");
  const std::vector<double> one = Losses("alone"), two = Losses("together");
  ASSERT_EQ(one.size(), 3u);
  ASSERT_EQ(two.size(), 3u);
  EXPECT_LT(one.back(), one.front() * 0.95) << "a curve that moves";
  for (int epoch = 0; epoch < 3; ++epoch) EXPECT_NEAR(two[epoch], one[epoch], 1e-4 * one[epoch]) << epoch;
}

TEST_F(ProcessGroupTest, TwoProcessesResumeWhatOneWouldHaveDone) {
  std::vector<std::string> command = Command(16, 1, "run");
  command.push_back("--nocosine");
  const auto first = Start(command, 2);
  for (const auto& process : first) ASSERT_EQ(process->Wait(), 0) << process->err();
  command = Command(16, 2, "run");
  command.insert(command.end(), {"--nocosine", "--resume"});
  const auto second = Start(command, 2);
  for (const auto& process : second) ASSERT_EQ(process->Wait(), 0) << process->err();
  EXPECT_EQ(Losses("run").size(), 2u);
}

TEST_F(ProcessGroupTest, LossOfAProcessEndsTheOthersWithAMessage) {
  const auto processes = Start(Command(16, 10000, "run"), 2);
  processes[0]->AwaitLine("epoch 1/10000");
  processes[1]->Signal(SIGKILL);
  EXPECT_EQ(processes[0]->Wait(), 1);
  EXPECT_THAT(processes[0]->err(), HasSubstr("denoise-train: error: training failed: "));
}

// Otherwise the others would wait ten minutes for a process that has gone.
TEST_F(ProcessGroupTest, ErrorOfTheFirstProcessAtTheStartIsThatOfAll) {
  folder_.Write("run", "a file");
  const auto processes = Start(Command(16, 1, "run"), 2);
  for (const auto& process : processes) {
    EXPECT_EQ(process->Wait(), 1);
    EXPECT_THAT(process->err(), HasSubstr("denoise-train: error: cannot create the folder run"));
  }
}

// Of whatever rank: one that cannot read its data, or the checkpoint to begin with.
TEST_F(ProcessGroupTest, WhatKeepsAProcessFromBeginningIsHeardByTheOthers) {
  const std::vector<std::string> good = Command(16, 1, "run");
  std::vector<std::string> no_data = good, no_init = good;
  no_data[kDataFolder] = "nowhere";
  no_init.insert(no_init.end(), {"--init", "none.pt"});
  const struct {
    std::vector<std::string> command;
    std::string message;
  } cases[] = {{no_data, "there is no folder nowhere; "}, {no_init, "cannot load the checkpoint: cannot open none.pt"}};
  for (const auto& [bad, message] : cases) {
    for (const size_t rank : {0, 1}) {
      std::vector<std::vector<std::string>> commands = {good, good};
      commands[rank] = bad;
      const auto processes = Start(commands);
      EXPECT_EQ(processes[rank]->Wait(), 1);
      EXPECT_THAT(processes[rank]->err(), HasSubstr("denoise-train: error: " + message));
      EXPECT_EQ(processes[1 - rank]->Wait(), 1);
      EXPECT_THAT(processes[1 - rank]->err(), HasSubstr("denoise-train: error: the process with RANK " +
                                                        std::to_string(rank) + " cannot begin: " + message));
    }
  }
  EXPECT_FALSE(std::filesystem::exists(folder_.File("run"))) << "nothing was begun";
}

TEST_F(ProcessGroupTest, ProcessWithOtherFlagsIsFoundBeforeItSpoilsTheSums) {
  const auto processes = Start({Command(16, 1, "run"), Command(8, 1, "run")});
  EXPECT_EQ(processes[1]->Wait(), 1);
  EXPECT_EQ(processes[1]->err(),
            "denoise-train: error: this process has --batch_size times processes 16, that with RANK 0 has --batch_size "
            "times processes 32: start all with the same flags and data\n");
  EXPECT_EQ(processes[0]->Wait(), 1);
  EXPECT_THAT(processes[0]->err(),
              HasSubstr("another process has other flags or data than that with RANK 0: start all with the same"));
}

TEST_F(ProcessGroupTest, EachProcessWithAnErrorSaysItsOwn) {
  std::vector<std::string> first = Command(16, 1, "run"), second = first;
  first[kDataFolder] = "nowhere";
  second[kDataFolder] = "elsewhere";
  const auto processes = Start({first, second});
  for (const auto& process : processes) EXPECT_EQ(process->Wait(), 1);
  EXPECT_THAT(processes[0]->err(), HasSubstr("there is no folder nowhere; "));
  EXPECT_THAT(processes[1]->err(), HasSubstr("there is no folder elsewhere; "));
}

TEST_F(ProcessGroupTest, ProcessThatDoesNotComeIsNamed) {
  setenv("MASTER_ADDR", "127.0.0.1", 1);
  setenv("MASTER_PORT", std::to_string(FreePort()).c_str(), 1);
  const auto group =
      ProcessGroup::FromEnvironment({.rank = 0, .size = 2}, torch::Device(torch::kCPU), std::chrono::seconds(1));
  unsetenv("MASTER_ADDR");
  unsetenv("MASTER_PORT");
  EXPECT_THAT(group,
              StatusIs(absl::StatusCode::kUnavailable,
                       testing::AllOf(HasSubstr("the process with RANK 1 has not come: "),
                                      HasSubstr("; is it running, with the same MASTER_ADDR and MASTER_PORT?"))));
}

TEST_F(ProcessGroupTest, MalformedEnvironmentIsSaid) {
  const auto error = [this](const std::vector<std::string>& environment, int exit_code = 1) {
    const ProgramResult result = RunProgram(Command(16, 1, "run"), environment, folder_.path());
    EXPECT_EQ(result.exit_code, exit_code);
    return result.err;
  };
  EXPECT_THAT(
      error({"WORLD_SIZE=two"}),
      HasSubstr("denoise-train: error: the environment variable WORLD_SIZE must be a number from 1 to 65536, got "
                "\"two\"; torchrun sets it, and to train in one process WORLD_SIZE must not be set\n"));
  EXPECT_THAT(error({"RANK=1"}), HasSubstr("the environment variable RANK is set and WORLD_SIZE, the number of "
                                           "processes, is not: set both, or neither for one process\n"));
  EXPECT_THAT(error({"WORLD_SIZE=2"}),
              HasSubstr("the environment variable RANK must be a number from 0 to 1, got \"\""));
  EXPECT_THAT(error({"WORLD_SIZE=2", "RANK=0"}),
              HasSubstr("the environment variable MASTER_ADDR must name the machine of the process with RANK 0"));
  EXPECT_THAT(error({"WORLD_SIZE=2", "RANK=0", "MASTER_ADDR=127.0.0.1"}),
              HasSubstr("the environment variable MASTER_PORT must be a number from 1 to 65535, got \"\""));
  EXPECT_THAT(error({"WORLD_SIZE=100", "RANK=0"}, /*exit_code=*/2),
              HasSubstr("--batch_size 16 in 100 processes is more than the 256 images there are"));
}

}  // namespace
}  // namespace denoised
