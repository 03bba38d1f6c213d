// scripts/download_mnist.sh, with folders of this machine in the place of mirrors.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/testing/mnist_folder.h"
#include "tests/testing/program.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

using testing::HasSubstr;

constexpr char kScript[] = DENOISED_SOURCE_DIR "/scripts/download_mnist.sh";

ProgramResult Download(const std::string& mirrors, const std::string& folder) {
  return RunProgram({kScript, folder}, {"MNIST_MIRRORS=" + mirrors});
}

TEST(DownloadMnistTest, OtherFilesThanMnistsAreRefusedAndNothingIsLeft) {
  const TempFolder folder;
  const std::string mirror = "file://" + SmallMnistFolder();
  const ProgramResult result = Download(mirror, folder.File("data"));
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.err, mirror + " sent something that is not MNIST's train-images-idx3-ubyte; trying the next\n" +
                            "No mirror has train-images-idx3-ubyte. Try again later, or name another one: "
                            "MNIST_MIRRORS=https://... " +
                            kScript + " " + folder.File("data") + "\n");
  EXPECT_TRUE(std::filesystem::is_empty(folder.File("data")));
}

TEST(DownloadMnistTest, NextMirrorIsTriedAndWhatIsThereIsKept) {
  if (WholeMnistFolder().empty()) GTEST_SKIP() << "needs all of MNIST; name its folder in DENOISED_TEST_MNIST";
  const TempFolder folder;
  const std::string good = "file://" + std::filesystem::canonical(WholeMnistFolder()).string();
  const ProgramResult first = Download("file:///nowhere " + good, folder.File("data"));
  ASSERT_EQ(first.exit_code, 0) << first.err;
  EXPECT_THAT(first.err, HasSubstr("file:///nowhere failed; trying the next"));
  EXPECT_THAT(first.out, HasSubstr("t10k-labels-idx1-ubyte.gz: downloaded and checked\n"));
  const ProgramResult again = Download("file:///nowhere", folder.File("data"));
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(again.err, "");
  EXPECT_THAT(again.out, HasSubstr("t10k-labels-idx1-ubyte.gz: there already\n"));
}

}  // namespace
}  // namespace denoised
