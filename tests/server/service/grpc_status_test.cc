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
