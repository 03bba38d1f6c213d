#include "common/model/model_metadata.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

using testing::HasSubstr;

ModelMetadata Full() {
  ModelMetadata metadata;
  metadata.noise_schedule.beta_schedule = "squaredcos_cap_v2";
  metadata.noise_schedule.prediction_type = PredictionType::kVPrediction;
  metadata.variance_type = VarianceType::kFixedLarge;
  metadata.clip_sample = false;
  metadata.null_label = 10;
  metadata.training.data_sha256 = {{"train-images-idx3-ubyte", "ab"}};
  metadata.training.epochs = 3;
  metadata.training.best_loss = 0.0123;
  metadata.training.seed = ~uint64_t{0};
  metadata.training.command = "denoise-train --epochs 3";
  metadata.training.init_sha256 = std::string(64, 'e');
  metadata.training.flags = {{"--epochs", "3"}, {"--cosine", "on"}};
  metadata.evaluation_json = "{}";
  metadata.parameters_sha256 = std::string(64, 'd');
  return metadata;
}

std::string Replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from << " is not in " << text;
  return text.replace(at, from.size(), to);
}

TEST(ModelMetadataTest, ComesBack) {
  const absl::StatusOr<ModelMetadata> parsed = ParseModelMetadata(SerializeModelMetadata(Full()));
  ASSERT_THAT(parsed, IsOk());
  EXPECT_EQ(*parsed, Full());
}

TEST(ModelMetadataTest, BlocksAreWrittenWhereThereAreMore) {
  ModelMetadata metadata = Full();
  EXPECT_THAT(SerializeModelMetadata(metadata), testing::Not(HasSubstr("blocks")));
  metadata.unet.blocks = {2, 1, 8};
  const absl::StatusOr<ModelMetadata> parsed = ParseModelMetadata(SerializeModelMetadata(metadata));
  ASSERT_THAT(parsed, IsOk());
  EXPECT_EQ(*parsed, metadata);
}

TEST(ModelMetadataTest, StepsOfAStudentAreWritten) {
  ModelMetadata metadata = Full();
  EXPECT_THAT(SerializeModelMetadata(metadata), testing::Not(HasSubstr("distilled_steps")));
  EXPECT_EQ(LongestChain(metadata), 1000);
  metadata.distilled_steps = 4;
  EXPECT_EQ(LongestChain(metadata), 4);
  const std::string json = SerializeModelMetadata(metadata);
  const absl::StatusOr<ModelMetadata> parsed = ParseModelMetadata(json);
  ASSERT_THAT(parsed, IsOk());
  EXPECT_EQ(*parsed, metadata);
  EXPECT_THAT(ParseModelMetadata(Replaced(json, "\"distilled_steps\": 4", "\"distilled_steps\": 1001")),
              StatusIs(absl::StatusCode::kInvalidArgument, "distilled_steps must be 1 to 1000, got 1001"));
}

TEST(ModelMetadataTest, BlackLevelIsWritten) {
  ModelMetadata metadata = Full();
  EXPECT_THAT(SerializeModelMetadata(metadata), testing::Not(HasSubstr("black_below")));
  metadata.black_below = 4;
  const std::string json = SerializeModelMetadata(metadata);
  const absl::StatusOr<ModelMetadata> parsed = ParseModelMetadata(json);
  ASSERT_THAT(parsed, IsOk());
  EXPECT_EQ(*parsed, metadata);
  EXPECT_THAT(ParseModelMetadata(Replaced(json, "\"black_below\": 4", "\"black_below\": 33")),
              StatusIs(absl::StatusCode::kInvalidArgument, "black_below must be 1 to 32, got 33"));
}

TEST(ModelMetadataTest, BlocksThatCannotBeAreSaid) {
  const auto message = [](const UnetConfig& config) { return std::string(ValidateUnetConfig(config).message()); };
  EXPECT_EQ(message({.blocks = {2, 2}}), "architecture \"compact\" has 3 block counts, got 2");
  EXPECT_EQ(message({.blocks = {2, 2, 0}}), "blocks must be 1 to 8 at each resolution, got 0");
  EXPECT_EQ(message({.blocks = {2, 9, 1}}), "blocks must be 1 to 8 at each resolution, got 9");
  EXPECT_EQ(message({.architecture = "seed", .channels = {8, 8, 8, 8}}),
            "architecture \"seed\" has no residual blocks to count; \"compact\" has");
}

// As files have it that were written before.
TEST(ModelMetadataTest, OriginOfWeightsAndFlagsMayBeAbsent) {
  std::string json = SerializeModelMetadata(Full());
  json = Replaced(json, "    \"init_sha256\": \"" + std::string(64, 'e') + "\",\n", "");
  json = Replaced(json, "    \"flags\": {\n      \"--epochs\": \"3\",\n      \"--cosine\": \"on\"\n    },\n", "");
  const absl::StatusOr<ModelMetadata> parsed = ParseModelMetadata(json);
  ASSERT_THAT(parsed, IsOk());
  EXPECT_EQ(parsed->training.init_sha256, "");
  EXPECT_TRUE(parsed->training.flags.empty());
}

TEST(ModelMetadataTest, OtherVersionIsSaidWithBothNumbers) {
  const std::string json = Replaced(SerializeModelMetadata(Full()), "\"format_version\": 1", "\"format_version\": 2");
  EXPECT_THAT(ParseModelMetadata(json),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       "the checkpoint has format version 2, this build reads version 1; use the denoised that belongs "
                       "to it, or train again with this denoise-train"));
}

// Writing such a value out calls a function for each level, until the stack is full.
TEST(ModelMetadataTest, DeepNestingIsRefused) {
  const std::string deep = std::string(100'000, '[') + std::string(100'000, ']');
  const std::string json = SerializeModelMetadata(Full());
  for (const std::string& bad : {deep, Replaced(json, "\"[-1, 1]\"", deep), Replaced(json, "{}", deep)}) {
    EXPECT_THAT(ParseModelMetadata(bad), StatusIs(absl::StatusCode::kInvalidArgument,
                                                  HasSubstr("expects (it has more than 32 levels); the file was not")));
  }
}

TEST(ModelMetadataTest, TooManyBytesAreRefused) {
  EXPECT_THAT(ParseModelMetadata(std::string((1 << 20) + 1, ' ')),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("(it has 1048577 bytes, more than 1048576)")));
}

TEST(ModelMetadataTest, AMessageIsShortWhateverTheFileBrings) {
  const std::string json = SerializeModelMetadata(Full());
  const std::string letters(10'000, 'x');
  for (const std::string& bad :
       {Replaced(json, "\"compact\"", "\"" + letters + "\""), Replaced(json, "[-1, 1]", letters),
        Replaced(json, "\"fixed_large\"", "\"" + letters + "\""), Replaced(json, "{}", "\"" + letters)}) {
    const absl::Status status = ParseModelMetadata(bad).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_LE(status.message().size(), 1024u);
    EXPECT_THAT(std::string(status.message()), HasSubstr("xxx..."));
  }
}

// 4294967307 was taken for 11, 8.5 for 8 and true for 1.
TEST(ModelMetadataTest, IntegersAreIntegersThatFit) {
  const std::string json = SerializeModelMetadata(Full());
  for (const auto& [right, wrong] : std::vector<std::pair<std::string, std::string>>{
           {"\"num_labels\": 11", "\"num_labels\": 4294967307"},
           {"\"norm_groups\": 8", "\"norm_groups\": 8.5"},
           {"\"norm_groups\": 8", "\"norm_groups\": true"},
           {"\"num_train_timesteps\": 1000", "\"num_train_timesteps\": 1e300"},
           {"\"epochs\": 3", "\"epochs\": 9223372036854775808"},
           {"\"seed\": 18446744073709551615", "\"seed\": -1"}}) {
    EXPECT_THAT(ParseModelMetadata(Replaced(json, right, wrong)),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(" is no integer of a size that this field has")))
        << wrong;
  }
}

TEST(ModelMetadataTest, MalformedFieldIsNamed) {
  const std::string json = SerializeModelMetadata(Full());
  const std::vector<std::pair<std::string, std::string>> cases = {
      {Replaced(json, "\"compact\"", "\"other\""), "architecture"},
      {Replaced(json, "\"norm_groups\": 8", "\"norm_groups\": 7"), "norm_groups"},
      {Replaced(json, "\"num_train_timesteps\": 1000", "\"num_train_timesteps\": 0"), "num_train_timesteps"},
      {Replaced(json, "\"fixed_large\"", "\"huge\""), "huge"},
      {Replaced(json, "\"null_label\": 10", "\"null_label\": 11"), "null_label"},
      {Replaced(json, "\"clip_sample\"", "\"clip\""), "clip_sample"},
      {"[]", "denoised.json in the checkpoint is not what this build expects"},
      {"{", "denoised.json in the checkpoint is not what this build expects"},
  };
  for (const auto& [text, name] : cases) {
    EXPECT_THAT(ParseModelMetadata(text), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(name))) << text;
  }
}

}  // namespace
}  // namespace denoised
