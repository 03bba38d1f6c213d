#include "common/command_line/command_line_manual.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "common/command_line/command_line.h"
#include "tests/testing/program.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

using testing::HasSubstr;
using testing::Not;

class ManualTest : public testing::Test {
 protected:
  ManualTest() {
    app_.add_option("--sampler", text_, "Which one; it's up to you")->check(CLI::IsMember({"ddim", "ddpm"}));
    app_.add_option("--steps", number_, "Denoising steps [50]")->envname("DRAW_STEPS");
    app_.add_option("--hidden", text_)->group("");
    app_.add_option("shape,--shape", text_, "What to draw")->type_name("SHAPE");
    CLI::App* bench = app_.add_subcommand("bench", "Load it");
    bench->add_option("--rate", number_, "Calls a second");
    bench->footer(
        "Examples:\n  draw bench --rate 3   three a second,\n                        for long\n"
        "All of it is\na measurement.\nOf the server.");
    app_.footer(".dots and 'quotes' are no requests");
  }
  // What bash offers for a word after others.
  std::string Offered(const std::string& before, const std::string& word) {
    const TempFolder folder;
    folder.Write("completions", *Completions(app_, "bash"));
    return RunProgram({"/bin/bash", "-c",
                       "source ./completions; COMP_WORDS=(draw " + before + " '" + word +
                           "'); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _draw; echo \"${COMPREPLY[*]}\""},
                      {}, folder.path())
        .out;
  }

  std::string text_;
  int number_ = 0;
  CLI::App app_{"Draws", "draw"};
};

TEST_F(ManualTest, HelpFitsEightyColumns) {
  app_.add_option("--long", text_,
                  "A description of so many words that no terminal of eighty columns could show it whole")
      ->envname("A_VARIABLE_OF_A_LONG_NAME");
  WrapHelp(app_);
  const std::string help = app_.help();
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(help, '\n'))) {
    EXPECT_LE(line.size(), 80u) << line;
  }
  EXPECT_THAT(help, HasSubstr("\n                              A description of so many words that no terminal\n"
                              "                              of eighty columns could show it whole\n"));
}

// Reported: "INT:INT in [1 - 1024]=0" and "--wait{60} :FLOAT in [0 - 86400]".
TEST_F(ManualTest, HelpSaysValuesInWords) {
  std::vector<int> list;
  bool verify = false;
  app_.add_option("--threads", number_, "Threads")->check(CLI::Range(0, 1024))->capture_default_str();
  app_.add_option("--list", list, "Several")->check(CLI::Range(1, 1000))->default_str("1 2");
  app_.add_option("--ratio", "Of all")->type_name("FLOAT:FLOAT in [0.1 - 1e+06]")->needs("--threads");
  app_.add_flag("--wait{60}", text_, "Wait")->check(CLI::Range(0.0, 86400.0));
  app_.add_flag("--verify,!--noverify", verify, "Check");
  WrapHelp(app_);
  const std::string help = app_.help();
  EXPECT_THAT(help, HasSubstr("Usage: draw [OPTIONS] [SHAPE] [SUBCOMMAND]\n"));
  EXPECT_THAT(help, HasSubstr("\n  --sampler {ddim,ddpm}       Which one"));
  EXPECT_THAT(help, HasSubstr("\n  --threads NUMBER, 0 to 1024 [0]\n"));
  EXPECT_THAT(help, HasSubstr("\n  --list NUMBER..., 1 to 1000 [1 2]\n"));
  EXPECT_THAT(help, HasSubstr("\n  --ratio NUMBER, 0.1 to 1000000 Needs: --threads\n"));
  EXPECT_THAT(help, HasSubstr("\n  --wait[=NUMBER], 0 to 86400 Wait\n"));
  EXPECT_THAT(help, HasSubstr("\n  --verify,--noverify         Check\n"));
}

// Reported: "Default: []" for an empty list.
TEST_F(ManualTest, DefaultsOfListsHaveNoBrackets) {
  std::vector<int> list;
  app_.add_option("--none", list, "None")->default_str("[]");
  app_.add_option("--some", list, "Some")->default_str("[1,2]");
  const std::string page = ManualPage(app_, "1.2.3", "");
  EXPECT_THAT(page, HasSubstr("\nNone.\n.TP"));
  EXPECT_THAT(page, HasSubstr("\nSome.\nDefault: 1,2.\n"));
}

// Reported: the manual page hid the positional argument, and the examples of subcommands.
TEST_F(ManualTest, PageShowsPositionalsAndExamplesOfSubcommands) {
  const std::string page = ManualPage(app_, "1.2.3", "2026-11-27");
  EXPECT_THAT(page, HasSubstr(".SH SYNOPSIS\n\\fBdraw\\fR [\\fIOPTION\\fR]... [\\fISHAPE\\fR]\n"));
  EXPECT_THAT(page,
              HasSubstr(".PP\nExamples:\n.TP\n\\fBdraw bench \\-\\-rate 3\\fR\nthree a second,\nfor long\n.PP\nAll "
                        "of it is a measurement.\n.PP\nOf the server.\n"));
}

TEST_F(ManualTest, PageHoldsEveryFlagOnce) {
  const std::string page = ManualPage(app_, "1.2.3", "2026-11-27");
  EXPECT_THAT(page, testing::StartsWith(
                        ".TH DRAW 1 \"2026-11-27\" \"denoised 1.2.3\"\n.nh\n.ad l\n.SH NAME\ndraw \\- Draws\n"));
  EXPECT_THAT(page, HasSubstr(".TP\n\\fB\\-\\-sampler\\fR \\fIddim|ddpm\\fR\nWhich one; it's up to you.\n"));
  EXPECT_THAT(page, HasSubstr("\\fINUMBER\\fR\nDenoising steps [50].\nEnvironment: DRAW_STEPS.\n"));
  EXPECT_THAT(page, HasSubstr(".SH BENCH\nLoad it.\n"));
  EXPECT_THAT(page, HasSubstr("\n\\&.dots and"));
  EXPECT_THAT(page, Not(HasSubstr("hidden")));
}

TEST_F(ManualTest, BashOffersFlagsValuesAndSubcommands) {
  EXPECT_EQ(Offered("", "--s"), "--sampler --steps --shape\n");
  EXPECT_EQ(Offered("--sampler", ""), "ddim ddpm\n");
  EXPECT_EQ(Offered("--sampler =", "ddp"), "ddpm\n");
  EXPECT_EQ(Offered("", "b"), "bench\n");
  EXPECT_EQ(Offered("bench", "--r"), "--rate\n");
  EXPECT_EQ(Offered("--steps", "1"), "\n");
}

TEST_F(ManualTest, OtherShellsHaveTheSameFlags) {
  const absl::StatusOr<std::string> zsh = Completions(app_, "zsh"), fish = Completions(app_, "fish");
  ASSERT_THAT(zsh, IsOk());
  ASSERT_THAT(fish, IsOk());
  EXPECT_THAT(*zsh, HasSubstr("'--sampler=[Which one; it'\\''s up to you]:value:(ddim ddpm)' \\\n"));
  EXPECT_THAT(*zsh, HasSubstr("'--steps=[Denoising steps (50)]:number: ' \\\n"));
  EXPECT_THAT(*fish, HasSubstr("complete -c draw -l sampler -d 'Which one; it\\'s up to you' -x -a 'ddim ddpm'\n"));
  EXPECT_THAT(*fish, HasSubstr("complete -c draw -f\n")) << "what to draw is no file";
  EXPECT_THAT(*fish, HasSubstr("complete -c draw -n __fish_use_subcommand -a bench\n"));
  EXPECT_THAT(Completions(app_, "tcsh"),
              StatusIs(absl::StatusCode::kInvalidArgument, "--print_completions must be bash, zsh or fish, got tcsh"));
}

}  // namespace
}  // namespace denoised
