// The manual pages that are installed, by the tools that read them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/install/installation.h"

namespace denoised {
namespace {

// A build without git does not know its date.
std::vector<std::string> Complaints(const ProgramResult& linted, bool has_date) {
  std::vector<std::string> complaints;
  for (const absl::string_view line : absl::StrSplit(linted.out + linted.err, '\n', absl::SkipEmpty())) {
    if (has_date || !absl::StrContains(line, "missing date")) complaints.emplace_back(line);
  }
  return complaints;
}

TEST(ManualPagesTest, MandocHasNothingToSayAgainstThem) {
  if (!HasProgram("mandoc")) GTEST_SKIP() << "there is no mandoc; scripts/setup.sh --tests brings it";
  const Installation installed;
  for (const std::string program : kPrograms) {
    const std::string version = RunProgram({installed.File("bin/" + program), "--version"}).out;
    const ProgramResult linted = RunProgram(
        {"/usr/bin/env", "mandoc", "-T", "lint", installed.File(absl::StrCat("share/man/man1/", program, ".1"))});
    EXPECT_THAT(Complaints(linted, !absl::StrContains(version, "unknown")), testing::IsEmpty()) << program;
  }
}

// Reported: help of denoise-eval was 83 columns wide.
TEST(ManualPagesTest, HelpFitsEightyColumns) {
  for (const std::string program : kPrograms) {
    const std::string help = RunProgram({program, "--help"}).out;
    EXPECT_THAT(help, testing::HasSubstr("Exit status: 0 ")) << program;
    for (const absl::string_view line : absl::StrSplit(help, '\n'))
      EXPECT_LE(line.size(), 80u) << program << ": " << line;
  }
}

TEST(ManualPagesTest, ManShowsThemWithoutWarnings) {
  if (!HasProgram("man")) GTEST_SKIP() << "there is no man (Debian: man-db)";
  const Installation installed;
  for (const std::string program : kPrograms) {
    const ProgramResult shown =
        RunProgram({"/usr/bin/env", "LC_ALL=C", "MANWIDTH=80", "MANPAGER=cat", "man", "--warnings", "-l",
                    installed.File(absl::StrCat("share/man/man1/", program, ".1"))});
    EXPECT_EQ(shown.exit_code, 0) << shown.err;
    EXPECT_EQ(shown.err, "") << program;
    EXPECT_THAT(shown.out, testing::HasSubstr("SYNOPSIS\n")) << program;
    EXPECT_THAT(shown.out, testing::HasSubstr("--help")) << program;
    EXPECT_THAT(shown.out, testing::Not(testing::HasSubstr("[]"))) << program;
    EXPECT_THAT(shown.out, testing::Not(testing::HasSubstr("-\n"))) << "no name of a variable is in two pieces";
    for (const absl::string_view line : absl::StrSplit(shown.out, '\n')) {
      EXPECT_LE(line.size(), 80u) << program << ": " << line;
    }
  }
}

}  // namespace
}  // namespace denoised
