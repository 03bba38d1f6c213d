// File: inner_channel.h
//
// A connection from this process to its own gRPC server, which no network sees.
//
//   const std::shared_ptr<grpc::Channel> channel = InnerChannel(*acceptor);
//
// Over a pair of sockets, so that it ends as others do when the server shuts down: its calls are finished. gRPC's
// in-process channel cuts them off. It does not connect again: one for each call.
//
// Thread-safe.
#ifndef DENOISED_SERVER_TRANSPORT_INNER_CHANNEL_H_
#define DENOISED_SERVER_TRANSPORT_INNER_CHANNEL_H_

#include <grpcpp/channel.h>
#include <grpcpp/server_builder.h>

#include <memory>

namespace denoised {

// Null if the process has no descriptors left.
std::shared_ptr<grpc::Channel> InnerChannel(grpc::experimental::ExternalConnectionAcceptor& acceptor);

}  // namespace denoised

#endif  // DENOISED_SERVER_TRANSPORT_INNER_CHANNEL_H_
