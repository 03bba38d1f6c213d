// File: error_text.h
//
// What a server's refusal means to the person who typed the command.
//
// Pure functions.
#ifndef DENOISED_CLIENT_CALLS_ERROR_TEXT_H_
#define DENOISED_CLIENT_CALLS_ERROR_TEXT_H_

#include <grpcpp/support/status.h>

#include <chrono>
#include <string>

namespace denoised {

// How far the call came.
enum class Reach {
  kUnreachable,  // there was no connection
  kLost,         // the connection broke after the server had answered
  kAnswered,     // the server itself sent this status
};

// One or more lines without a line break at the end: what was wrong and what to do. Each violation of a
// google.rpc.BadRequest in the status's details becomes a line that names the flag in place of the field; `count_flag`
// is the one that the request's count came from.
std::string ErrorText(const grpc::Status& status, const std::string& server, Reach reach,
                      const std::string& count_flag = "--count");

// The wait that a google.rpc.RetryInfo in the status's details asks for; 0 when there is none.
std::chrono::nanoseconds RetryDelay(const grpc::Status& status);

}  // namespace denoised

#endif  // DENOISED_CLIENT_CALLS_ERROR_TEXT_H_
