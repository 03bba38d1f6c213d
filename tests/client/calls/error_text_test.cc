#include "client/calls/error_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace denoised {
namespace {

grpc::Status WithDetail(grpc::StatusCode code, const std::string& message, const google::protobuf::Message& detail) {
  google::rpc::Status rich;
  rich.set_code(code);
  rich.set_message(message);
  rich.add_details()->PackFrom(detail);
  return grpc::Status(code, message, rich.SerializeAsString());
}

TEST(ErrorTextTest, EachViolationNamesTheFlag) {
  google::rpc::BadRequest bad;
  const std::vector<std::pair<std::string, std::string>> violations = {
      {"digit", "must be 0 to 9, got 10"},
      {"class_name", "is odd"},
      {"image.size", "must be 32 to 1024 pixels, got 31"},
      {"preview.every_steps", "is odd"},
      {"preview.kind", "is odd"},
      {"first_image", "is odd"},
      {"sampler", "must be SAMPLER_DDPM, SAMPLER_DDIM or SAMPLER_DPM_SOLVER_PP_2M, got 9"},
  };
  for (const auto& [field, description] : violations) {
    auto& violation = *bad.add_field_violations();
    violation.set_field(field);
    violation.set_description(description);
  }
  EXPECT_EQ(ErrorText(WithDetail(grpc::StatusCode::INVALID_ARGUMENT, "bad", bad), "host:1", Reach::kAnswered),
            "--digit: must be 0 to 9, got 10\n"
            "--digit: is odd\n"
            "--size: must be 32 to 1024 pixels, got 31\n"
            "--preview_every: is odd\n"
            "--preview_kind: is odd\n"
            "--index: is odd\n"
            "--sampler: must be ddpm, ddim or dpm_solver_pp_2m, got 9");
}

TEST(ErrorTextTest, CountIsCalledAsTheCallerSays) {
  google::rpc::BadRequest bad;
  auto& violation = *bad.add_field_violations();
  violation.set_field("count");
  violation.set_description("must be at most 100, got 200");
  const grpc::Status status = WithDetail(grpc::StatusCode::INVALID_ARGUMENT, "bad", bad);
  EXPECT_EQ(ErrorText(status, "host:1", Reach::kAnswered), "--count: must be at most 100, got 200");
  EXPECT_EQ(ErrorText(status, "host:1", Reach::kAnswered, "--per_digit"), "--per_digit: must be at most 100, got 200");
}

TEST(ErrorTextTest, UnreachableServerSaysWhatToDo) {
  EXPECT_EQ(ErrorText({grpc::StatusCode::UNAVAILABLE, "Connection refused"}, "host:1", Reach::kUnreachable),
            "cannot reach a server at host:1; start one with `denoised`, or name another with --server "
            "(Connection refused)");
}

TEST(ErrorTextTest, LostServerIsNotCalledUnreachable) {
  EXPECT_EQ(ErrorText({grpc::StatusCode::UNAVAILABLE, "Socket closed"}, "host:1", Reach::kLost),
            "the server at host:1 went away in the middle of the call; try again (Socket closed)");
}

TEST(ErrorTextTest, DeadlineNamesItsFlag) {
  EXPECT_EQ(ErrorText({grpc::StatusCode::DEADLINE_EXCEEDED, "Deadline Exceeded"}, "host:1", Reach::kAnswered),
            "--timeout: not finished in time; allow more, or draw in fewer --steps");
  EXPECT_EQ(ErrorText({grpc::StatusCode::DEADLINE_EXCEEDED, "0.5 s are left"}, "host:1", Reach::kAnswered),
            "--timeout: 0.5 s are left");
}

TEST(ErrorTextTest, OtherServersAreNotMistakenForOurs) {
  EXPECT_EQ(ErrorText({grpc::StatusCode::UNIMPLEMENTED, "unknown service"}, "host:1", Reach::kAnswered),
            "the server at host:1 is not a denoised server, or another version of it (unknown service)");
}

TEST(ErrorTextTest, OtherTextsAreTheServers) {
  EXPECT_EQ(ErrorText({grpc::StatusCode::INTERNAL, "out of memory"}, "host:1", Reach::kAnswered),
            "the server at host:1 says: out of memory");
  EXPECT_EQ(ErrorText(grpc::Status(grpc::StatusCode::UNAUTHENTICATED, "no token"), "host:1", Reach::kAnswered),
            "--token_file: the server at host:1 says: no token");
}

TEST(RetryDelayTest, ComesFromTheDetails) {
  google::rpc::RetryInfo info;
  info.mutable_retry_delay()->set_seconds(1);
  info.mutable_retry_delay()->set_nanos(500'000'000);
  EXPECT_EQ(RetryDelay(WithDetail(grpc::StatusCode::RESOURCE_EXHAUSTED, "full", info)),
            std::chrono::milliseconds(1500));
}

TEST(RetryDelayTest, IsZeroWithoutOrWithOtherOrBrokenDetails) {
  EXPECT_EQ(RetryDelay({grpc::StatusCode::RESOURCE_EXHAUSTED, "full"}), std::chrono::nanoseconds(0));
  EXPECT_EQ(RetryDelay(WithDetail(grpc::StatusCode::RESOURCE_EXHAUSTED, "full", google::rpc::BadRequest())),
            std::chrono::nanoseconds(0));
  EXPECT_EQ(RetryDelay({grpc::StatusCode::RESOURCE_EXHAUSTED, "full", "\xff\xff"}), std::chrono::nanoseconds(0));
}

}  // namespace
}  // namespace denoised
