#include "server/gateway/digit_query.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

using testing::HasSubstr;

TEST(ParseDigitQuery, EachParameterReachesItsField) {
  const auto request =
      ParseDigitQuery("7",
                      "seed=18446744073709551615&sampler=dpm_solver_pp_2m&steps=50&eta=0.5&guidance_scale=2&size=128&"
                      "interpolation=nearest&priority=batch&first_image=3");
  ASSERT_THAT(request, IsOk());
  EXPECT_EQ(request->digit(), 7);
  EXPECT_EQ(request->seed(), 18446744073709551615u);
  EXPECT_EQ(request->sampler(), v1::SAMPLER_DPM_SOLVER_PP_2M);
  EXPECT_EQ(request->steps(), 50u);
  EXPECT_FLOAT_EQ(request->eta(), 0.5f);
  EXPECT_FLOAT_EQ(request->guidance_scale(), 2.0f);
  EXPECT_EQ(request->image().size(), 128u);
  EXPECT_EQ(request->image().interpolation(), v1::INTERPOLATION_NEAREST);
  EXPECT_EQ(request->priority(), v1::PRIORITY_BATCH);
  EXPECT_EQ(request->first_image(), 3u);
}

TEST(ParseDigitQuery, NothingNeedsToBeSaid) {
  const auto request = ParseDigitQuery("0", "");
  ASSERT_THAT(request, IsOk());
  EXPECT_TRUE(request->has_digit());
  EXPECT_FALSE(request->has_seed());
}

TEST(ParseDigitQuery, EscapesAreRead) {
  const auto request = ParseDigitQuery("3", "sampler=%64dim");
  ASSERT_THAT(request, IsOk());
  EXPECT_EQ(request->sampler(), v1::SAMPLER_DDIM);
}

TEST(ParseDigitQuery, DigitsAreTheClasssNumber) {
  EXPECT_EQ(ParseDigitQuery("12", "")->digit(), 12) << "the service knows how many there are";
  EXPECT_EQ(ParseDigitQuery("-1", "")->digit(), -1);
}

TEST(ParseDigitQuery, AllElseIsTheClasssName) {
  const auto request = ParseDigitQuery("Ankle%20boot", "seed=1");
  ASSERT_THAT(request, IsOk());
  EXPECT_EQ(request->class_name(), "Ankle boot");
  EXPECT_FALSE(request->has_digit());
  EXPECT_EQ(ParseDigitQuery("T-shirt%2Ftop", "")->class_name(), "T-shirt/top");
  EXPECT_EQ(ParseDigitQuery("a+b", "")->class_name(), "a+b") << "only in a query it is a space";
  EXPECT_EQ(ParseDigitQuery("Fu%C3%9Fball", "")->class_name(), "Fußball");
  EXPECT_EQ(ParseDigitQuery("-", "")->class_name(), "-");
}

struct BadQuery {
  std::string digit;
  std::string query;
  std::string words;
};
class BadDigitQueryTest : public testing::TestWithParam<BadQuery> {};

TEST_P(BadDigitQueryTest, IsRefusedInWords) {
  EXPECT_THAT(ParseDigitQuery(GetParam().digit, GetParam().query),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(GetParam().words)));
}

INSTANTIATE_TEST_SUITE_P(
    Queries, BadDigitQueryTest,
    testing::Values(
        BadQuery{"", "",
                 "the picture's name must be a class's number or its name in percent-encoded UTF-8, such as 7.png or "
                 "Ankle%20boot.png, got \".png\""},
        BadQuery{"12345678901", "", "got \"12345678901.png\""}, BadQuery{"a%2", "", "got \"a%2.png\""},
        BadQuery{"Fu%DFball", "", "got \"Fu%DFball.png\""},
        BadQuery{"Fu\xdf"
                 "ball",
                 "", "got \"Fu\\xdfball.png\""},
        BadQuery{"7", "sed=1",
                 "there is no parameter \"sed\"; there are eta, first_image, guidance_scale, interpolation, priority, "
                 "sampler, seed, size, steps"},
        BadQuery{"7", "seed=-1", "seed must be a whole number up to 18446744073709551615, got \"-1\""},
        BadQuery{"7", "seed=", "seed must be a whole number"},
        BadQuery{"7", "seed=18446744073709551616", "got \"18446744073709551616\""},
        BadQuery{"7", "seed= 1", "seed must be"},
        BadQuery{"7", "steps=1.5", "steps must be a whole number up to 4294967295"},
        BadQuery{"7", "eta=nan", "eta must be a number, got \"nan\""},
        BadQuery{"7", "sampler=euler", "sampler must be one of ddpm, ddim, dpm_solver_pp_2m, got \"euler\""},
        BadQuery{"7", "sampler=%0a%zz", "\"sampler\" has a \"%\" that no two hexadecimal digits follow"},
        BadQuery{"7", "sampler=%0a", "got \"\\n\""}));

TEST(ParseDigitBody, IsProto3Json) {
  const auto request = ParseDigitBody(R"({"digit": 7, "seed": "18446744073709551615", "sampler": "SAMPLER_DDIM"})");
  ASSERT_THAT(request, IsOk());
  EXPECT_EQ(request->seed(), 18446744073709551615u);
  EXPECT_EQ(request->sampler(), v1::SAMPLER_DDIM);
}

TEST(ParseDigitBody, NamesAClass) {
  EXPECT_EQ(ParseDigitBody(R"({"className": "Ankle boot"})")->class_name(), "Ankle boot");
}

TEST(ParseDigitBody, WhatIsNoneIsRefusedInWords) {
  EXPECT_THAT(ParseDigitBody("digit=7"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("the body is not the JSON of a denoised.v1.GenerateDigitRequest, such as")));
  EXPECT_THAT(ParseDigitBody(R"({"digit": 7, "sampler": "ddim"})"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("; it may have digit, count, seed, sampler (SAMPLER_DDPM or SAMPLER_DDIM or ")));
  EXPECT_THAT(ParseDigitBody(R"({"digits": 7})"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("digits")));
}

// Found by fuzzing: whatever was sent came back, whole.
TEST(DigitQueryTest, MessagesAreShortWhateverWasSent) {
  const std::string x(3000, 'x');
  for (const std::string& query : {"size=" + x, x + "=1", x + "=%z"}) {
    EXPECT_LT(ParseDigitQuery("7", query).status().message().size(), 200u);
  }
  EXPECT_LT(ParseDigitBody("{\"" + x + "\": 1}").status().message().size(), 1200u);
}

}  // namespace
}  // namespace denoised
