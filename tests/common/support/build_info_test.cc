// What a build tells as its source revision: cmake/WriteSourceRevision.cmake, in a repository that the test makes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/testing/program.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

using testing::MatchesRegex;

class SourceRevisionTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_.Write("template", "@DENOISED_SOURCE_REVISION@");
    if (!std::filesystem::exists(DENOISED_GIT)) GTEST_SKIP() << "there is no git (Debian: git)";
  }

  void Git(std::vector<std::string> arguments) {
    const std::vector<std::string> command = {DENOISED_GIT, "-c", "user.name=n", "-c", "user.email=e"};
    arguments.insert(arguments.begin(), command.begin(), command.end());
    const ProgramResult result = RunProgram(arguments, {}, folder_.path());
    ASSERT_EQ(result.exit_code, 0) << result.err;
  }
  void Commit() {
    folder_.Write("source.cc", "int x;");
    Git({"init", "--quiet"});
    Git({"add", "source.cc"});
    Git({"commit", "--quiet", "--message=m"});
  }
  std::string Revision(const std::string& git = DENOISED_GIT) {
    const ProgramResult result =
        RunProgram({DENOISED_CMAKE, "-DGIT_EXECUTABLE=" + git, "-DSOURCE_DIR=" + folder_.path(),
                    "-DTEMPLATE=" + folder_.File("template"), "-DOUTPUT=" + folder_.File("output"), "-P",
                    std::string(DENOISED_SOURCE_DIR) + "/cmake/WriteSourceRevision.cmake"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    const std::string written = Slurp(folder_.File("output"));
    return written.substr(0, written.find('\n'));
  }

  TempFolder folder_;
};

TEST_F(SourceRevisionTest, IsTheCommit) {
  Commit();
  const std::string first = Revision();
  EXPECT_THAT(first, MatchesRegex("[0-9a-f]{12}"));
  Git({"commit", "--quiet", "--allow-empty", "--message=n"});
  EXPECT_THAT(Revision(), MatchesRegex("[0-9a-f]{12}"));
  EXPECT_NE(Revision(), first);
}

TEST_F(SourceRevisionTest, SaysWhetherTrackedFilesDiffer) {
  Commit();
  const std::string clean = Revision();  // beside untracked files
  folder_.Write("source.cc", "int y;");
  EXPECT_EQ(Revision(), clean + "-dirty");
  Git({"add", "source.cc"});
  EXPECT_EQ(Revision(), clean + "-dirty");
  Git({"reset", "--quiet", "--hard"});
  EXPECT_EQ(Revision(), clean);
}

TEST_F(SourceRevisionTest, IsUnknownOutsideGitAndWithoutIt) {
  EXPECT_EQ(Revision(), "unknown");
  Commit();
  EXPECT_EQ(Revision("GIT_EXECUTABLE-NOTFOUND"), "unknown");
}

// Or else every build would compile and link again.
TEST_F(SourceRevisionTest, SameRevisionLeavesTheFileAlone) {
  Commit();
  Revision();
  const auto long_ago = std::filesystem::file_time_type::clock::now() - std::chrono::hours(1);
  std::filesystem::last_write_time(folder_.File("output"), long_ago);
  const auto written = std::filesystem::last_write_time(folder_.File("output"));
  Revision();
  EXPECT_EQ(std::filesystem::last_write_time(folder_.File("output")), written);
}

}  // namespace
}  // namespace denoised
