// The rules of deploy/prometheus/, by promtool and against what tells about them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>
#include <set>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "tests/deploy/prometheus.h"
#include "tests/testing/program.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

constexpr char kSource[] = DENOISED_SOURCE_DIR;

std::set<std::string> FindAll(const std::string& text, const std::string& pattern) {
  const std::regex regex(pattern);
  std::set<std::string> found;
  for (std::sregex_iterator match(text.begin(), text.end(), regex), end; match != end; ++match) {
    found.insert((*match)[1].str());
  }
  return found;
}

std::string Alerts() { return Slurp(absl::StrCat(kSource, "/deploy/prometheus/alerts.rules.yml")); }
std::set<std::string> AlertNames() { return FindAll(Alerts(), "- alert: (\\w+)"); }

TEST(RulesTest, EachAlertHasAnEntryInTheRunbookThatItsLinkNames) {
  const std::set<std::string> alerts = AlertNames();
  EXPECT_GT(alerts.size(), 10u);
  EXPECT_EQ(FindAll(Slurp(absl::StrCat(kSource, "/docs/runbook.md")), "\n## (\\w+)\n"), alerts);
  for (const std::string& alert : alerts) {
    const std::string link = "runbook: docs/runbook.md#" + absl::AsciiStrToLower(alert) + "\n";
    const size_t begin = Alerts().find("- alert: " + alert + "\n");
    const size_t end = Alerts().find("- alert: ", begin + 1);
    EXPECT_THAT(Alerts().substr(begin, end - begin), testing::HasSubstr(link)) << alert;
  }
}

// An entry that points at another one which is not there helps nobody at night.
TEST(RulesTest, LinksInTheRunbookLeadSomewhere) {
  const std::string runbook = Slurp(absl::StrCat(kSource, "/docs/runbook.md"));
  for (const std::string& name : FindAll(runbook, "\\]\\(#(\\w+)\\)")) {
    EXPECT_THAT(absl::AsciiStrToLower(runbook), testing::HasSubstr("\n## " + name + "\n"));
  }
}

TEST(RulesTest, EachAlertIsTested) {
  const std::string tests = Slurp(absl::StrCat(kSource, "/tests/deploy/rules.test.yml")) +
                            Slurp(absl::StrCat(kSource, "/tests/deploy/rules_days.test.yml"));
  const std::set<std::string> firing = FindAll(tests, "- alertname: (\\w+)\n *eval_time: \\w+\n *exp_alerts:\n");
  EXPECT_EQ(firing, AlertNames());
}

class PromtoolTest : public testing::TestWithParam<std::string> {
 protected:
  // Its whole output, or that it is missing.
  ProgramResult Run(const std::string& arguments) const {
    const std::string promtool = GetParam() == "2" ? "promtool" : "build/prometheus3/promtool";
    return RunProgram({"/bin/sh", "-c", absl::StrCat(promtool, " ", arguments, " 2>&1")}, {}, kSource);
  }
  void SetUp() override {
    if (Run("--version").exit_code != 0) GTEST_SKIP() << "promtool is not installed; scripts/setup.sh --deploy does it";
  }
};

TEST_P(PromtoolTest, ConfigurationAndRulesAreValid) {
  const ProgramResult result = Run("check config deploy/prometheus/prometheus.yml");
  EXPECT_EQ(result.exit_code, 0) << result.out;
}

TEST_P(PromtoolTest, AlertsFireWhereTheyShouldAndNowhereElse) {
  const ProgramResult result = Run("test rules tests/deploy/rules.test.yml tests/deploy/rules_days.test.yml");
  EXPECT_EQ(result.exit_code, 0) << result.out;
}

INSTANTIATE_TEST_SUITE_P(Version, PromtoolTest, testing::Values("2", "3"),
                         [](const auto& version) { return "Prometheus" + version.param; });

}  // namespace
}  // namespace denoised
