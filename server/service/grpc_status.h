// File: grpc_status.h
//
// The one place that turns an absl::Status into a gRPC status, with google.rpc details that clients can act on:
//
//   INVALID_ARGUMENT made by BadRequestStatus   google.rpc.BadRequest, a violation for each field
//   RESOURCE_EXHAUSTED with SetRetryAfter       google.rpc.RetryInfo
//
// Texts are made valid UTF-8 and cut after a thousand bytes, and details that are too big are left out: trailers over
// 8 KiB reach a client as another status. So this is the way for every status that holds words from elsewhere.
//
// Pure and thread-safe.
#ifndef DENOISED_SERVER_SERVICE_GRPC_STATUS_H_
#define DENOISED_SERVER_SERVICE_GRPC_STATUS_H_

#include <grpcpp/support/status.h>

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace denoised {

struct FieldViolation {
  std::string field;        // as the proto names it, "image.size"
  std::string description;  // reads on from the field: "must be 32 to 1024, got 31"
};

// INVALID_ARGUMENT that says all violations in words and carries them as google.rpc.BadRequest. At least one.
absl::Status BadRequestStatus(const std::vector<FieldViolation>& violations);

grpc::Status ToGrpcStatus(const absl::Status& status);

}  // namespace denoised

#endif  // DENOISED_SERVER_SERVICE_GRPC_STATUS_H_
