// Faults of the engine, as a client, a balancer and an operator see them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/end_to_end/served.h"
#include "tests/testing/program.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

using testing::HasSubstr;
using testing::Not;

// In few steps, without asking again.
std::vector<std::string> DrawOnce(const Served& served, std::vector<std::string> arguments) {
  arguments.insert(arguments.end(), {"--sampler=ddim", "--retries=0"});
  return Draw(served, arguments);
}

// With others' servers all calls of the batch fail.
TEST(FaultTest, PoisonousRequestFailsAloneAndOthersBytesAreTheSame) {
  TempFolder folder;
  Served served({"--inject_fault=poison@13"});
  EXPECT_EQ(RunProgram(DrawOnce(served, {"--seed=1", "--out=alone.png"}), {}, folder.path()).exit_code, 0);
  BackgroundProgram good(DrawOnce(served, {"--seed=1", "--out=beside.png"}), {}, folder.path());
  const ProgramResult poisoned = RunProgram(DrawOnce(served, {"--seed=13", "--out=poisoned.png"}), {}, folder.path());
  EXPECT_EQ(poisoned.exit_code, 1);
  EXPECT_THAT(poisoned.err, HasSubstr("a fault that --inject_fault asked for"));
  EXPECT_EQ(good.Wait(), 0) << good.err();
  EXPECT_EQ(Slurp(folder.File("alone.png")), Slurp(folder.File("beside.png")));
}

// Six such calls, with nobody else drawing, ended the process with exit status 4.
TEST(FaultTest, PoisonousRequestOverAndOverCostsItselfAlone) {
  TempFolder folder;
  Served served({"--inject_fault=poison@13"});
  EXPECT_EQ(RunProgram(DrawOnce(served, {"--seed=1", "--out=before.png"}), {}, folder.path()).exit_code, 0);
  for (int i = 0; i < 20; ++i) {
    const ProgramResult poisoned = RunProgram(DrawOnce(served, {"--seed=13"}), {}, folder.path());
    EXPECT_EQ(poisoned.exit_code, 1);
    ASSERT_THAT(poisoned.err, HasSubstr("a fault that --inject_fault asked for")) << "call " << i;
  }
  EXPECT_EQ(RunProgram({"denoised", "--healthcheck", "--listen", served.address()}).exit_code, 0);
  EXPECT_EQ(RunProgram(DrawOnce(served, {"--seed=1", "--out=after.png"}), {}, folder.path()).exit_code, 0);
  EXPECT_EQ(Slurp(folder.File("before.png")), Slurp(folder.File("after.png")));
  EXPECT_FALSE(served.server().Ended()) << served.server().err();
  EXPECT_THAT(served.server().err(), Not(HasSubstr("the engine fails step after step")));
}

TEST(FaultTest, NumbersThatAreNotFiniteAreToldInWords) {
  Served served({"--inject_fault=nan@13"});
  const ProgramResult outcome = RunProgram(DrawOnce(served, {"--seed=13"}));
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("image 0 is not made of finite numbers after step 1 of 50"));
}

// A step of two rows finds none: two images are made one after the other, a guided one cannot be made.
TEST(FaultTest, StepThatFindsNoMemoryIsTriedAgainByHalves) {
  TempFolder folder;
  Served served({"--inject_fault=oom@1"});
  EXPECT_EQ(RunProgram(DrawOnce(served, {"--count=2", "--out=two.png"}), {}, folder.path()).exit_code, 0);
  const ProgramResult guided = RunProgram(DrawOnce(served, {"--guidance_scale=2"}), {}, folder.path());
  EXPECT_EQ(guided.exit_code, 1);
  EXPECT_THAT(guided.err, HasSubstr("the network failed: std::bad_alloc, which --inject_fault asked for"));
  EXPECT_EQ(RunProgram(DrawOnce(served, {}), {}, folder.path()).exit_code, 0);
}

// The engine that is built anew has the same fault.
TEST(FaultTest, HungStepEndsItsCallsAndAfterASecondOneTheProcess) {
  Served served({"--inject_fault=hang@20", "--stall_timeout=0.5"});
  const ProgramResult first = RunProgram(DrawOnce(served, {}));
  EXPECT_EQ(first.exit_code, 1);
  EXPECT_THAT(first.err, HasSubstr("the engine stopped answering in the middle of this image"));
  served.server().AwaitLine("a new engine serves");
  EXPECT_EQ(RunProgram(DrawOnce(served, {})).exit_code, 1);
  EXPECT_EQ(served.server().Wait(), 4);
}

// Five calls are told so, then there is a new engine, and after five more the process ends.
void ExpectToFailStepAfterStep(const std::string& fault, const std::string& error) {
  Served served({"--inject_fault=" + fault});
  const auto draw = [&](int calls) {
    for (int i = 0; i < calls; ++i) {
      EXPECT_THAT(RunProgram(DrawOnce(served, {})).err, HasSubstr(error)) << "call " << i;
    }
  };
  draw(5);
  served.server().AwaitLine("a new engine serves");
  draw(4);
  EXPECT_EQ(RunProgram(DrawOnce(served, {})).exit_code, 1) << "told, or cut off as the process ends";
  EXPECT_EQ(served.server().Wait(), 4);
  EXPECT_THAT(served.server().err(), HasSubstr("the engine is failing, and it was built anew already"));
}

TEST(FaultTest, EngineThatFailsStepAfterStepEndsTheProcess) {
  ExpectToFailStepAfterStep("fail@1", "a fault that --inject_fault asked for");
}

// One exception ended the process, and every call with it.
TEST(FaultTest, EngineThatThrowsStepAfterStepIsTreatedLikeOneThatFails) {
  ExpectToFailStepAfterStep("throw@1", "the engine failed: an exception that --inject_fault asked for");
}

// Field report "the device of `auto` is not usable, and nobody is told": what was chosen, and why, is in the log and in
// GetModel. The first engine draws wrongly; the next one here is the CPU's by other arithmetic, and draws as ever.
TEST(FaultTest, EngineThatDrawsWronglyIsPassedOver) {
  TempFolder folder;
  Served served({"--inject_fault=wrong@1"});
  EXPECT_THAT(served.server().AwaitLine("passed over: "),
              testing::ContainsRegex("^[a-z0-9: ]+: the self-test failed: label 0 by ddpm, drawn alone, differs from "
                                     "the fp32 reference by"));
  const ProgramResult model = RunProgram({"denoise", "--model", "--server", served.address()});
  EXPECT_THAT(model.out, HasSubstr("; not "));
  EXPECT_EQ(RunProgram(DrawOnce(served, {"--seed=1"}), {}, folder.path()).exit_code, 0);
}

TEST(FaultTest, EngineAskedForByNameThatDrawsWronglyIsRefused) {
  const ProgramResult result = RunProgram(
      {"denoised", "--listen=127.0.0.1:0", "--metrics_listen=off", "--device=cpu", "--inject_fault=wrong@1"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, testing::ContainsRegex("denoised: error: the self-test failed: label 0 by ddpm, drawn alone, "
                                                 "differs .*; choose another --device or --precision"));
}

TEST(FaultTest, NoEngineThatDrawsRightlyIsSaidWithEachReason) {
  const ProgramResult result =
      RunProgram({"denoised", "--listen=127.0.0.1:0", "--metrics_listen=off", "--inject_fault=wrong@99"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, testing::ContainsRegex("denoised: error: --device=auto: no engine can serve this checkpoint: "
                                                 ".*: the self-test failed: .*; cpu in fp32 by LibTorch: the self-test "
                                                 "failed: "));
}

}  // namespace
}  // namespace denoised
