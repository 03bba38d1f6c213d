#include "server/service/grpc_status.h"

#include <chrono>
#include <optional>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "google/protobuf/util/time_util.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/scheduler/scheduler.h"

namespace denoised {
namespace {

constexpr char kBadRequestUrl[] = "type.googleapis.com/google.rpc.BadRequest";

}  // namespace

absl::Status BadRequestStatus(const std::vector<FieldViolation>& violations) {
  google::rpc::BadRequest details;
  for (const FieldViolation& violation : violations) {
    google::rpc::BadRequest::FieldViolation& added = *details.add_field_violations();
    added.set_field(violation.field);
    added.set_description(violation.description);
  }
  absl::Status status =
      absl::InvalidArgumentError(absl::StrJoin(violations, "; ", [](std::string* out, const FieldViolation& violation) {
        absl::StrAppend(out, violation.field, " ", violation.description);
      }));
  status.SetPayload(kBadRequestUrl, absl::Cord(details.SerializeAsString()));
  return status;
}

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  google::rpc::Status details;
  details.set_code(static_cast<int>(status.code()));
  details.set_message(std::string(status.message()));
  if (const absl::optional<absl::Cord> payload = status.GetPayload(kBadRequestUrl); payload.has_value()) {
    google::protobuf::Any& any = *details.add_details();
    any.set_type_url(kBadRequestUrl);
    any.set_value(std::string(*payload));
  }
  if (const std::optional<std::chrono::nanoseconds> wait = GetRetryAfter(status); wait.has_value()) {
    google::rpc::RetryInfo retry;
    *retry.mutable_retry_delay() = google::protobuf::util::TimeUtil::NanosecondsToDuration(wait->count());
    details.add_details()->PackFrom(retry);
  }
  const std::string bytes = details.details().empty() ? "" : details.SerializeAsString();
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), details.message(), bytes);
}

}  // namespace denoised
