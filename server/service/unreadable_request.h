// File: unreadable_request.h
//
// What is answered to a request whose bytes are no message of its method's type, and told of one whose connection ended
// in the middle. gRPC 1.51 says UNIMPLEMENTED, without a word, before the service hears of the call; with this it is
// INVALID_ARGUMENT, in words.
//
//   creators.push_back(UnreadableRequestInterceptor());   // before those that look at the status
//
// A stream of requests, such as reflection's, is ended by gRPC as if its client had ended it.
#ifndef DENOISED_SERVER_SERVICE_UNREADABLE_REQUEST_H_
#define DENOISED_SERVER_SERVICE_UNREADABLE_REQUEST_H_

#include <grpcpp/support/server_interceptor.h>

#include <memory>

namespace denoised {

std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> UnreadableRequestInterceptor();

}  // namespace denoised

#endif  // DENOISED_SERVER_SERVICE_UNREADABLE_REQUEST_H_
