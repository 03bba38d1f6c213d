// File: request_size.h
//
// The most bytes that a request may have: of strangers, who send anything.
//
//   DENOISED_RETURN_IF_ERROR(CheckRequestSize(*request));
//
// gRPC takes more (transport_options.h), so that such a request reaches its service and leaves a line and a count.
// INVALID_ARGUMENT, as the same request will never do: what gRPC itself says, RESOURCE_EXHAUSTED, is tried again.
// Pure and thread-safe.
#ifndef DENOISED_SERVER_SERVICE_REQUEST_SIZE_H_
#define DENOISED_SERVER_SERVICE_REQUEST_SIZE_H_

#include <google/protobuf/message_lite.h>

#include <cstddef>

#include "absl/status/status.h"

namespace denoised {

// In bytes; a request is a few dozen.
inline constexpr size_t kMaxRequestBytes = 64 << 10;

// Counts what was kept of the message: of a field that came twice, the last one.
absl::Status CheckRequestSize(const google::protobuf::MessageLite& request);

}  // namespace denoised

#endif  // DENOISED_SERVER_SERVICE_REQUEST_SIZE_H_
