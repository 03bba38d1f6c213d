#include "common/model/golden_record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/image/image.h"
#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr char kWhatToDo[] =
    "copy the checkpoint again, or let this machine draw anew with denoise-train --add_golden_draw FILE";

std::vector<GoldenRow> Rows() {
  ModelMetadata metadata;
  metadata.null_label = 10;
  return GoldenRowsOf(metadata);
}

GoldenRecord Record() {
  GoldenRecord record{.drawn_by = "a test", .images = {}};
  for (size_t row = 0; row < Rows().size(); ++row) {
    std::vector<float>& image = record.images.emplace_back(kModelPixels);
    for (int i = 0; i < kModelPixels; ++i) image[i] = std::sin(0.37f * static_cast<float>(i) + static_cast<float>(row));
  }
  return record;
}

std::string Json() { return SerializeGoldenRecord(Rows(), Record()); }

std::string Replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

absl::Status Refusal(const std::string& json) { return ParseGoldenRecord(Rows(), json).status(); }

testing::Matcher<absl::Status> IsDamaged(const std::string& why) {
  return StatusIs(absl::StatusCode::kInvalidArgument,
                  AllOf(HasSubstr("golden_draw.json in the checkpoint is not what this build expects ("),
                        HasSubstr(why), HasSubstr(absl::StrCat("); it is damaged: ", kWhatToDo))));
}

TEST(GoldenRecordTest, ComesBackToTheLastBit) {
  const absl::StatusOr<GoldenRecord> back = ParseGoldenRecord(Rows(), Json());
  ASSERT_THAT(back, IsOk());
  EXPECT_TRUE(*back == Record());
  EXPECT_EQ(back->drawn_by, "a test");
}

TEST(GoldenRecordTest, SameImagesGiveTheSameBytes) {
  EXPECT_EQ(Json(), Json());
  EXPECT_LT(Json().size(), kMaxGoldenRecordBytes / 4);
}

// For whoever implements the samplers in another language.
TEST(GoldenRecordTest, SaysHowEachImageIsDrawn) {
  EXPECT_THAT(Json(),
              HasSubstr(R"({"sampler":"ddpm","steps":4,"label":0,"guidance_scale":1.0,"seed":1,"pixels":[0.0,)"));
  EXPECT_THAT(Json(), HasSubstr(R"({"sampler":"dpm_solver_pp_2m","steps":4,"label":3,"guidance_scale":2.0,"seed":2,)"));
}

TEST(GoldenRecordTest, ChangedPixelIsFound) {
  const std::string json = Json();
  std::string changed = json;
  const size_t digit = json.find("0.", json.find("\"pixels\":[0.0,") + 14) + 2;
  changed[digit] = changed[digit] == '5' ? '6' : '5';
  EXPECT_THAT(Refusal(changed),
              StatusIs(absl::StatusCode::kDataLoss,
                       absl::StrCat("the pixels in golden_draw.json in the checkpoint do not match their SHA-256; the "
                                    "file is damaged: ",
                                    kWhatToDo)));
}

TEST(GoldenRecordTest, OtherVersionIsSaid) {
  EXPECT_THAT(Refusal(Replaced(Json(), "\"format_version\":1", "\"format_version\":2")),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       absl::StrCat("golden_draw.json in the checkpoint has format version 2, this build reads version "
                                    "1; use the denoised that belongs to it, or ",
                                    kWhatToDo)));
}

TEST(GoldenRecordTest, OtherRowsAreSaid) {
  for (const auto& [from, to] :
       {std::pair{"\"label\":3", "\"label\":4"}, std::pair{"\"seed\":1", "\"seed\":7"},
        std::pair{"\"steps\":4", "\"steps\":5"}, std::pair{"\"sampler\":\"ddim\"", "\"sampler\":\"x\""},
        std::pair{"\"guidance_scale\":2.0", "\"guidance_scale\":1.0"}}) {
    EXPECT_THAT(
        Refusal(Replaced(Json(), from, to)),
        StatusIs(absl::StatusCode::kFailedPrecondition,
                 absl::StrCat("golden_draw.json in the checkpoint is of other images than this build draws; use "
                              "the denoised that belongs to it, or ",
                              kWhatToDo)))
        << from;
  }
}

TEST(GoldenRecordTest, ARowTooFewIsSaid) {
  std::vector<GoldenRow> rows = Rows();
  rows.pop_back();
  GoldenRecord record = Record();
  record.images.pop_back();
  EXPECT_THAT(Refusal(SerializeGoldenRecord(rows, record)),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("is of other images than this build draws")));
}

TEST(GoldenRecordTest, DamageIsSaid) {
  EXPECT_THAT(Refusal(""), IsDamaged("parse error"));
  EXPECT_THAT(Refusal("{}"), IsDamaged("key 'format_version' not found"));
  EXPECT_THAT(Refusal("[7]"), IsDamaged("cannot use at()"));
  EXPECT_THAT(Refusal(Json().substr(0, 5000)), IsDamaged("parse error"));
  EXPECT_THAT(Refusal(Replaced(Json(), "[0.0,", "[")), IsDamaged("an image has 1023 pixels, expected 1024"));
  EXPECT_THAT(Refusal(Replaced(Json(), "[0.0,", "[true,")), IsDamaged("the pixel true is no number"));
  EXPECT_THAT(Refusal(Replaced(Json(), "[0.0,", "[1e99,")), IsDamaged("number overflow"));
  EXPECT_THAT(Refusal(Replaced(Json(), "\"format_version\":1", "\"format_version\":true")),
              IsDamaged("true is no integer"));
  EXPECT_THAT(Refusal(std::string(40, '[') + std::string(40, ']')), IsDamaged("more than 32 levels"));
}

TEST(GoldenRecordTest, OversizedFileIsNotRead) {
  EXPECT_THAT(Refusal(Json() + std::string(kMaxGoldenRecordBytes, ' ')),
              IsDamaged(absl::StrCat("bytes, more than ", kMaxGoldenRecordBytes)));
}

TEST(GoldenRecordTest, MessagesAreShortWhateverTheFileSays) {
  const std::string long_text(5000, 'x');
  EXPECT_LE(
      Refusal(Replaced(Json(), "\"format_version\":1", "\"format_version\":\"" + long_text + "\"")).message().size(),
      1024u);
  const absl::StatusOr<GoldenRecord> record = ParseGoldenRecord(Rows(), Replaced(Json(), "a test", long_text));
  ASSERT_THAT(record, IsOk());
  EXPECT_LE(record->drawn_by.size(), 512u);
}

}  // namespace
}  // namespace denoised
