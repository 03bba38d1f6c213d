// Without LibTorch: how both readers agree is in tests/common/checkpoint.
#include "common/weights/plain_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/support/digest.h"
#include "common/weights/unet_parameters.h"
#include "tests/common/weights/zip_file.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr char kModel[] = DENOISED_SOURCE_DIR "/models/mnist.pt";

// A small network's archive, part by part.
class Parts {
 public:
  Parts() {
    metadata.unet.channels = {8, 8, 8};
    metadata.unet.embedding_dim = 4;
    int number = 0;
    float value = 0;
    for (const UnetParameter& parameter : UnetParameters(metadata.unet)) {
      const std::vector<float> values(static_cast<size_t>(NumberOfValues(parameter.shape)), value += 0.25f);
      const std::string record = absl::StrCat("data/", ++number);
      metadata.parameter_records.emplace_back(parameter.name, record);
      records[record] = std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
    }
    Sign();
  }

  // The sum of what is there now.
  void Sign() {
    std::string all;
    for (const auto& [name, record] : metadata.parameter_records) all += records[record];
    metadata.parameters_sha256 = Sha256Hex(all);
  }

  absl::StatusOr<PlainCheckpoint> Parse() const {
    std::vector<std::pair<std::string, std::string>> files = {
        {"archive/extra/denoised.json", SerializeModelMetadata(metadata)}};
    for (const auto& [name, bytes] : records) files.emplace_back(absl::StrCat("archive/", name), bytes);
    const std::string bytes = ZipOf(files);
    return ParsePlainCheckpoint("parts.pt", bytes);
  }

  ModelMetadata metadata;
  std::map<std::string, std::string> records;
};

TEST(PlainCheckpointTest, ShippedOneIsRead) {
  const absl::StatusOr<PlainCheckpoint> checkpoint = LoadPlainCheckpoint(kModel);
  ASSERT_THAT(checkpoint, IsOk());
  EXPECT_EQ(checkpoint->parameter_count, 1'597'860);
  EXPECT_EQ(checkpoint->sha256, Sha256Hex(Slurp(kModel)));
  EXPECT_EQ(checkpoint->tensors.size(), UnetParameters(checkpoint->metadata.unet).size());
  EXPECT_TRUE(checkpoint->golden.has_value());
}

TEST(PlainCheckpointTest, ValuesAreThoseOfTheRecords) {
  const absl::StatusOr<PlainCheckpoint> checkpoint = Parts().Parse();
  ASSERT_THAT(checkpoint, IsOk());
  EXPECT_EQ(checkpoint->tensors.at("time1.weight").shape, (std::vector<int64_t>{4, 4}));
  EXPECT_THAT(checkpoint->tensors.at("time1.weight").values, testing::Each(0.25f));
  EXPECT_THAT(checkpoint->tensors.at("time1.bias").values, testing::Each(0.5f));
  EXPECT_FALSE(checkpoint->golden.has_value());
}

TEST(PlainCheckpointTest, OlderFilesAreRefusedWithAdvice) {
  Parts parts;
  parts.metadata.parameter_records.clear();
  EXPECT_THAT(parts.Parse(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       "parts.pt: its denoised.json does not say where the parameters lie, as the file was written by "
                       "an older denoise-train; denoise-train --add_golden_draw FILE writes it anew, with the same "
                       "weights"));
}

TEST(PlainCheckpointTest, FaultsOfParametersAreNamed) {
  const auto invalid = [](const char* what) {
    return StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("parts.pt: the tensor "), HasSubstr(what)));
  };
  Parts parts;
  parts.metadata.parameter_records[1].first = "time9.bias";
  EXPECT_THAT(parts.Parse(), invalid("time9.bias stands where time1.bias belongs"));
  parts = Parts();
  parts.metadata.parameter_records.pop_back();
  EXPECT_THAT(parts.Parse(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tensors, expected 96")));
  parts = Parts();
  parts.records["data/2"].pop_back();
  EXPECT_THAT(parts.Parse(), invalid("time1.bias has 15 bytes, and 16 belong to its shape"));
  parts = Parts();
  parts.records["data/2"] += "more";
  EXPECT_THAT(parts.Parse(), invalid("time1.bias cannot be read: data/2 in the archive has 20 bytes, more than 16"));
  parts = Parts();
  parts.records.erase("data/2");
  EXPECT_THAT(parts.Parse(), StatusIs(absl::StatusCode::kNotFound, HasSubstr("the archive has no data/2; copy it")));
}

TEST(PlainCheckpointTest, ValuesThatAreNotFiniteOrNotTheOnesWrittenAreFound) {
  Parts parts;
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(parts.records["data/1"].data(), &kNan, sizeof kNan);
  parts.Sign();
  EXPECT_THAT(parts.Parse(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("the tensor time1.weight is not finite")));
  parts = Parts();
  parts.records["data/7"][0] ^= 1;
  EXPECT_THAT(parts.Parse(),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("the parameters do not match their SHA-256")));
}

// What only the size of the file can tell.
TEST(PlainCheckpointTest, HugeNetworksInSmallFilesAreRefused) {
  Parts parts;
  parts.metadata.unet.channels = {4096, 4096, 4096};
  EXPECT_THAT(parts.Parse(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("too few for the network")));
}

TEST(PlainCheckpointTest, OtherFilesAreNamedAsWhatTheyAre) {
  const auto invalid = [](const char* what) { return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(what)); };
  EXPECT_THAT(ParsePlainCheckpoint("f", ""), invalid("f is empty"));
  EXPECT_THAT(ParsePlainCheckpoint("f", "GIF89a"), invalid("f is not a TorchScript archive"));
  EXPECT_THAT(ParsePlainCheckpoint("f", Slurp(kModel).substr(0, 10000)),
              invalid("f is a damaged or truncated archive"));
  EXPECT_THAT(ParsePlainCheckpoint("f", ZipOf({{"a/b", "c"}})), invalid("f holds no denoised.json"));
  EXPECT_THAT(ParsePlainCheckpoint("f", ZipOf({{"a/extra/denoised.json", "{"}})),
              invalid("f: denoised.json in the checkpoint is not what this build expects"));
  EXPECT_THAT(
      LoadPlainCheckpoint("/nowhere/m.pt"),
      StatusIs(
          absl::StatusCode::kNotFound,
          "cannot load the checkpoint: cannot open /nowhere/m.pt: No such file or directory; name an existing one, "
          "or train one with denoise-train"));
}

}  // namespace
}  // namespace denoised
