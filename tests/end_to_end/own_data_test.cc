// From pictures in folders to a server that draws such: what somebody does who has data of their own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "common/image/image.h"
#include "common/image/png.h"
#include "tests/end_to_end/served.h"
#include "tests/testing/mnist_folder.h"
#include "tests/testing/program.h"
#include "tests/testing/temp_folder.h"
#include "trainer/data/mnist.h"

namespace denoised {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// Real digits in three folders, called by words. A network that has seen so few draws nothing to look at, but it draws.
class OwnDataTest : public testing::Test {
 protected:
  OwnDataTest() {
    const std::map<int, std::string> names = {{1, "one"}, {3, "three"}, {7, "seven"}};
    const Dataset digits = *LoadMnist(SmallMnistFolder(), Split::kTrain, {.verify_checksums = false});
    for (const auto& [digit, name] : names) std::filesystem::create_directories(folder_.File("data/" + name));
    for (size_t i = 0; i < digits.size(); ++i) {
      const auto name = names.find(digits.labels[i]);
      if (name == names.end()) continue;
      const auto first = digits.pixels.begin() + static_cast<int64_t>(i) * kModelPixels;
      const GreyImage image{
          .width = kModelSize, .height = kModelSize, .pixels = std::vector<uint8_t>(first, first + kModelPixels)};
      folder_.Write("data/" + name->second + "/" + std::to_string(i) + ".png", *EncodePng(image));
    }
    const ProgramResult trained =
        RunProgram({"denoise-train", "--data", "data", "--channels", "8,16,16", "--batch_size", "16", "--epochs", "1",
                    "--warmup_steps", "1", "--out", "run"},
                   {}, folder_.path());
    EXPECT_EQ(trained.exit_code, 0) << trained.err;
    EXPECT_TRUE(std::filesystem::exists(folder_.File("run/samples.png")));
  }

  ProgramResult Run(const Served& served, std::vector<std::string> command) const {
    command.insert(command.end(), {"--server", served.address()});
    return RunProgram(command, {}, folder_.path());
  }

  TempFolder folder_;
};

TEST_F(OwnDataTest, ClassesHaveTheirFoldersNamesFromTrainingToThePng) {
  const Served served({"--checkpoint", folder_.File("run/best.pt")});
  const ProgramResult model = Run(served, {"denoise", "--model"});
  EXPECT_EQ(model.exit_code, 0) << model.err;
  EXPECT_THAT(model.out, AllOf(HasSubstr("0  one\n"), HasSubstr("1  seven\n"), HasSubstr("2  three\n")));
  const ProgramResult named = Run(served, {"denoise", "three", "--steps", "4", "--seed", "5", "--out", "named.png"});
  EXPECT_EQ(named.exit_code, 0) << named.err;
  const ProgramResult numbered = Run(served, {"denoise", "2", "--steps", "4", "--seed", "5", "--out", "numbered.png"});
  EXPECT_EQ(numbered.exit_code, 0) << numbered.err;
  EXPECT_FALSE(Slurp(folder_.File("named.png")).empty());
  EXPECT_TRUE(Slurp(folder_.File("named.png")) == Slurp(folder_.File("numbered.png")));
  const ProgramResult unknown = Run(served, {"denoise", "eight"});
  EXPECT_NE(unknown.exit_code, 0);
  EXPECT_THAT(unknown.err, HasSubstr("must be one of \"one\", \"seven\" and \"three\", got \"eight\""));
  const ProgramResult grid = Run(served, {"denoise", "--grid", "--steps", "2", "--out", "grid.png"});
  EXPECT_EQ(grid.exit_code, 0) << grid.err;
}

TEST_F(OwnDataTest, ItsCheckpointIsNotComparedWithDigits) {
  const ProgramResult result =
      RunProgram({"denoise-eval", "--data", SmallMnistFolder(), "--noverify_data", "--checkpoint", "run/best.pt"}, {},
                 folder_.path());
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err,
              HasSubstr("run/best.pt draws 3 classes, \"one\", \"seven\" and \"three\", and --data has 10, \"0\", "));
}

}  // namespace
}  // namespace denoised
