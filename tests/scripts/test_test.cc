// scripts/test.sh, among stubs of the scripts that it calls, with a real ctest: what it says of tests that were left
// out.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <regex>
#include <string>
#include <vector>

#include "tests/testing/program.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

// A tree that is "built" by writing down tests, which print what GoogleTest does.
class TestScriptTest : public testing::Test {
 protected:
  TestScriptTest() {
    for (const char* folder : {"bin", "scripts", "tests", "build"}) {
      std::filesystem::create_directories(tree_.File(folder));
    }
    for (const char* script : {"test.sh", "common.sh"}) {
      std::filesystem::copy_file(std::string(DENOISED_SOURCE_DIR "/scripts/") + script,
                                 tree_.File(std::string("scripts/") + script));
    }
    Script("scripts/setup.sh",
           "echo \"$*\" >>$tree/set-up\nif [[ -e $tree/without && $* == *$(<$tree/without)* ]]; then exit 1; fi\n");
    for (const char* script : {"image.sh", "fuzz.sh"}) Script(std::string("scripts/") + script, "");
    Script("scripts/check.sh", "echo \"$*\" >>$tree/checked\n");
    Script("bin/cmake",
           "for preset in release tsan asan; do mkdir -p $tree/build/$preset; cp $tree/tests.cmake "
           "$tree/build/$preset/CTestTestfile.cmake; done\n");
    // The stub stands for the presets alone, which a tree without sources has none of.
    Script("bin/ctest", "cd $tree/build/$2 && shift 2 && exec " DENOISED_CTEST " \"$@\"\n");
  }

  void Script(const std::string& name, const std::string& text) {
    std::filesystem::permissions(tree_.Write(name, "#!/bin/bash\ntree=" + tree_.path() + "\n" + text),
                                 std::filesystem::perms::owner_all);
  }

  // `reason` is why it is skipped; empty if it passes.
  void AddTest(const std::string& name, const std::string& reason = "") {
    const std::string file =
        tree_.Write(name + ".out", reason.empty() ? "[       OK ] " + name + "\n"
                                                  : "[ RUN      ] " + name + "\n/a/room/file_test.cc:12: Skipped\n" +
                                                        reason + "\n\n[  SKIPPED ] " + name + "\n");
    tests_ += "add_test(" + name + " /bin/cat " + file + ")\nset_tests_properties(" + name +
              R"( PROPERTIES SKIP_REGULAR_EXPRESSION "\\[  SKIPPED \\]"))" + "\n";
  }

  ProgramResult Run(const std::vector<std::string>& options = {}) {
    tree_.Write("tests.cmake", tests_);
    std::vector<std::string> command = {"/bin/bash", tree_.File("scripts/test.sh")};
    command.insert(command.end(), options.begin(), options.end());
    return RunProgram(command, {"PATH=" + tree_.File("bin") + ":/usr/bin:/bin"});
  }

  std::string tests_;
  const TempFolder tree_;
};

TEST_F(TestScriptTest, SkippedTestsAreCountedUnderTheirReasons) {
  AddTest("Passes.Well");
  AddTest("Page.Draws", "there is no Chromium: scripts/setup.sh --page");
  AddTest("Rules.Two", "there is no promtool; scripts/setup.sh --deploy installs it");
  AddTest("Rules.Three", "there is no promtool; scripts/setup.sh --deploy installs it");
  AddTest("Manifests.Strict", "Go 1.24 is needed, and scripts/setup.sh --deploy:\ngo: cannot find it");
  const ProgramResult result = Run();
  EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
  EXPECT_THAT(result.out, HasSubstr("\nTests skipped: 4\n"
                                    "      2 there is no promtool; scripts/setup.sh --deploy installs it\n"
                                    "      1 Go 1.24 is needed, and scripts/setup.sh --deploy\n"
                                    "      1 there is no Chromium: scripts/setup.sh --page\n"
                                    "\n"))
      << "once, though ThreadSanitizer's run skips them again";
}

TEST_F(TestScriptTest, NothingIsSaidOfSkippingWhereNothingIs) {
  AddTest("Passes.Well");
  EXPECT_THAT(Run().out, Not(HasSubstr("skipped")));
}

TEST_F(TestScriptTest, AllBringsWhatOptionalTestsNeedAndSaysWhatItCannot) {
  AddTest("Passes.Well");
  tree_.Write("without", "--prometheus3");
  const ProgramResult result = Run({"--all"});
  EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
  const std::string brought = Slurp(tree_.File("set-up")), setup = Slurp(DENOISED_SOURCE_DIR "/scripts/setup.sh");
  const std::regex option("\n *(--[a-z0-9-]+)\\) ");
  int options = 0;
  for (std::sregex_iterator match(setup.begin(), setup.end(), option), end; match != end; ++match, ++options) {
    if ((*match)[1] == "--serving") continue;  // asks for less
    EXPECT_THAT(brought, HasSubstr((*match)[1].str()));
  }
  EXPECT_GT(options, 10);
  EXPECT_THAT(result.out, HasSubstr("Without Prometheus 3, rules and dashboard are tried with version 2 alone.\n"));
  EXPECT_EQ(Slurp(tree_.File("checked")), "--changed\n");
}

// Building takes no time here, which leaves time for all but the fuzzers' 15 minutes.
TEST_F(TestScriptTest, WhatWouldNotEndInTimeIsLeftOutInWords) {
  AddTest("Passes.Well");
  const ProgramResult result = Run({"--within", "14"});
  EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
  EXPECT_THAT(result.out, HasSubstr("\nTests, AddressSanitizer"));
  EXPECT_THAT(
      result.out,
      ContainsRegex("\nFuzzing: left out\\. It would take about 900 s here, and 8[0-9][0-9] s of 14 minutes are "
                    "left\\. scripts/test\\.sh --all has it\\.\n"));
  EXPECT_THAT(Slurp(tree_.File("set-up")), Not(HasSubstr("--prometheus3")));
  EXPECT_EQ(Slurp(tree_.File("checked")), "--changed 105\n") << "an eighth of the time for clang-tidy";
}

TEST_F(TestScriptTest, MinutesThatAreNoneAreRefused) {
  for (const char* minutes : {"", "0", "-5", "soon", "1.5", "99999"}) {
    EXPECT_THAT(Run({"--within", minutes}).err, HasSubstr("--within takes minutes, for example --within 90."))
        << minutes;
  }
}

}  // namespace
}  // namespace denoised
