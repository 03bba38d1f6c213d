// The files in models/: whole, made by sources that are in a commit, measured, and as their card says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "common/weights/plain_checkpoint.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr char kFolder[] = DENOISED_SOURCE_DIR "/models/";

class ShippedCheckpointTest : public testing::TestWithParam<const char*> {};

TEST_P(ShippedCheckpointTest, IsWhatItsCardSays) {
  const absl::StatusOr<PlainCheckpoint> checkpoint = LoadPlainCheckpoint(std::string(kFolder) + GetParam());
  ASSERT_THAT(checkpoint, IsOk());
  EXPECT_TRUE(checkpoint->golden.has_value());
  EXPECT_LE(std::filesystem::file_size(std::string(kFolder) + GetParam()), size_t{8} << 20);

  const TrainingRecord& training = checkpoint->metadata.training;
  EXPECT_THAT(training.source_revision, Not(testing::AnyOf(HasSubstr("-dirty"), HasSubstr("unknown"))));
  const auto evaluation = nlohmann::json::parse(checkpoint->metadata.evaluation_json);
  ASSERT_FALSE(evaluation.at("runs").empty());
  EXPECT_GE(evaluation.at("runs").at(0).at("count"), 10'000);

  const std::string card = Slurp(std::string(kFolder) + "README.md");
  EXPECT_THAT(card, HasSubstr("# " + std::string(GetParam())));
  for (const std::string& fact :
       {checkpoint->sha256, checkpoint->metadata.parameters_sha256, training.source_revision}) {
    EXPECT_THAT(card, HasSubstr("`" + fact + "`"));
  }
}

INSTANTIATE_TEST_SUITE_P(Files, ShippedCheckpointTest,
                         testing::Values("mnist.pt", "mnist-4-steps.pt", "mnist-2-steps.pt", "mnist-1-step.pt"),
                         [](const auto& tested) {
                           return std::string(tested.param).substr(0, 5) + std::to_string(tested.index);
                         });

}  // namespace
}  // namespace denoised
