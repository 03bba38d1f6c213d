#include "common/command_line/unknown_variables.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

namespace denoised {
namespace {

using testing::ElementsAre;

class UnknownVariablesTest : public testing::Test {
 protected:
  UnknownVariablesTest() { app_.add_option("--max_batch_rows", rows_)->envname("DENOISED_MAX_BATCH_ROWS"); }
  std::vector<std::string> Warnings(const std::vector<std::string>& variables) {
    for (const std::string& name : variables) setenv(name.c_str(), "tcp://10.0.0.1:50051", 1);
    const std::vector<std::string> warnings = UnknownVariables(app_, "DENOISED", {"DENOISED_CONFIG"});
    for (const std::string& name : variables) unsetenv(name.c_str());
    return warnings;
  }

  int rows_ = 0;
  CLI::App app_{"", "denoised"};
};

// Reported: DENOISED_MAX_BATCH_ROW and DENOISED_THREAD were passed over.
TEST_F(UnknownVariablesTest, AreNamedWithTheNearestFlag) {
  EXPECT_THAT(Warnings({"DENOISED_MAX_BATCH_ROW", "DENOISED_BOGUS", "DENOISED_MAX_BATCH_ROWS", "DENOISED_CONFIG"}),
              ElementsAre("DENOISED_BOGUS is no setting of denoised",
                          "DENOISED_MAX_BATCH_ROW is no setting of denoised; did you mean DENOISED_MAX_BATCH_ROWS?"));
}

TEST_F(UnknownVariablesTest, LeaveOutKubernetesAndTests) {
  EXPECT_THAT(Warnings({"DENOISED_SERVICE_HOST", "DENOISED_SERVICE_PORT", "DENOISED_SERVICE_PORT_GRPC", "DENOISED_PORT",
                        "DENOISED_PORT_50051_TCP", "DENOISED_PORT_50051_TCP_ADDR", "DENOISED_PAGE_SERVICE_HOST",
                        "DENOISED_PAGE_PORT_8080_TCP_PROTO", "DENOISED_TEST_MNIST", "DENOISED_RELOADS",
                        "DENOISED_BIN_DIR", "DENOISE_SEDE"}),
              ElementsAre());
}

}  // namespace
}  // namespace denoised
