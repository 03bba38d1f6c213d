// cmake/WriteSourceRevision.cmake: which commit a program says it was built from.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "absl/strings/ascii.h"
#include "tests/testing/program.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

using testing::MatchesRegex;

class SourceRevisionTest : public testing::Test {
 protected:
  SourceRevisionTest() {
    tree_.Write("template", "@DENOISED_SOURCE_REVISION@");
    tree_.Write("file", "x");
    Git("init --quiet");
    Git("add file");
    Git("commit --quiet --message=x");
  }

  void Git(const std::string& arguments) {
    const std::string command = "git -c user.name=T -c user.email=t@localhost " + arguments;
    ASSERT_EQ(RunProgram({"/bin/sh", "-c", command}, {}, tree_.path()).exit_code, 0) << command;
  }
  std::string RevisionOf(const std::string& folder) {
    const ProgramResult result = RunProgram(
        {DENOISED_CMAKE, "-DGIT_EXECUTABLE=git", "-DSOURCE_DIR=" + folder, "-DTEMPLATE=" + tree_.File("template"),
         "-DOUTPUT=" + tree_.File("revision"), "-P", DENOISED_SOURCE_DIR "/cmake/WriteSourceRevision.cmake"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return std::string(absl::StripAsciiWhitespace(Slurp(tree_.File("revision"))));
  }

  TempFolder tree_;
};

TEST_F(SourceRevisionTest, IsTheCommitAndWhetherFilesDiffer) {
  EXPECT_THAT(RevisionOf(tree_.path()), MatchesRegex("[0-9a-f]{12}"));
  tree_.Write("file", "y");
  EXPECT_THAT(RevisionOf(tree_.path()), MatchesRegex("[0-9a-f]{12}-dirty"));
}

TEST_F(SourceRevisionTest, AFolderBehindALinkIsItsOwn) {
  const TempFolder other;
  std::filesystem::create_directory_symlink(tree_.path(), other.File("link"));
  EXPECT_THAT(RevisionOf(other.File("link")), MatchesRegex("[0-9a-f]{12}"));
}

// An unpacked release took the commit of whatever repository it lay in for its own.
TEST_F(SourceRevisionTest, SourcesInAnothersRepositoryAreOfNoCommit) {
  std::filesystem::create_directory(tree_.File("denoised-1.2.3"));
  EXPECT_EQ(RevisionOf(tree_.File("denoised-1.2.3")), "unknown");
}

}  // namespace
}  // namespace denoised
