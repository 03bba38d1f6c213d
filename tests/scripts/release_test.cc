// scripts/release.sh in a repository of its own, with stubs for what takes long: what it makes, and what it refuses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "tests/testing/program.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class ReleaseTest : public testing::Test {
 protected:
  ReleaseTest() {
    fs::create_directories(tree_.File("scripts"));
    for (const char* script : {"release.sh", "common.sh"}) {
      fs::copy_file(std::string(DENOISED_SOURCE_DIR "/scripts/") + script,
                    tree_.File(std::string("scripts/") + script));
    }
    WriteScript("test.sh", "echo \"tested $*\"; exit ${TESTS_FAIL:-0}\n");
    WriteScript("package.sh", "mkdir -p build/packages; echo deb >build/packages/denoised_1.2.3.deb\n");
    tree_.Write(".gitignore", "/build/\n");
    tree_.Write("CMakeLists.txt", "project(denoised VERSION 1.2.3 LANGUAGES CXX)\n");
    tree_.Write("CHANGELOG.md", "# Changelog\n\n## 1.2.3 (2026-01-01)\n\n- First.\n");
    Git("init --quiet --initial-branch=main");
    Commit();
  }

  void WriteScript(const std::string& name, const std::string& script) {
    fs::permissions(tree_.Write("scripts/" + name, "#!/bin/bash\n" + script), fs::perms::owner_all);
  }
  std::string Git(const std::string& arguments) {
    return RunProgram({"/bin/sh", "-c", "git -c user.name=T -c user.email=t@localhost " + arguments}, {}, tree_.path())
        .out;
  }
  void Commit() { Git("add --all && git -c user.name=T -c user.email=t@localhost commit --quiet --message=x"); }

  ProgramResult Release(const std::string& arguments, const std::string& variable = "X=") {
    return RunProgram({"/bin/sh", "-c", "scripts/release.sh " + arguments},
                      {"GIT_COMMITTER_NAME=T", "GIT_COMMITTER_EMAIL=t@localhost", variable}, tree_.path());
  }

  TempFolder tree_;
};

TEST_F(ReleaseTest, TestsPacksSumsUpAndTags) {
  const ProgramResult result = Release("1.2.3");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("tested --all"));
  EXPECT_THAT(result.out, HasSubstr("git push origin v1.2.3"));
  EXPECT_EQ(Git("tag"), "v1.2.3\n");
  const std::string sums = Slurp(tree_.File("build/release-1.2.3/SHA256SUMS"));
  EXPECT_THAT(sums, HasSubstr("  denoised-1.2.3.tar.gz\n"));
  EXPECT_THAT(sums, HasSubstr("  denoised_1.2.3.deb\n"));
  const ProgramResult listed =
      RunProgram({"/bin/tar", "-tzf", tree_.File("build/release-1.2.3/denoised-1.2.3.tar.gz")});
  EXPECT_THAT(listed.out, HasSubstr("denoised-1.2.3/CMakeLists.txt\n"));
}

// On one Debian after the other.
TEST_F(ReleaseTest, SameCommitIsReleasedOnAnotherDebianToo) {
  ASSERT_EQ(Release("1.2.3").exit_code, 0);
  std::filesystem::remove_all(tree_.File("build"));
  const ProgramResult result = Release("1.2.3");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("tested \n")) << "without the checks of the source";
  EXPECT_TRUE(fs::exists(tree_.File("build/release-1.2.3/denoised_1.2.3.deb")));
  EXPECT_EQ(Git("tag"), "v1.2.3\n");
}

TEST_F(ReleaseTest, WhatFailsItsTestsIsNotTagged) {
  EXPECT_NE(Release("1.2.3", "TESTS_FAIL=1").exit_code, 0);
  EXPECT_EQ(Git("tag"), "");
}

TEST_F(ReleaseTest, RefusesInWords) {
  const auto refusal = [this](const std::string& arguments) {
    const ProgramResult result = Release(arguments + " --untested");
    EXPECT_EQ(result.exit_code, 1) << result.out;
    return result.err;
  };
  EXPECT_THAT(refusal("1.2"), HasSubstr("usage: scripts/release.sh VERSION"));
  EXPECT_THAT(refusal("1.3.0"), HasSubstr("CMakeLists.txt says version 1.2.3, not 1.3.0. Change it there first"));
  tree_.Write("CMakeLists.txt", "project(denoised VERSION 1.3.0)\n");
  EXPECT_THAT(refusal("1.3.0"), HasSubstr("CHANGELOG.md has no section \"## 1.3.0\""));
  tree_.Write("CHANGELOG.md", "## 1.3.0\n");
  EXPECT_THAT(refusal("1.3.0"), HasSubstr("Not everything is committed:  M CHANGELOG.md"));
  Commit();
  Git("tag v1.3.0 HEAD~1");
  EXPECT_THAT(refusal("1.3.0"), HasSubstr("The tag v1.3.0 is there already, at another commit."));
  Git("tag --delete v1.3.0");
  fs::create_directories(tree_.File("models"));
  const auto commit_checkpoint = [this](const std::string& revision) {
    tree_.Write("models/student.pt", std::string("PK\0\1", 4) + "\"source_revision\": \"" + revision + "\",\n");
    Commit();
  };
  for (const char* revision : {"abc-dirty", "unknown", "abc-dirty, def"}) {
    commit_checkpoint(revision);
    EXPECT_THAT(refusal("1.3.0"), HasSubstr("models/student.pt was trained by a build whose sources are in no commit. "
                                            "Train it with denoise-train --release."));
  }
  commit_checkpoint("abc");
  EXPECT_EQ(Release("1.3.0 --untested").exit_code, 0);
}

}  // namespace
}  // namespace denoised
