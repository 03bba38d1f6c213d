// scripts/second_opinion.py, with the packages that scripts/setup.sh --second-opinion brings.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/testing/mnist_folder.h"
#include "tests/testing/program.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;

constexpr char kScript[] = DENOISED_SOURCE_DIR "/scripts/second_opinion.py";
constexpr char kPython[] = DENOISED_SOURCE_DIR "/build/second-opinion/bin/python";

ProgramResult Judge(const std::vector<std::string>& drawn) {
  std::vector<std::string> command = {kPython, kScript, "--data", SmallMnistFolder(), "--draws", "2", "--drawn"};
  command.insert(command.end(), drawn.begin(), drawn.end());
  return RunProgram(command);
}

// A set of 256 images [28,28] whose pixels are `pixel(i)`, labelled 0 to 9 over and over, but for `without`.
template <typename Pixel>
void WriteSet(const TempFolder& folder, const Pixel& pixel, int without = -1) {
  std::string images("\0\0\x08\x03\0\0\1\0\0\0\0\x1c\0\0\0\x1c", 16);
  for (int i = 0; i < 256 * 28 * 28; ++i) images += static_cast<char>(pixel(i));
  folder.Write("train-images-idx3-ubyte", images);
  std::string labels("\0\0\x08\x01\0\0\1\0", 8);
  for (int i = 0; i < 256; ++i) labels += static_cast<char>(i % 10 == without ? 0 : i % 10);
  folder.Write("train-labels-idx1-ubyte", labels);
}

TEST(SecondOpinionTest, RealDigitsAreAtTheFloorAndNoiseIsFarFromIt) {
  if (!std::filesystem::exists(kPython)) GTEST_SKIP() << "needs scripts/setup.sh --second-opinion";
  const TempFolder noise;
  WriteSet(noise, [](int i) { return static_cast<unsigned>(i) * 2654435761u >> 24; });
  const ProgramResult result = Judge({SmallMnistFolder(), noise.path()});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("Of 64 test images, 28 pixels wide, it reads 75.00% as meant.\n"));
  // The floor is of the same 256 images.
  EXPECT_THAT(result.out, ContainsRegex(absl::StrCat(SmallMnistFolder(), ": 256 drawn .*: 1.00 times the floor.")));
  EXPECT_THAT(result.out, ContainsRegex(absl::StrCat(noise.path(), ": 256 drawn .*: [0-9][0-9]+\\.[0-9]+ times")));
}

// Drawings come class after class.
TEST(SecondOpinionTest, DrawingThatLacksADigitIsRefused) {
  if (!std::filesystem::exists(kPython)) GTEST_SKIP() << "needs scripts/setup.sh --second-opinion";
  const TempFolder folder;
  WriteSet(
      folder, [](int i) { return static_cast<unsigned>(i); }, /*without=*/9);
  const ProgramResult result = Judge({folder.path()});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.err, folder.path() + " has no 9: is its drawing complete? the command that began it goes on\n");
}

TEST(SecondOpinionTest, WrongFilesAreSaid) {
  if (!std::filesystem::exists(kPython)) GTEST_SKIP() << "needs scripts/setup.sh --second-opinion";
  const TempFolder folder;
  ProgramResult result = Judge({folder.path()});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr(absl::StrCat("there is no ", folder.File("train-labels-idx1-ubyte"), " and no ")));
  for (const std::string& bytes : {std::string("\0\0\x08\x01\0\0\1\0\7", 9), std::string("\0", 1)}) {
    folder.Write("train-labels-idx1-ubyte", bytes);
    result = Judge({folder.path()});
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_EQ(result.err, absl::StrCat(folder.File("train-labels-idx1-ubyte"), " is no whole IDX file of bytes\n"));
  }
}

TEST(SecondOpinionTest, PythonWithoutItsPackagesIsToldWhichCommandBringsThem) {
  const ProgramResult result = RunProgram({"/usr/bin/python3", "-I", "-S", kScript, "--help"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.err,
            "No module named 'numpy'. Run scripts/setup.sh --second-opinion, then this by "
            "build/second-opinion/bin/python.\n");
}

}  // namespace
}  // namespace denoised
