// docs/field_reports.md and docs/faults.md name the tests that prove them: each of those exists.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <regex>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

std::set<std::string> FindAll(const std::string& text, const std::regex& pattern) {
  std::set<std::string> found;
  for (std::sregex_iterator match(text.begin(), text.end(), pattern), end; match != end; ++match) {
    found.insert(match->size() == 2 ? (*match)[1].str() : absl::StrCat((*match)[1].str(), ".", (*match)[2].str()));
  }
  return found;
}

std::set<std::string> TestsOfThisTree() {
  std::set<std::string> tests;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(DENOISED_SOURCE_DIR "/tests")) {
    if (entry.path().extension() != ".cc") continue;
    tests.merge(FindAll(Slurp(entry.path().string()), std::regex("\\nTEST(?:_F|_P)?\\((\\w+),\\s*(\\w+)\\)")));
  }
  return tests;
}

TEST(FieldReportsTest, EveryTestThatIsNamedExists) {
  const std::set<std::string> tests = TestsOfThisTree();
  EXPECT_GT(tests.size(), 500u);
  for (const char* name : {"field_reports.md", "faults.md"}) {
    const std::string page = Slurp(absl::StrCat(DENOISED_SOURCE_DIR "/docs/", name));
    const std::set<std::string> named = FindAll(page, std::regex("`(\\w+Test\\.\\w+)`"));
    EXPECT_GT(named.size(), 10u) << name;
    for (const std::string& test : named) EXPECT_TRUE(tests.contains(test)) << name << ": " << test << " is in no file";
  }
}

TEST(FieldReportsTest, EveryReportHasARowWithATest) {
  const std::string page = Slurp(DENOISED_SOURCE_DIR "/docs/field_reports.md");
  for (int i = 1; i <= 19; ++i) {
    EXPECT_TRUE(std::regex_search(page, std::regex(absl::StrCat("\\n\\| F", i, " \\|[^\\n]*`\\w+\\.\\w+`"))))
        << "F" << i;
  }
}

}  // namespace
}  // namespace denoised
