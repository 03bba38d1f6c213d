// The page in Chromium, clicked through by page.test.mjs.
#include <gtest/gtest.h>

#include <filesystem>

#include "absl/strings/ascii.h"
#include "tests/testing/program.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/test_certificates.h"

namespace denoised {
namespace {

constexpr char kPackages[] = DENOISED_SOURCE_DIR "/build/page/ready";
constexpr char kTests[] = DENOISED_SOURCE_DIR "/tests/page/page.test.mjs";

// The path of a program; empty if there is none.
std::string PathOf(const std::string& program) {
  const ProgramResult found = RunProgram({"/bin/sh", "-c", "command -v " + program});
  return found.exit_code == 0 ? std::string(absl::StripAsciiWhitespace(found.out)) : "";
}

// What is missing for these tests, in words; empty if nothing is.
std::string Missing() {
  if (PathOf("node").empty()) return "there is no Node.js";
  if (PathOf("chromium").empty()) return "there is no Chromium";
  if (!std::filesystem::exists(kPackages)) return "npm's packages are not in build/page";
  return "";
}

TEST(PageTest, DoesInChromiumAllThatItSays) {
  if (const std::string missing = Missing(); !missing.empty()) {
    GTEST_SKIP() << missing << ": scripts/setup.sh --page";
  }
  const TempFolder tls;
  const TestIdentity identity = TestAuthority().Issue("server");
  tls.Write("cert.pem", identity.cert);
  tls.Write("key.pem", identity.key);
  const ProgramResult result =
      RunProgram({PathOf("node"), "--test", "--test-reporter=spec", kTests},
                 {"DENOISED_BIN_DIR=" DENOISED_BIN_DIR, "DENOISED_TEST_CHROMIUM=" + PathOf("chromium"),
                  "DENOISED_TEST_TLS=" + tls.path()});
  EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
}

}  // namespace
}  // namespace denoised
