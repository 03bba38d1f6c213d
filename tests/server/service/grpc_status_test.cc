#include "server/service/grpc_status.h"

#include <gtest/gtest.h>

#include <chrono>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/scheduler/scheduler.h"

namespace denoised {
namespace {

google::rpc::Status Details(const grpc::Status& status) {
  google::rpc::Status details;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  return details;
}

TEST(GrpcStatusTest, OkIsOk) { EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok()); }

TEST(GrpcStatusTest, CodeAndMessageCarryOver) {
  const grpc::Status status = ToGrpcStatus(absl::UnavailableError("draining"));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(status.error_message(), "draining");
  EXPECT_EQ(status.error_details(), "");
}

TEST(GrpcStatusTest, BadRequestNamesEveryField) {
  const absl::Status bad =
      BadRequestStatus({{"digit", "must be 0 to 9, got 10"}, {"image.size", "must be 32 to 1024, got 31"}});
  const grpc::Status status = ToGrpcStatus(bad);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), "digit must be 0 to 9, got 10; image.size must be 32 to 1024, got 31");
  const google::rpc::Status details = Details(status);
  ASSERT_EQ(details.details_size(), 1);
  google::rpc::BadRequest request;
  ASSERT_TRUE(details.details(0).UnpackTo(&request));
  ASSERT_EQ(request.field_violations_size(), 2);
  EXPECT_EQ(request.field_violations(1).field(), "image.size");
  EXPECT_EQ(request.field_violations(1).description(), "must be 32 to 1024, got 31");
}

// Field report "a bad request arrives as RESOURCE_EXHAUSTED": trailers over 8 KiB, from an engine's backtrace for
// example.
TEST(GrpcStatusTest, LongTextsAreCut) {
  const grpc::Status status = ToGrpcStatus(absl::InternalError(std::string(20'000, 'x')));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_EQ(status.error_message(), std::string(997, 'x') + "...");
}

TEST(GrpcStatusTest, TextsAreCutBetweenCharacters) {
  std::string text;
  while (text.size() < 2000) text += "ü€";
  const std::string cut = ToGrpcStatus(absl::InternalError(text)).error_message();
  EXPECT_LE(cut.size(), 1000u);
  EXPECT_GT(cut.size(), 990u);
  EXPECT_EQ(cut, text.substr(0, cut.size() - 3) + "...");
  EXPECT_EQ((cut.size() - 3) % 5 % 2, 0u) << "must end after a whole character of two and three bytes";
}

TEST(GrpcStatusTest, TextsAreValidUtf8) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"a\xffz", "a?z"},             // no such byte
      {"\xc3", "?"},                 // the end of a character is missing
      {"\xc3z", "?z"},               // another begins in it
      {"\xc0\xaf", "??"},            // longer than it need be
      {"\xe0\x80\xaf", "???"},       // so is this
      {"\xed\xa0\x80", "???"},       // half of a pair
      {"\xf4\x90\x80\x80", "????"},  // beyond Unicode
      {"\xf0\x9f\x98\x80 ü€", "\xf0\x9f\x98\x80 ü€"},
  };
  for (const auto& [text, valid] : cases) {
    EXPECT_EQ(ToGrpcStatus(absl::InternalError(text)).error_message(), valid);
  }
}

TEST(GrpcStatusTest, DetailsThatDoNotFitAreLeftOut) {
  const grpc::Status status = ToGrpcStatus(BadRequestStatus({{"digit", std::string(20'000, 'x')}}));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_details(), "");
}

TEST(GrpcStatusTest, RetryInfoCarriesTheWait) {
  absl::Status full = absl::ResourceExhaustedError("full");
  SetRetryAfter(full, std::chrono::milliseconds(1500));
  const google::rpc::Status details = Details(ToGrpcStatus(full));
  ASSERT_EQ(details.details_size(), 1);
  google::rpc::RetryInfo retry;
  ASSERT_TRUE(details.details(0).UnpackTo(&retry));
  EXPECT_EQ(retry.retry_delay().seconds(), 1);
  EXPECT_EQ(retry.retry_delay().nanos(), 500'000'000);
  EXPECT_EQ(details.code(), static_cast<int>(grpc::StatusCode::RESOURCE_EXHAUSTED));
}

}  // namespace
}  // namespace denoised
