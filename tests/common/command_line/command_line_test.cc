#include "common/command_line/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

struct Values {
  uint64_t seed = 0;
  int32_t digit = 0;
  double timeout = 0;
  std::optional<uint32_t> size;
  std::vector<int> list;
  std::string text, wait;
};

class CommandLineTest : public testing::Test {
 protected:
  // What is said on stderr, empty if the arguments are taken.
  std::string Parse(std::vector<std::string> arguments) {
    values_ = {};
    CLI::App app("", "program");
    AddOptions(app);
    arguments.insert(arguments.begin(), "program");
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    testing::internal::CaptureStderr();
    const std::optional<int> code = ParseCommandLine(app, static_cast<int>(argv.size()), argv.data(), variables_);
    const std::string said = testing::internal::GetCapturedStderr();
    EXPECT_EQ(code, said.empty() ? std::optional<int>() : kUsageError);
    return said;
  }
  void AddOptions(CLI::App& app) {
    app.add_option("digit,--digit", values_.digit);
    app.add_option("--seed", values_.seed)->envname("COMMAND_LINE_TEST_SEED");
    app.add_option("--timeout", values_.timeout)->check(CLI::Range(0.0, 1e6));
    app.add_option("--size", values_.size);
    app.add_option("--list", values_.list)->delimiter(',')->allow_extra_args(false);
    app.add_option("--text", values_.text);
    app.add_flag("--wait{60}", values_.wait)->transform(FiniteNumber());
    app.add_option("--ratio", values_.timeout)->check(CLI::Range(0.1, 1e6));
    app.add_option("--format", values_.text)->check(CLI::IsMember({"text", "json"}));
    app.add_subcommand("bench")->fallthrough()->add_option("--concurrency", values_.digit);
  }
  static std::string Error(const std::string& text) { return "program: error: " + text + "\nSee program --help.\n"; }

  Values values_;
  Origins variables_;
};

// Reported: --seed -1 drew 18446744073709551615, --seed 042 drew 34, and neither was said.
TEST_F(CommandLineTest, WholeNumbersAreDecimalAndFit) {
  EXPECT_EQ(Parse({"--seed", "042", "--digit=+07", "--size=0032", "--list=010,-3"}), "");
  EXPECT_EQ(values_.seed, 42u);
  EXPECT_EQ(values_.digit, 7);
  EXPECT_EQ(values_.size, 32u);
  EXPECT_THAT(values_.list, ElementsAre(10, -3));
  EXPECT_EQ(Parse({"--seed", "18446744073709551615"}), "");
  EXPECT_EQ(values_.seed, UINT64_MAX);
  EXPECT_EQ(Parse({"--seed", "-1"}), Error("--seed: must not be negative, got -1"));
  EXPECT_EQ(Parse({"--seed=18446744073709551616"}),
            Error("--seed: must be at most 18446744073709551615, got 18446744073709551616"));
  EXPECT_EQ(Parse({"--seed=0x2a"}), Error("--seed: must be a whole number in decimal digits, got 0x2a"));
  EXPECT_EQ(Parse({"--seed="}), Error("--seed: there is no value after the ="));
  EXPECT_EQ(Parse({"--seed", ""}), Error("--seed: must be a whole number in decimal digits, got nothing"));
  EXPECT_EQ(Parse({"--list=1,2.5"}), Error("--list: must be a whole number in decimal digits, got 2.5"));
  EXPECT_THAT(Parse({"--size=1e3"}), HasSubstr("--size: must be a whole number in decimal digits, got 1e3"));
  EXPECT_THAT(Parse({"--size=4294967296"}), HasSubstr("--size: must be a number in range, got 4294967296"));
}

TEST_F(CommandLineTest, NegativeNumbersAreTakenWhereTheyCanBe) {
  EXPECT_EQ(Parse({"-1"}), "");
  EXPECT_EQ(values_.digit, -1);
  EXPECT_EQ(Parse({"--digit=-0"}), "");
  EXPECT_EQ(values_.digit, 0);
}

// Reported: --timeout nan was taken, as it is neither below nor above a range.
TEST_F(CommandLineTest, NumbersAreFinite) {
  EXPECT_EQ(Parse({"--timeout=007.50"}), "");
  EXPECT_EQ(values_.timeout, 7.5);
  EXPECT_EQ(Parse({"--timeout=1e-3"}), "");
  EXPECT_EQ(values_.timeout, 1e-3);
  for (const std::string text : {"nan", "inf", "-inf", "1e999", "0x1p3", "ten", "1,5"}) {
    EXPECT_EQ(Parse({"--timeout=" + text}), Error("--timeout: must be a finite decimal number, got " + text));
  }
  EXPECT_EQ(Parse({"--timeout", ""}), Error("--timeout: must be a finite decimal number, got nothing"));
  EXPECT_EQ(Parse({"--timeout=-1"}), Error("--timeout: must be 0 to 1000000, got -1"));
}

TEST_F(CommandLineTest, EmptyValueDoesNotSwallowTheNextArgument) {
  EXPECT_EQ(Parse({"--text=", "7"}), Error("--text: there is no value after the ="));
  EXPECT_EQ(Parse({"--text=a=", "7"}), "");
  EXPECT_EQ(values_.text, "a=");
}

// Reported: --tokens "$TOKENS" where that is not set served everybody.
TEST_F(CommandLineTest, EmptyTextIsNotTheDefault) {
  EXPECT_EQ(Parse({"--text", ""}), Error("--text: the value is empty; leave the flag out for its default"));
  EXPECT_EQ(Parse({"bench", "--format", ""}),
            Error("--format: the value is empty; leave the flag out for its default"));
  EXPECT_EQ(Parse({"--text", "7", "--wait"}), "");
}

// Reported: `denoise 7 --wait 5` was told that 5 was not expected, and no more.
TEST_F(CommandLineTest, ValueThatMayBeLeftOutFollowsAnEqualsSign) {
  EXPECT_EQ(Parse({"7", "--wait", "5"}), Error("The following argument was not expected: 5; did you mean --wait=5?"));
  EXPECT_EQ(Parse({"7", "--wait", "x"}), Error("The following argument was not expected: x"));
  EXPECT_EQ(Parse({"7", "5"}), Error("The following argument was not expected: 5"));
  EXPECT_EQ(Parse({"7", "--wait=5"}), "");
}

TEST_F(CommandLineTest, EnvironmentIsReadAsStrictly) {
  setenv("COMMAND_LINE_TEST_SEED", "-1", 1);
  EXPECT_EQ(Parse({}), Error("COMMAND_LINE_TEST_SEED: must not be negative, got -1"));
  setenv("COMMAND_LINE_TEST_SEED", "042", 1);
  EXPECT_EQ(Parse({}), "");
  unsetenv("COMMAND_LINE_TEST_SEED");
  EXPECT_EQ(values_.seed, 42u);
}

// Reported: a wrong value of the settings file or the environment was blamed on a flag that nobody had typed.
TEST_F(CommandLineTest, ErrorsNameWhereTheValueComesFrom) {
  setenv("COMMAND_LINE_TEST_SEED", "abc", 1);
  variables_ = {{"COMMAND_LINE_TEST_SEED", "program.toml: seed"}};
  EXPECT_EQ(Parse({"7"}), Error("program.toml: seed: must be a whole number in decimal digits, got abc"));
  EXPECT_EQ(Parse({"--seed=x"}), Error("--seed: must be a whole number in decimal digits, got x"));
  EXPECT_EQ(Parse({"--timeout=-1"}), Error("--timeout: must be 0 to 1000000, got -1"));
  EXPECT_EQ(Parse({"--seed=1"}), "");
  unsetenv("COMMAND_LINE_TEST_SEED");
}

TEST_F(CommandLineTest, OriginsAreThoseOfFlagsThatNobodyTyped) {
  CLI::App app("", "program");
  AddOptions(app);
  EXPECT_THAT(OriginsOf(app, {}), ElementsAre());
  setenv("COMMAND_LINE_TEST_SEED", "42", 1);
  EXPECT_THAT(OriginsOf(app, {}), ElementsAre(testing::Pair("--seed", "COMMAND_LINE_TEST_SEED")));
  EXPECT_THAT(OriginsOf(app, {"--seed"}), ElementsAre());
  unsetenv("COMMAND_LINE_TEST_SEED");
}

// Reported: a wrong value in a file of flags was blamed on a flag that nobody had typed.
TEST(FileOfFlagsTest, ErrorsNameTheFile) {
  const TempFolder folder;
  const std::string file = folder.Write("run.toml", "seed = x\nepochs = 3\n");
  const auto parse = [&](std::vector<std::string> arguments, Origins& origins) {
    CLI::App app("", "program");
    uint64_t seed = 0;
    int epochs = 0;
    app.add_option("--seed", seed);
    app.add_option("--epochs", epochs);
    app.set_config("--config");
    arguments.insert(arguments.begin(), "program");
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    const std::set<std::string> typed = TypedOptions(app, static_cast<int>(argv.size()), argv.data());
    testing::internal::CaptureStderr();
    ParseCommandLine(app, static_cast<int>(argv.size()), argv.data());
    origins = OriginsOf(app, typed);
    return testing::internal::GetCapturedStderr();
  };
  Origins origins;
  EXPECT_EQ(
      parse({"--config", file}, origins),
      "program: error: " + file + ": seed: must be a whole number in decimal digits, got x\nSee program --help.\n");
  EXPECT_EQ(parse({"--seed=1", "--config", file}, origins), "");
  EXPECT_THAT(origins, ElementsAre(testing::Pair("--epochs", file + ": epochs")));
  EXPECT_EQ(parse({"--seed=y", "--config", file}, origins),
            "program: error: --seed: must be a whole number in decimal digits, got y\nSee program --help.\n");
  EXPECT_EQ(parse({"--config=none.toml"}, origins),
            "program: error: --config: cannot read none.toml; name a file that is there\nSee program --help.\n");
}

TEST(WithOriginsTest, FlagsAtTheBeginningGiveWay) {
  const Origins origins = {{"--cert", "CERT"}, {"--key", "KEY"}, {"TOKEN", "program.toml: token"}};
  EXPECT_EQ(WithOrigins("--cert: cannot open x; choose another with --cert", origins),
            "CERT: cannot open x; choose another with --cert");
  EXPECT_EQ(WithOrigins("--cert must be PEM", origins), "CERT must be PEM");
  EXPECT_EQ(WithOrigins("--cert=x is none", origins), "CERT=x is none");
  EXPECT_EQ(WithOrigins("--cert and --key belong together", origins), "CERT and KEY belong together");
  EXPECT_EQ(WithOrigins("--other and --key belong together", origins), "--other and KEY belong together");
  EXPECT_EQ(WithOrigins("--certain is another", origins), "--certain is another");
  EXPECT_EQ(WithOrigins("TOKEN: is empty", origins), "program.toml: token: is empty");
  EXPECT_EQ(WithOrigins("cannot open --cert", origins), "cannot open --cert");
  EXPECT_EQ(WithOrigins("", origins), "");
}

// Reported: "The following arguments were not expected: 42 --sed".
TEST_F(CommandLineTest, UnknownArgumentsAreNamedInOrderWithTheNearestFlag) {
  EXPECT_EQ(Parse({"7", "--sed", "42"}),
            Error("The following arguments were not expected: --sed 42; did you mean --seed?"));
  EXPECT_EQ(Parse({"--lr=1"}), Error("The following argument was not expected: --lr=1")) << "--to is no hint at it";
  EXPECT_EQ(Parse({"--bogus"}), Error("The following argument was not expected: --bogus"));
  EXPECT_EQ(Parse({"7", "--concurrency=4"}),
            Error("The following argument was not expected: --concurrency=4; --concurrency is of program bench"));
  EXPECT_EQ(Parse({"bench", "--concurency=4"}),
            Error("The following argument was not expected: --concurency=4; did you mean --concurrency?"));
  EXPECT_EQ(Parse({"7", "a\x1b[31m"}), Error("The following argument was not expected: a\\x1b[31m"));
}

TEST_F(CommandLineTest, ErrorsAreInWords) {
  EXPECT_EQ(Parse({"--timeout"}), Error("--timeout: needs a value"));
  EXPECT_EQ(Parse({"--seed=1", "--seed=2"}), Error("--seed: takes one value, got 2"));
  EXPECT_EQ(Parse({"--ratio=0"}), Error("--ratio: must be 0.1 to 1000000, got 0"));
  EXPECT_EQ(Parse({"--format=xml"}), Error("--format: must be one of text, json, got xml"));
}

TEST_F(CommandLineTest, TypedOptionsLeaveTheEnvironmentOut) {
  CLI::App app("", "program");
  AddOptions(app);
  std::string program = "program", digit = "7", size = "--size=32";
  char* argv[] = {program.data(), digit.data(), size.data()};
  setenv("COMMAND_LINE_TEST_SEED", "42", 1);
  EXPECT_THAT(TypedOptions(app, 3, argv), ElementsAre("--digit", "--size"));
  EXPECT_EQ(ParseCommandLine(app, 3, argv), std::nullopt);
  unsetenv("COMMAND_LINE_TEST_SEED");
  EXPECT_EQ(values_.seed, 42u) << "it still counts";
}

TEST(ReportErrorTest, InvalidFlagIsAUsageErrorWhoeverFoundIt) {
  testing::internal::CaptureStderr();
  EXPECT_EQ(ReportError("program", absl::InvalidArgumentError("--size: is odd\n--seed: too")), kUsageError);
  EXPECT_EQ(ReportError("program", absl::InvalidArgumentError("the checkpoint is broken")), EXIT_FAILURE);
  EXPECT_EQ(ReportError("program", absl::NotFoundError("--tls_ca: cannot open x")), EXIT_FAILURE);
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "program: error: --size: is odd\nprogram: error: --seed: too\n"
            "program: error: the checkpoint is broken\nprogram: error: --tls_ca: cannot open x\n");
}

TEST(ReportErrorTest, OriginsStandForFlags) {
  testing::internal::CaptureStderr();
  EXPECT_EQ(ReportError("program", absl::InvalidArgumentError("--size: is odd\n--seed: too"), {{"--size", "SIZE"}}),
            kUsageError);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "program: error: SIZE: is odd\nprogram: error: --seed: too\n");
}

}  // namespace
}  // namespace denoised
