#include "client/calls/error_text.h"

#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "google/protobuf/util/time_util.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace denoised {
namespace {

constexpr char kGrpcDeadlineText[] = "Deadline Exceeded";  // of a call that gRPC itself ended

template <typename Detail>
std::optional<Detail> FindDetail(const grpc::Status& status) {
  google::rpc::Status rich;
  if (!rich.ParseFromString(status.error_details())) return std::nullopt;
  for (const google::protobuf::Any& any : rich.details()) {
    Detail detail;
    if (any.UnpackTo(&detail)) return detail;
  }
  return std::nullopt;
}

// "image.size" is --size, and a class has one flag for its number and its name; flags are otherwise named as their
// fields.
std::string FlagOfField(const std::string& field, const std::string& count_flag) {
  if (field == "count") return count_flag;
  if (field == "class_name") return "--digit";
  if (field == "first_image") return "--index";
  if (field == "preview.every_steps") return "--preview_every";
  if (field == "preview.kind") return "--preview_kind";
  const size_t dot = field.rfind('.');
  return absl::StrCat("--", dot == std::string::npos ? field : field.substr(dot + 1));
}

// The proto's names for samplers in a server's text, as this program's flag spells them.
std::string WithFlagValues(const std::string& text) {
  return absl::StrReplaceAll(
      text, {{"SAMPLER_DDPM", "ddpm"}, {"SAMPLER_DDIM", "ddim"}, {"SAMPLER_DPM_SOLVER_PP_2M", "dpm_solver_pp_2m"}});
}

}  // namespace

std::string ErrorText(const grpc::Status& status, const std::string& server, Reach reach,
                      const std::string& count_flag) {
  switch (reach) {
    case Reach::kUnreachable:
      return absl::StrCat("cannot reach a server at ", server,
                          "; start one with `denoised`, or name another with --server (", status.error_message(), ")");
    case Reach::kLost:
      return absl::StrCat("the server at ", server, " went away in the middle of the call; try again (",
                          status.error_message(), ")");
    case Reach::kAnswered:
      break;
  }
  if (const auto bad_request = FindDetail<google::rpc::BadRequest>(status)) {
    return absl::StrJoin(bad_request->field_violations(), "\n", [&count_flag](std::string* out, const auto& violation) {
      absl::StrAppend(out, FlagOfField(violation.field(), count_flag), ": ", WithFlagValues(violation.description()));
    });
  }
  switch (status.error_code()) {
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      if (status.error_message() == kGrpcDeadlineText) {
        return "--timeout: not finished in time; allow more, or draw in fewer --steps";
      }
      return absl::StrCat("--timeout: ", status.error_message());
    case grpc::StatusCode::UNIMPLEMENTED:
      return absl::StrCat("the server at ", server, " is not a denoised server, or another version of it (",
                          status.error_message(), ")");
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::PERMISSION_DENIED:
      return absl::StrCat("--token_file: the server at ", server, " says: ", status.error_message());
    default:
      return absl::StrCat("the server at ", server, " says: ", status.error_message());
  }
}

std::chrono::nanoseconds RetryDelay(const grpc::Status& status) {
  const auto info = FindDetail<google::rpc::RetryInfo>(status);
  if (!info.has_value()) return std::chrono::nanoseconds(0);
  return std::chrono::nanoseconds(google::protobuf::util::TimeUtil::DurationToNanoseconds(info->retry_delay()));
}

}  // namespace denoised
