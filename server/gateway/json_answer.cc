#include "server/gateway/json_answer.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>

#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace denoised {
namespace {

using nlohmann::ordered_json;

// As google.rpc.Code's comments say; 499 is what servers use for a client that has gone.
int HttpStatus(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::OK:
      return 200;
    case grpc::StatusCode::CANCELLED:
      return 499;
    case grpc::StatusCode::INVALID_ARGUMENT:
    case grpc::StatusCode::FAILED_PRECONDITION:
    case grpc::StatusCode::OUT_OF_RANGE:
      return 400;
    case grpc::StatusCode::UNAUTHENTICATED:
      return 401;
    case grpc::StatusCode::PERMISSION_DENIED:
      return 403;
    case grpc::StatusCode::NOT_FOUND:
      return 404;
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return 429;
    case grpc::StatusCode::UNIMPLEMENTED:
      return 501;
    case grpc::StatusCode::UNAVAILABLE:
      return 503;
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return 504;
    default:
      return 500;
  }
}

google::rpc::Status Parsed(const grpc::Status& status) {
  google::rpc::Status parsed;
  if (!parsed.ParseFromString(status.error_details())) parsed.Clear();
  return parsed;
}

// Details of a kind that this program does not know cannot be written as JSON, and are left out.
ordered_json DetailsOf(const google::rpc::Status& status) {
  ordered_json details = ordered_json::array();
  for (const google::protobuf::Any& detail : status.details()) {
    std::string text;
    if (google::protobuf::util::MessageToJsonString(detail, &text).ok()) details.push_back(ordered_json::parse(text));
  }
  return details;
}

// Whole seconds, as the header has them, and none too early.
std::optional<int64_t> RetryAfter(const google::rpc::Status& status) {
  google::rpc::RetryInfo retry;
  for (const google::protobuf::Any& detail : status.details()) {
    if (detail.Is<google::rpc::RetryInfo>() && detail.UnpackTo(&retry)) {
      return std::max<int64_t>(retry.retry_delay().seconds() + (retry.retry_delay().nanos() > 0 ? 1 : 0), 1);
    }
  }
  return std::nullopt;
}

}  // namespace

std::string JsonLine(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.always_print_primitive_fields = true;
  std::string line;
  if (const auto written = google::protobuf::util::MessageToJsonString(message, &line, options); !written.ok()) {
    return ErrorLine(grpc::Status(grpc::StatusCode::INTERNAL, written.ToString()));
  }
  return line.append("\n");
}

std::string ErrorLine(const grpc::Status& status) {
  ordered_json error = {{"code", static_cast<int>(status.error_code())},
                        {"status", absl::StatusCodeToString(static_cast<absl::StatusCode>(status.error_code()))},
                        {"message", status.error_message()}};
  if (ordered_json details = DetailsOf(Parsed(status)); !details.empty()) error["details"] = std::move(details);
  return absl::StrCat(
      ordered_json{{"error", std::move(error)}}.dump(-1, ' ', false, ordered_json::error_handler_t::replace), "\n");
}

HttpResponse ErrorAnswer(const grpc::Status& status) {
  HttpResponse response{.status = HttpStatus(status.error_code()),
                        .content_type = "application/json",
                        .body = ErrorLine(status),
                        .headers = {{"Cache-Control", "no-store"}},
                        .error = status.error_message()};
  if (response.status == 401) response.headers.emplace_back("WWW-Authenticate", "Bearer");
  if (const std::optional<int64_t> seconds = RetryAfter(Parsed(status)); seconds.has_value()) {
    response.headers.emplace_back("Retry-After", absl::StrCat(*seconds));
  }
  return response;
}

HttpResponse ErrorAnswer(const absl::Status& status) {
  return ErrorAnswer(grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message())));
}

}  // namespace denoised
