// The completions that are installed, by the shells themselves: each finds them where it looks, at the first press of
// Tab.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/install/installation.h"
#include "tests/install/shell_at_terminal.h"

namespace denoised {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// Its parser has nothing against what is installed.
void ExpectSound(const Installation& installed, const std::string& shell, const std::string& before,
                 const std::string& after) {
  for (const std::string program : kPrograms) {
    const ProgramResult parsed =
        RunProgram({"/usr/bin/env", shell, "-n", installed.File(absl::StrCat(before, program, after))});
    EXPECT_EQ(parsed.exit_code, 0) << program;
    EXPECT_EQ(parsed.err, "") << program;
  }
}

// What a shell offers at the end of a line. Where a class is due, none of them offers files.
class CompletionsTest : public testing::Test {
 protected:
  template <typename Offer>
  static void ExpectOffers(const Offer& offer) {
    EXPECT_THAT(offer("denoise --sam"), AllOf(HasSubstr("--sampler"), Not(HasSubstr("--size"))));
    EXPECT_THAT(offer("denoise --sampler "),
                AllOf(HasSubstr("ddim"), HasSubstr("dpm_solver_pp_2m"), Not(HasSubstr("a-file"))));
    EXPECT_THAT(offer("denoise --sampler=ddp"), AllOf(HasSubstr("ddpm"), Not(HasSubstr("ddim"))));
    EXPECT_THAT(offer("denoise "), AllOf(HasSubstr("bench"), HasSubstr("watch"), Not(HasSubstr("a-file"))));
    EXPECT_THAT(offer("denoise bench --conc"), HasSubstr("--concurrency"));
    EXPECT_THAT(offer("denoise 7 --out a-"), HasSubstr("a-file"));
    EXPECT_THAT(offer("denoised --precision b"), AllOf(HasSubstr("bf16"), Not(HasSubstr("fp32"))));
    EXPECT_THAT(offer("denoised-capacity --repl"), HasSubstr("--replicas"));
    EXPECT_THAT(offer("denoise-train --epo"), HasSubstr("--epochs"));
    EXPECT_THAT(offer("denoise-eval --ref"), HasSubstr("--reference"));
  }

  // With the installed programs on the path, and no settings of the tester's.
  std::vector<std::string> Environment() const {
    return {"PATH=" + installed_.File("bin") + ":/usr/bin:/bin",
            "HOME=" + folder_.path(),
            "TERM=dumb",
            "XDG_DATA_DIRS=" + installed_.File("share"),
            "XDG_CONFIG_HOME=" + folder_.path(),
            "LC_ALL=C"};
  }

  // A folder with one file.
  CompletionsTest() {
    std::filesystem::create_directory(folder_.File("here"));
    folder_.Write("here/a-file", "");
  }
  std::string Here() const { return folder_.File("here"); }

  const Installation installed_;
  const TempFolder folder_;
};

constexpr char kClearLine[] = "\x15";  // Ctrl-U

TEST_F(CompletionsTest, BashOffersThem) {
  if (!HasProgram("bash") || !std::filesystem::exists("/usr/share/bash-completion/bash_completion")) {
    GTEST_SKIP() << "there is no bash-completion; scripts/setup.sh --tests brings it";
  }
  ExpectSound(installed_, "bash", "share/bash-completion/completions/", "");
  const std::string settings = folder_.Write("rc", R"(
source /usr/share/bash-completion/bash_completion
bind 'set enable-bracketed-paste off'
bind 'set completion-query-items 0'
bind 'set page-completions off'
bind '"\t": possible-completions'
PS1='READY '
)");
  ShellAtTerminal shell({"bash", "--rcfile", settings, "-i"}, Environment(), Here());
  ExpectOffers([&shell](const std::string& line) {
    shell.ReadUntil("READY ");
    shell.Type(line + "\t" + kClearLine + "echo THE-''END\n");
    return shell.ReadUntil("THE-END");
  });
}

TEST_F(CompletionsTest, ZshOffersThem) {
  if (!HasProgram("zsh")) GTEST_SKIP() << "there is no zsh; scripts/setup.sh --tests brings it";
  ExpectSound(installed_, "zsh", "share/zsh/vendor-completions/_", "");
  const std::string settings =
      folder_.Write("rc", "fpath=(" + installed_.File("share/zsh/vendor-completions") + " $fpath)" + R"(
autoload -Uz compinit && compinit -u
offer() { zle list-choices; zle -R; print -n THE-END }
zle -N offer
bindkey '^I' offer
PS1='READY '
)");
  ShellAtTerminal shell({"zsh", "-f", "-i"}, Environment(), Here());
  shell.Type("source " + settings + "\n");
  shell.ReadUntil("READY ");
  ExpectOffers([&shell](const std::string& line) {
    shell.Type(line + "\t");
    const std::string offered = shell.ReadUntil("THE-END");
    shell.Type(kClearLine);
    return offered;
  });
}

TEST_F(CompletionsTest, FishOffersThem) {
  if (!HasProgram("fish")) GTEST_SKIP() << "there is no fish; scripts/setup.sh --tests brings it";
  ExpectSound(installed_, "fish", "share/fish/vendor_completions.d/", ".fish");
  ExpectOffers([this](const std::string& line) {
    return RunProgram({"/usr/bin/env", "fish", "-c", "complete -C '" + line + "' | string replace -r '\\t.*' ''"},
                      Environment(), Here())
        .out;
  });
}

}  // namespace
}  // namespace denoised
