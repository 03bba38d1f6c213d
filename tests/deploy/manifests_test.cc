// The manifests of deploy/ for Kubernetes and Compose, by the Go tests in manifests/: kustomize builds them, the API's
// own types decode them, and Kubernetes' own checker looks at their pods.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/match.h"
#include "tests/testing/program.h"

namespace denoised {
namespace {

// Of Go, where it is too old for these tests or has not been let fetch what they import.
bool IsUnprepared(const std::string& output) {
  for (const char* words : {"requires go >=", "invalid go version", "lookup disabled by GOPROXY=off"}) {
    if (absl::StrContains(output, words)) return true;
  }
  return false;
}

TEST(ManifestsTest, AreWhatKubernetesAndComposeTake) {
  if (RunProgram({"/bin/sh", "-c", "command -v go"}).exit_code != 0) {
    GTEST_SKIP() << "Go is not installed; these tests need 1.24 or later";
  }
  const ProgramResult result =
      RunProgram({"/bin/sh", "-c", "exec go test -count=1 ./... 2>&1"}, {"GOPROXY=off", "GOTOOLCHAIN=local"},
                 DENOISED_SOURCE_DIR "/tests/deploy/manifests");
  if (result.exit_code != 0 && IsUnprepared(result.out)) {
    GTEST_SKIP() << "Go 1.24 or later is needed, and scripts/setup.sh --deploy for what is imported:\n" << result.out;
  }
  EXPECT_EQ(result.exit_code, 0) << result.out;
}

}  // namespace
}  // namespace denoised
