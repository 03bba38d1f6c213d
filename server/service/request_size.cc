#include "server/service/request_size.h"

#include "absl/strings/str_cat.h"

namespace denoised {

absl::Status CheckRequestSize(const google::protobuf::MessageLite& request) {
  const size_t bytes = request.ByteSizeLong();
  if (bytes <= kMaxRequestBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("the request has ", bytes, " bytes, and may have ", kMaxRequestBytes,
                                                 " at most: shorten its texts, and leave out fields that ",
                                                 request.GetTypeName(), " does not have"));
}

}  // namespace denoised
