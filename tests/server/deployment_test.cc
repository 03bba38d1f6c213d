// What the manifests in deploy/ promise about the server's own flags.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <regex>
#include <string>

#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

// What follows `name` in the manifest, as a number; NaN when it is not there.
double NumberAfter(const std::string& name, const std::string& manifest) {
  std::smatch match;
  if (!std::regex_search(manifest, match, std::regex(name + "([0-9.]+)"))) return std::nan("");
  return std::stod(match[1]);
}

// Otherwise the pod is killed while it still draws what it has admitted.
TEST(KubernetesTest, GracePeriodCoversLameDuckAndDrain) {
  const std::string manifest = Slurp(DENOISED_SOURCE_DIR "/deploy/kubernetes.yaml");
  constexpr double kMarginSeconds = 10;  // for connections to close
  EXPECT_GE(NumberAfter("terminationGracePeriodSeconds: ", manifest),
            NumberAfter("--lame_duck=", manifest) + NumberAfter("--drain_timeout=", manifest) + kMarginSeconds);
}

}  // namespace
}  // namespace denoised
