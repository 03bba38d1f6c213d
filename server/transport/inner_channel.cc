#include "server/transport/inner_channel.h"

#include <grpcpp/create_channel_posix.h>
#include <sys/socket.h>

#include <array>

namespace denoised {

std::shared_ptr<grpc::Channel> InnerChannel(grpc::experimental::ExternalConnectionAcceptor& acceptor) {
  std::array<int, 2> sockets{};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sockets.data()) != 0) return nullptr;
  grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters parameters;
  parameters.fd = sockets[0];
  acceptor.HandleNewConnection(&parameters);
  return grpc::CreateInsecureChannelFromFd("inner", sockets[1]);
}

}  // namespace denoised
