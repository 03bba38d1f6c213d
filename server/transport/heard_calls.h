// File: heard_calls.h
//
// How many open calls of each connection services have heard of, all servers of this process together. gRPC tells a
// service of a call when its request has come whole: until then it keeps what comes, in memory that nobody else sees.
//
//   creators.push_back(HeardCallsInterceptor());
//   if (OpenCalls()[0].heard < OpenCalls()[0].open) ...   // something may be kept: open_calls.h
//
// Left out are calls that keep much all the same: those with metadata beyond kMostMetadata.
// Thread-safe.
#ifndef DENOISED_SERVER_TRANSPORT_HEARD_CALLS_H_
#define DENOISED_SERVER_TRANSPORT_HEARD_CALLS_H_

#include <grpcpp/support/server_interceptor.h>

#include <cstdint>
#include <memory>

#include "server/transport/listen_address.h"

namespace denoised {

// In bytes; transport_options.h has gRPC's own limit, which holds for clients that have acknowledged it.
inline constexpr int64_t kMostMetadata = 64 << 10;

// Counts the calls of the server that it is given to.
std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> HeardCallsInterceptor();

// Of the connection from `peer`: those that are open.
int64_t HeardCalls(const SocketAddress& peer);

}  // namespace denoised

#endif  // DENOISED_SERVER_TRANSPORT_HEARD_CALLS_H_
