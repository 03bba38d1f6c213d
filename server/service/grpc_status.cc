#include "server/service/grpc_status.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <string_view>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/support/utf8.h"
#include "google/protobuf/util/time_util.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/scheduler/scheduler.h"

namespace denoised {
namespace {

constexpr char kBadRequestUrl[] = "type.googleapis.com/google.rpc.BadRequest";

// Clients take 8 KiB of trailers and make RESOURCE_EXHAUSTED, a reason to try again, of more. In them a byte of the
// text takes up to three, and the details, which repeat the text, four for three.
constexpr size_t kMaxMessageBytes = 1000;
constexpr size_t kMaxDetailsBytes = 2500;

// Valid UTF-8 of at most kMaxMessageBytes, whatever the engine's or the client's words were.
std::string BoundedText(std::string_view text) {
  constexpr std::string_view kCut = "...";
  std::string bounded;
  while (!text.empty()) {
    const size_t size = LetterBytes(text);
    const std::string_view next = size == 0 ? "?" : text.substr(0, size);
    if (bounded.size() + next.size() + kCut.size() > kMaxMessageBytes) return bounded.append(kCut);
    bounded.append(next);
    text.remove_prefix(std::max<size_t>(size, 1));
  }
  return bounded;
}

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
  details.set_message(BoundedText(std::string_view(status.message().data(), status.message().size())));
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
  const bool sendable = !details.details().empty() && details.ByteSizeLong() <= kMaxDetailsBytes;
  const std::string bytes = sendable ? details.SerializeAsString() : "";
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), details.message(), bytes);
}

}  // namespace denoised
