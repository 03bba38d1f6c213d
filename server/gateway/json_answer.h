// File: json_answer.h
//
// What gRPC says, in the words of HTTP and proto3 JSON.
//
//   {"accepted":{"seed":"42","steps":50,...}}\n      a line for an event
//   {"error":{"code":8,"status":"RESOURCE_EXHAUSTED","message":"...","details":[...]}}\n
//
// Pure and thread-safe.
#ifndef DENOISED_SERVER_GATEWAY_JSON_ANSWER_H_
#define DENOISED_SERVER_GATEWAY_JSON_ANSWER_H_

#include <google/protobuf/message.h>
#include <grpcpp/support/status.h>

#include <string>

#include "absl/status/status.h"
#include "server/http/http_message.h"

namespace denoised {

// One line of proto3 JSON, fields at their defaults too.
std::string JsonLine(const google::protobuf::Message& message);

// An error as a line, with the google.rpc details that came with it.
std::string ErrorLine(const grpc::Status& status);

// The same as a whole answer: the usual HTTP status of the code, and Retry-After where google.rpc.RetryInfo came.
HttpResponse ErrorAnswer(const grpc::Status& status);
HttpResponse ErrorAnswer(const absl::Status& status);

}  // namespace denoised

#endif  // DENOISED_SERVER_GATEWAY_JSON_ANSWER_H_
