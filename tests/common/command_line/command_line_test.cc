#include "common/command_line/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

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
  std::string text;
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
    const std::optional<int> code = ParseCommandLine(app, static_cast<int>(argv.size()), argv.data());
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
  }
  static std::string Error(const std::string& text) { return "program: error: " + text + "\nSee program --help.\n"; }

  Values values_;
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
  EXPECT_THAT(Parse({"--timeout=-1"}), HasSubstr("--timeout: Value -1 not in range"));
}

TEST_F(CommandLineTest, EmptyValueDoesNotSwallowTheNextArgument) {
  EXPECT_EQ(Parse({"--text=", "7"}), Error("--text: there is no value after the ="));
  EXPECT_EQ(Parse({"--text=a=", "7"}), "");
  EXPECT_EQ(values_.text, "a=");
}

TEST_F(CommandLineTest, EnvironmentIsReadAsStrictly) {
  setenv("COMMAND_LINE_TEST_SEED", "-1", 1);
  EXPECT_EQ(Parse({}), Error("--seed: must not be negative, got -1"));
  setenv("COMMAND_LINE_TEST_SEED", "042", 1);
  EXPECT_EQ(Parse({}), "");
  unsetenv("COMMAND_LINE_TEST_SEED");
  EXPECT_EQ(values_.seed, 42u);
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

}  // namespace
}  // namespace denoised
