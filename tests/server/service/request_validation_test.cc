#include "server/service/request_validation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "common/image/resize.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/service/grpc_status.h"
#include "server/service/request_size.h"
#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

class RequestValidationTest : public testing::Test {
 protected:
  RequestValidationTest() {
    model_.null_label = 10;
    request_.set_digit(7);
  }

  absl::StatusOr<ValidRequest> Validate() const {
    return ValidateRequest(request_, model_, *NoiseSchedule::Create(model_.noise_schedule), /*max_images=*/100,
                           /*random_seed=*/99);
  }

  void ExpectRefusal(const std::string& message) const {
    EXPECT_THAT(Validate(), StatusIs(absl::StatusCode::kInvalidArgument, message));
  }

  ModelMetadata model_;
  v1::GenerateDigitRequest request_;
};

TEST_F(RequestValidationTest, DigitAloneGetsEveryDefault) {
  const absl::StatusOr<ValidRequest> valid = Validate();
  ASSERT_THAT(valid, IsOk());
  EXPECT_EQ(valid->draw.label, 7);
  EXPECT_EQ(valid->draw.count, 1u);
  EXPECT_EQ(valid->draw.seed, 99u);
  EXPECT_EQ(valid->draw.sampler, SamplerType::kDdpm);
  EXPECT_EQ(valid->draw.plan->size(), 1000u);
  EXPECT_EQ(valid->draw.guidance_scale, 1);
  EXPECT_EQ(valid->draw.preview_every, 0u);
  EXPECT_EQ(valid->draw.priority, Priority::kInteractive);
  EXPECT_EQ(valid->format.size, 256);
  EXPECT_EQ(valid->format.interpolation, Interpolation::kCubic);
}

TEST_F(RequestValidationTest, StudentDrawsTheChainThatItHasLearnt) {
  model_.distilled_steps = 4;
  for (const v1::Sampler sampler : {v1::SAMPLER_UNSPECIFIED, v1::SAMPLER_DDIM}) {
    for (const uint32_t steps : {0, 4}) {
      request_.set_sampler(sampler);
      request_.set_steps(steps);
      const absl::StatusOr<ValidRequest> valid = Validate();
      ASSERT_THAT(valid, IsOk());
      EXPECT_EQ(valid->draw.sampler, SamplerType::kDdim);
      EXPECT_EQ(valid->draw.plan->size(), 4u);
    }
  }
}

TEST_F(RequestValidationTest, StudentDrawsNoOtherChain) {
  model_.distilled_steps = 4;
  request_.set_sampler(v1::SAMPLER_DDPM);
  request_.set_steps(20);
  request_.set_eta(0.5);
  ExpectRefusal(
      "sampler must be SAMPLER_DDIM, or left out: this model has learnt to draw in 4 steps of it alone, got "
      "SAMPLER_DDPM; steps must be 4, or 0: this model has learnt no other chain, got 20; eta must be 0: this model "
      "has learnt a chain without fresh noise, got 0.5");
}

TEST_F(RequestValidationTest, ZeroIsADigitAndASeed) {
  request_.set_digit(0);
  request_.set_seed(0);
  const absl::StatusOr<ValidRequest> valid = Validate();
  ASSERT_THAT(valid, IsOk());
  EXPECT_EQ(valid->draw.label, 0);
  EXPECT_EQ(valid->draw.seed, 0u);
}

TEST_F(RequestValidationTest, NumbersOfImagesFit) {
  request_.set_first_image(5);
  EXPECT_EQ(Validate()->draw.first_image, 5u);
  request_.set_first_image(4294967295u);
  ExpectRefusal("first_image must be at most 4294967294, got 4294967295");
}

TEST_F(RequestValidationTest, FastSamplersHaveTheirOwnDefaults) {
  request_.set_sampler(v1::SAMPLER_DDIM);
  EXPECT_EQ(Validate()->draw.plan->size(), 50u);
  request_.set_sampler(v1::SAMPLER_DPM_SOLVER_PP_2M);
  EXPECT_EQ(Validate()->draw.plan->size(), 20u);
}

TEST_F(RequestValidationTest, EveryFieldArrives) {
  request_.set_count(3);
  request_.set_seed(5);
  request_.set_sampler(v1::SAMPLER_DDIM);
  request_.set_steps(10);
  request_.set_eta(1);
  request_.set_guidance_scale(2);
  request_.mutable_preview()->set_every_steps(4);
  request_.mutable_preview()->set_kind(v1::PREVIEW_KIND_PREDICTED_CLEAN);
  request_.set_priority(v1::PRIORITY_BATCH);
  request_.mutable_image()->set_size(64);
  request_.mutable_image()->set_interpolation(v1::INTERPOLATION_NEAREST);
  const absl::StatusOr<ValidRequest> valid = Validate();
  ASSERT_THAT(valid, IsOk());
  EXPECT_EQ(valid->draw.count, 3u);
  EXPECT_EQ(valid->draw.seed, 5u);
  EXPECT_EQ(valid->draw.sampler, SamplerType::kDdim);
  EXPECT_EQ(valid->draw.plan->size(), 10u);
  EXPECT_NE(valid->draw.plan->at(0).d, 0) << "eta adds noise";
  EXPECT_EQ(valid->draw.guidance_scale, 2);
  EXPECT_EQ(valid->draw.preview_every, 4u);
  EXPECT_EQ(valid->draw.preview_kind, FrameKind::kPredictedClean);
  EXPECT_EQ(valid->draw.priority, Priority::kBatch);
  EXPECT_EQ(valid->format.size, 64);
  EXPECT_EQ(valid->format.interpolation, Interpolation::kNearest);
}

TEST_F(RequestValidationTest, MissingDigitIsNotZero) {
  request_.clear_digit();
  ExpectRefusal("digit is required: 0 to 9, or class_name in its place");
}

TEST_F(RequestValidationTest, DigitOutOfRange) {
  request_.set_digit(10);
  ExpectRefusal("digit must be 0 to 9, got 10");
  request_.set_digit(-1);
  ExpectRefusal("digit must be 0 to 9, got -1");
}

// ---- Classes that are no digits ----

class NamedClassesTest : public RequestValidationTest {
 protected:
  NamedClassesTest() {
    model_.class_names = {"cat", "dog", "bird"};
    request_.clear_digit();
  }
};

TEST_F(NamedClassesTest, AreNamedByNumberOrByName) {
  request_.set_digit(2);
  EXPECT_EQ(Validate()->draw.label, 2);
  request_.clear_digit();
  request_.set_class_name("dog");
  EXPECT_EQ(Validate()->draw.label, 1);
  request_.set_class_name("Bird");
  EXPECT_EQ(Validate()->draw.label, 2);
}

TEST_F(NamedClassesTest, OneOfTheTwoIsNeeded) {
  ExpectRefusal(
      "digit is required: 0 to 2, or class_name in its place; the classes are 0 \"cat\", 1 \"dog\" and 2 \"bird\"");
}

TEST_F(NamedClassesTest, BothAreRefusedEvenIfTheyAgree) {
  request_.set_digit(1);
  request_.set_class_name("dog");
  ExpectRefusal("class_name is in the place of digit: send one of the two, not both");
}

TEST_F(NamedClassesTest, NumbersBeyondThemAreTold) {
  request_.set_digit(3);
  ExpectRefusal("digit must be 0 to 2, got 3; the classes are 0 \"cat\", 1 \"dog\" and 2 \"bird\"");
}

TEST_F(NamedClassesTest, UnknownNamesAreToldBesideOtherMistakes) {
  request_.set_class_name("Brid");
  request_.mutable_image()->set_size(31);
  ExpectRefusal(
      "class_name must be one of \"cat\", \"dog\" and \"bird\", got \"Brid\"; did you mean \"bird\"?; image.size must "
      "be 32 to 1024 pixels, "
      "got 31");
}

TEST_F(NamedClassesTest, NamesThatAreNoneFitIntoAnAnswer) {
  for (const std::string& name :
       {std::string(10'000, 'x'), std::string("a\0\x1b[2J\n", 8), std::string(10'000, '\n')}) {
    request_.set_class_name(name);
    const grpc::Status status = ToGrpcStatus(Validate().status());
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_LT(status.error_message().size(), 200u);
    EXPECT_EQ(status.error_message().find_first_of(std::string("\0\x1b\n", 3)), std::string::npos);
    google::rpc::Status details;
    ASSERT_TRUE(details.ParseFromString(status.error_details()));
    google::rpc::BadRequest bad;
    ASSERT_TRUE(details.details(0).UnpackTo(&bad));
    EXPECT_EQ(bad.field_violations(0).field(), "class_name");
  }
}

TEST_F(RequestValidationTest, DigitsHaveNamesToo) {
  request_.clear_digit();
  request_.set_class_name("3");
  EXPECT_EQ(Validate()->draw.label, 3);
  request_.set_class_name("seven");
  ExpectRefusal(
      "class_name must be one of \"0\", \"1\", \"2\", \"3\", \"4\", \"5\", \"6\", \"7\", \"8\" and \"9\", got "
      "\"seven\"");
}

TEST_F(RequestValidationTest, SizeOutOfRange) {
  request_.mutable_image()->set_size(31);
  ExpectRefusal("image.size must be 32 to 1024 pixels, got 31");
  request_.mutable_image()->set_size(100000);
  ExpectRefusal("image.size must be 32 to 1024 pixels, got 100000");
  request_.mutable_image()->set_size(std::numeric_limits<uint32_t>::max());
  ExpectRefusal("image.size must be 32 to 1024 pixels, got 4294967295");
}

TEST_F(RequestValidationTest, SizesAtTheLimitsAreTaken) {
  for (const uint32_t size : {32u, 1024u}) {
    request_.mutable_image()->set_size(size);
    EXPECT_THAT(Validate(), IsOk());
  }
}

TEST_F(RequestValidationTest, CountOutOfRange) {
  request_.set_count(101);
  ExpectRefusal("count must be at most 100 on this server, got 101");
}

TEST_F(RequestValidationTest, StepsOutOfRange) {
  request_.set_steps(1001);
  ExpectRefusal("steps must be 1 to 1000, or 0 for the sampler's default, got 1001");
}

TEST_F(RequestValidationTest, EtaOutOfRangeOrNotANumber) {
  request_.set_sampler(v1::SAMPLER_DDIM);
  request_.set_eta(1.5f);
  ExpectRefusal("eta must be 0 to 1, got 1.5");
  request_.set_eta(std::nanf(""));
  ExpectRefusal("eta must be 0 to 1, got nan");
}

TEST_F(RequestValidationTest, EtaBelongsToDdim) {
  request_.set_eta(0.5f);
  ExpectRefusal("eta is for SAMPLER_DDIM only; leave it out or choose that sampler");
}

TEST_F(RequestValidationTest, GuidanceOutOfRange) {
  request_.set_guidance_scale(0.5f);
  ExpectRefusal("guidance_scale must be 1 (off) to 10, got 0.5");
  request_.set_guidance_scale(std::numeric_limits<float>::infinity());
  ExpectRefusal("guidance_scale must be 1 (off) to 10, got inf");
}

TEST_F(RequestValidationTest, GuidanceNeedsACheckpointThatLearnedTheNullLabel) {
  model_.null_label.reset();
  request_.set_guidance_scale(2);
  ExpectRefusal(
      "guidance_scale must be 1 (off) here, got 2: this checkpoint was trained without label dropout, so it cannot "
      "guide");
  request_.set_guidance_scale(1);
  EXPECT_THAT(Validate(), IsOk());
}

TEST_F(RequestValidationTest, PriorityIsKnown) {
  request_.set_priority(static_cast<v1::Priority>(7));
  ExpectRefusal("priority must be PRIORITY_INTERACTIVE or PRIORITY_BATCH, got 7");
}

TEST_F(RequestValidationTest, UnknownEnumValues) {
  request_.set_sampler(static_cast<v1::Sampler>(17));
  ExpectRefusal("sampler must be SAMPLER_DDPM, SAMPLER_DDIM or SAMPLER_DPM_SOLVER_PP_2M, got 17");
  request_.clear_sampler();
  request_.mutable_preview()->set_kind(static_cast<v1::PreviewKind>(9));
  ExpectRefusal("preview.kind must be PREVIEW_KIND_NOISY or PREVIEW_KIND_PREDICTED_CLEAN, got 9");
  request_.clear_preview();
  request_.mutable_image()->set_interpolation(static_cast<v1::Interpolation>(-3));
  ExpectRefusal("image.interpolation must be INTERPOLATION_NEAREST, _LINEAR, _CUBIC or _LANCZOS, got -3");
}

TEST_F(RequestValidationTest, SixtyFourKibibytesAreEnough) {
  google::protobuf::UnknownFieldSet& rest = *request_.GetReflection()->MutableUnknownFields(&request_);
  const size_t framing = request_.ByteSizeLong() + 5;  // a tag of two bytes, a length of three
  rest.AddLengthDelimited(99, std::string(kMaxRequestBytes - framing, 'a'));
  EXPECT_THAT(Validate(), IsOk());
  rest.AddVarint(99, 1);
  ExpectRefusal(
      "the request has 65539 bytes, and may have 65536 at most: shorten its texts, and leave out fields that "
      "denoised.v1.GenerateDigitRequest does not have");
}

TEST_F(RequestValidationTest, AllViolationsAreToldAtOnce) {
  request_.set_digit(10);
  request_.mutable_image()->set_size(31);
  const absl::Status status = Validate().status();
  EXPECT_EQ(status.message(), "digit must be 0 to 9, got 10; image.size must be 32 to 1024 pixels, got 31");
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(ToGrpcStatus(status).error_details()));
  google::rpc::BadRequest bad;
  ASSERT_TRUE(details.details(0).UnpackTo(&bad));
  ASSERT_EQ(bad.field_violations_size(), 2);
  EXPECT_EQ(bad.field_violations(0).field(), "digit");
}

}  // namespace
}  // namespace denoised
