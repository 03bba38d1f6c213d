// scripts/setup.sh, with stubs of dpkg, apt and cmake: what it installs, and what it says, in every state of dpkg.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/testing/program.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

using testing::HasSubstr;
using testing::Not;

// A machine on which every package is installed, until a test says otherwise. state/NAME holds dpkg's words on a
// package, unknown/NAME makes apt know nothing of it, and calls has a line for each call of apt-get.
class SetupTest : public testing::Test {
 protected:
  SetupTest() {
    for (const char* folder : {"bin", "state", "unknown", "scripts", "tests/page"}) {
      std::filesystem::create_directories(machine_.File(folder));
    }
    for (const char* list : {"package.json", "package-lock.json"}) {
      std::filesystem::copy_file(std::string(DENOISED_SOURCE_DIR "/tests/page/") + list,
                                 machine_.File(std::string("tests/page/") + list));
    }
    for (const char* script : {"setup.sh", "common.sh", "cuda-requirements.txt"}) {
      std::filesystem::copy_file(std::string(DENOISED_SOURCE_DIR "/scripts/") + script,
                                 machine_.File(std::string("scripts/") + script));
    }
    machine_.Write("os-release", "ID=debian\n");
    Stub("dpkg-query",
         "name=${*: -1}\n"
         "if [[ -e $machine/state/$name ]]; then cat $machine/state/$name; else echo install ok installed; fi\n");
    Stub("dpkg", "echo \"dpkg $*\" >>$machine/calls\n");
    Stub("apt-cache",
         "if [[ -e $machine/unknown/$2 ]]; then exit; fi\n"
         "candidate=Candidate\n"
         "if [[ ${LANGUAGE-}${LC_ALL-$LANG} == *de* ]]; then candidate=Installationskandidat; fi\n"
         "printf '%s:\\n  Installed: (none)\\n  %s: 1.0\\n' \"$2\" $candidate\n");
    Stub("apt-get",
         "echo \"apt-get $*\" >>$machine/calls\n"
         "if [[ -e $machine/broken ]]; then exit 100; fi\n"
         "for word; do\n"
         "  if [[ -e $machine/unknown/$word ]]; then echo \"E: Unable to locate package $word\"; exit 100; fi\n"
         "done\n"
         "if [[ -e $machine/idle ]]; then exit; fi\n"
         "for word; do if [[ -e $machine/state/$word ]]; then echo install ok installed >$machine/state/$word; fi; "
         "done\n");
    Stub("sudo", "if [[ $1 == -n ]]; then shift; fi\nexec \"$@\"\n");
    Stub("cmake", "exit 1\n");
    Stub("npm", "echo \"npm $*\" >>$machine/calls\nif [[ -e $machine/offline ]]; then exit 1; fi\n");
  }

  void Stub(const std::string& name, const std::string& script) {
    WriteExecutable("bin/" + name, "machine=" + machine_.path() + "\n" + script);
  }
  void WriteScript(const std::string& name, const std::string& script) { WriteExecutable("scripts/" + name, script); }
  void WriteExecutable(const std::string& name, const std::string& script) {
    std::filesystem::permissions(machine_.Write(name, "#!/bin/bash\n" + script), std::filesystem::perms(0755));
  }

  void SetState(const std::string& package, const std::string& words) {
    machine_.Write("state/" + package, words.empty() ? "" : words + "\n");
  }
  void MakeUnknown(const std::string& package) { machine_.Write("unknown/" + package, ""); }

  ProgramResult RunSetup(std::vector<std::string> options = {}) {
    std::vector<std::string> command = as_;
    command.insert(command.end(), {"/bin/bash", machine_.File("scripts/setup.sh")});
    command.insert(command.end(), options.begin(), options.end());
    return RunProgram(command, {"PATH=" + machine_.File("bin") + ":/usr/bin:/bin",
                                "DENOISED_OS_RELEASE=" + machine_.File("os-release"), "LANG=" + language_,
                                "LANGUAGE=" + language_.substr(0, 2)});
  }

  std::string calls() const { return Slurp(machine_.File("calls")); }

  TempFolder machine_;
  std::string language_ = "C.UTF-8";
  std::vector<std::string> as_;  // a command that runs others, as another user
};

constexpr char kAllInstalled[] = "Every package that is needed is installed.";

TEST_F(SetupTest, CallsNobodyWhereEverythingIsInstalled) {
  const ProgramResult result = RunSetup();
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, HasSubstr(kAllInstalled));
  EXPECT_EQ(calls(), "");
}

TEST_F(SetupTest, AHeldPackageThatIsInstalledIsFine) {
  SetState("libtorch-dev", "hold ok installed");
  EXPECT_THAT(RunSetup().out, HasSubstr(kAllInstalled));
}

// A language's tools need not come from Debian.
TEST_F(SetupTest, ALanguageThatIsHereAlreadyIsNotInstalledForTheExamples) {
  SetState("golang-go", "");
  Stub("go", "");
  WriteScript("build_examples.sh", "echo built\n");
  const ProgramResult result = RunSetup({"--examples"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("\nbuilt\n"));
  EXPECT_EQ(calls(), "");
}

TEST_F(SetupTest, ExamplesThatCannotBeBuiltAreSaid) {
  WriteScript("build_examples.sh", "exit 1\n");
  const ProgramResult result = RunSetup({"--examples"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("Not every example could be built; everything else works without."));
}

// The state not-installed, which dpkg gives to names that it has heard of, contains the word installed.
TEST_F(SetupTest, InstallsWhatIsInAnyOtherState) {
  for (const char* words :
       {"", "unknown ok not-installed", "deinstall ok config-files", "purge ok not-installed", "install ok unpacked",
        "install ok half-configured", "install reinstreq half-installed", "install ok triggers-awaited"}) {
    SetState("libtorch-dev", words);
    const ProgramResult result = RunSetup();
    EXPECT_EQ(result.exit_code, 0) << words << "\n" << result.err;
    EXPECT_THAT(result.out, Not(HasSubstr(kAllInstalled))) << words;
    EXPECT_THAT(calls(), HasSubstr(" libtorch-dev\n")) << words;
    EXPECT_EQ(Slurp(machine_.File("state/libtorch-dev")), "install ok installed\n") << words;
    std::filesystem::remove(machine_.File("calls"));
  }
}

TEST_F(SetupTest, FinishesWhatAnInterruptedDpkgHasLeft) {
  SetState("libopencv-dev", "install reinstreq half-installed");
  EXPECT_EQ(RunSetup().exit_code, 0);
  EXPECT_THAT(calls(), HasSubstr("dpkg --configure -a"));
  EXPECT_THAT(calls(), HasSubstr("--reinstall libopencv-dev"));
}

TEST_F(SetupTest, AServingBuildWantsNoLibTorchAndNoOpenCv) {
  for (const char* package : {"libtorch-dev", "libopencv-dev", "libgloo-dev", "libopenblas0-pthread", "libpng-dev"}) {
    SetState(package, "");
  }
  EXPECT_EQ(RunSetup({"--serving"}).exit_code, 0);
  EXPECT_THAT(calls(), HasSubstr(" libpng-dev\n"));
  for (const char* package : {"libtorch", "libopencv", "libgloo", "libopenblas"}) {
    EXPECT_THAT(calls(), Not(HasSubstr(package)));
  }
}

TEST_F(SetupTest, BringsThePagesPackagesOnce) {
  EXPECT_EQ(RunSetup({"--page"}).exit_code, 0);
  EXPECT_THAT(calls(), HasSubstr("npm ci "));
  std::filesystem::remove(machine_.File("calls"));
  EXPECT_EQ(RunSetup({"--page"}).exit_code, 0);
  EXPECT_EQ(calls(), "");
}

TEST_F(SetupTest, SaysWhatIsLeftOutWithoutThePagesPackages) {
  machine_.Write("offline", "");
  const ProgramResult result = RunSetup({"--page"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("npm could not bring what tests/page needs; everything else is built and tested "
                                    "without it."));
}

// apt installs nothing at all when it does not know one of the names.
TEST_F(SetupTest, InstallsTheRestWhenOneNameIsUnknown) {
  SetState("libtorch-dev", "");
  MakeUnknown("libtorch-dev");
  SetState("cmake", "unknown ok not-installed");
  const ProgramResult result = RunSetup();
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(Slurp(machine_.File("state/cmake")), "install ok installed\n");
  EXPECT_THAT(result.out, HasSubstr("  libtorch-dev           this system's package lists do not have it\n"));
  EXPECT_THAT(result.err, HasSubstr("Install these, or newer, by other means, then try again:\n"
                                    "  LibTorch 1.13, or pip's PyTorch 2.7\nREADME.md"));
}

TEST_F(SetupTest, NamesWhatIsHeldAndInstallsTheRest) {
  SetState("libgrpc++-dev", "hold ok not-installed");
  SetState("cmake", "");
  const ProgramResult result = RunSetup();
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.out, HasSubstr("it is held: apt-mark unhold libgrpc++-dev\n"));
  EXPECT_THAT(calls(), Not(HasSubstr("libgrpc++-dev")));
  EXPECT_EQ(Slurp(machine_.File("state/cmake")), "install ok installed\n");
}

TEST_F(SetupTest, DoesWithoutWhatIsOptional) {
  SetState("libgloo-dev", "");
  MakeUnknown("libgloo-dev");
  const ProgramResult result = RunSetup();
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("Not installed, and denoised works without:\n  libgloo-dev "));
}

TEST_F(SetupTest, NeverCallsInstalledWhatIsNot) {
  SetState("zlib1g-dev", "");
  for (const char* fault : {"idle", "broken"}) {  // apt says that all is well and does nothing; apt fails
    machine_.Write(fault, "");
    const ProgramResult result = RunSetup();
    EXPECT_EQ(result.exit_code, 1) << fault;
    EXPECT_THAT(result.out, HasSubstr("Not installed:\n  zlib1g-dev             apt could not install it\n")) << fault;
    EXPECT_THAT(result.out, Not(HasSubstr(kAllInstalled))) << fault;
    std::filesystem::remove(machine_.File(fault));
  }
}

TEST_F(SetupTest, GoesOnWhereTheTreeConfiguresWithoutAPackage) {
  SetState("libtorch-dev", "");
  MakeUnknown("libtorch-dev");
  Stub("cmake", "echo \"cmake $*\" >>$machine/calls\n");
  EXPECT_EQ(RunSetup().exit_code, 0);
  EXPECT_THAT(calls(), HasSubstr("cmake --preset release -B build/looking "))
      << "or a build gets options it did not ask for";
}

// Reported: apt's words are translated, and no package was installed.
TEST_F(SetupTest, SpeaksEnglishToApt) {
  SetState("libtorch-dev", "");
  language_ = "de_DE.UTF-8";
  const ProgramResult result = RunSetup();
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(calls(), HasSubstr(" libtorch-dev"));
}

// One name that it does not know makes apt install nothing.
TEST_F(SetupTest, TheCommandForRootNamesNothingThatAptDoesNotKnow) {
  std::filesystem::permissions(machine_.path(), std::filesystem::perms(0755));
  if (geteuid() == 0) as_ = {"/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"};
  Stub("sudo", "exit 1\n");
  SetState("libtorch-dev", "");
  SetState("clang-tidy-14", "");
  SetState("shellcheck", "");
  MakeUnknown("clang-tidy-14");
  const ProgramResult result = RunSetup({"--checks"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("apt-get install --no-install-recommends"));
  EXPECT_THAT(result.err, testing::AllOf(HasSubstr(" libtorch-dev"), HasSubstr(" shellcheck")));
  EXPECT_THAT(result.err, Not(HasSubstr("clang-tidy-14")));
}

TEST_F(SetupTest, InstallsNothingOnAnotherSystem) {
  machine_.Write("os-release", "ID=fedora\n");
  const ProgramResult result = RunSetup();
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(calls(), "");
  EXPECT_THAT(result.err, HasSubstr("This is not Debian, so nothing was installed.\n"));
  EXPECT_THAT(result.err, HasSubstr("  a C++20 compiler (GCC 12)\n"));
  const std::vector<std::string> lines = absl::StrSplit(result.err, '\n');
  EXPECT_LE(lines.size(), 50) << "more than a screen";
}

// Debian starts it as a service: nobody gets it who did not ask.
TEST_F(SetupTest, InstallsPrometheusOnlyWhenAsked) {
  SetState("prometheus", "");
  EXPECT_THAT(RunSetup({"--tests", "--checks"}).out, HasSubstr(kAllInstalled));
  EXPECT_EQ(RunSetup({"--deploy"}).exit_code, 0);
  EXPECT_THAT(calls(), HasSubstr(" prometheus\n"));
}

TEST_F(SetupTest, SaysWhichGoIsNeededWhereThereIsNone) {
  const ProgramResult result = RunSetup({"--prometheus3"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err,
              HasSubstr("Prometheus 3 is built by Go, which is not installed; Go 1.26.7 or later is needed."));
}

TEST_F(SetupTest, UnknownOptionIsSaid) {
  const ProgramResult result = RunSetup({"--test"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("usage: scripts/setup.sh [--serving] [--tests] [--checks] [--examples] [--page] "
                                    "[--deploy] [--prometheus3] [--tensorboard] [--opentelemetry] "
                                    "[--second-opinion] [--packages] [--image] [--cuda]"));
}

}  // namespace
}  // namespace denoised
