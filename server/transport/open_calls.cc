#include "server/transport/open_calls.h"

#include <google/protobuf/util/json_util.h>
#include <grpc/grpc.h>
#include <grpc/support/alloc.h>
#include <netinet/in.h>

#include <cstring>
#include <memory>
#include <string>

#include "grpc/channelz/v1/channelz.pb.h"
#include "server/transport/heard_calls.h"

namespace denoised {
namespace {

namespace channelz = grpc::channelz::v1;

// `json`: gRPC's, which is freed; null, as of a connection that has just ended, reads as an empty message.
template <typename Message>
Message Read(char* json) {
  const std::unique_ptr<char, decltype(&gpr_free)> owned(json, gpr_free);
  Message message;
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  options.case_insensitive_enum_parsing = true;
  if (json == nullptr || !google::protobuf::util::JsonStringToMessage(json, &message, options).ok()) message.Clear();
  return message;
}

std::vector<channelz::Server> Servers() {
  std::vector<channelz::Server> servers;
  int64_t next = 0;
  while (true) {
    const auto page = Read<channelz::GetServersResponse>(grpc_channelz_get_servers(next));
    for (const channelz::Server& server : page.server()) {
      servers.push_back(server);
      next = server.ref().server_id() + 1;
    }
    if (page.end() || page.server_size() == 0) return servers;
  }
}

std::vector<int64_t> Sockets(int64_t server) {
  std::vector<int64_t> sockets;
  int64_t next = 0;
  while (true) {
    const auto page =
        Read<channelz::GetServerSocketsResponse>(grpc_channelz_get_server_sockets(server, next, /*max_results=*/0));
    for (const channelz::SocketRef& socket : page.socket_ref()) {
      sockets.push_back(socket.socket_id());
      next = socket.socket_id() + 1;
    }
    if (page.end() || page.socket_ref_size() == 0) return sockets;
  }
}

// Of neither kind if these are the bytes of neither.
SocketAddress Address(const std::string& ip, int port) {
  SocketAddress address;
  if (ip.size() == sizeof(in_addr)) {
    auto& ipv4 = reinterpret_cast<sockaddr_in&>(address.storage);
    ipv4.sin_family = AF_INET;
    std::memcpy(&ipv4.sin_addr, ip.data(), ip.size());
    address.size = sizeof ipv4;
  } else if (ip.size() == sizeof(in6_addr)) {
    in6_addr bytes{};
    std::memcpy(&bytes, ip.data(), ip.size());
    if (IN6_IS_ADDR_V4MAPPED(&bytes)) return Address(ip.substr(12), port);
    auto& ipv6 = reinterpret_cast<sockaddr_in6&>(address.storage);
    ipv6.sin6_family = AF_INET6;
    ipv6.sin6_addr = bytes;
    address.size = sizeof ipv6;
  }
  address.set_port(port);
  return address;
}

}  // namespace

int64_t CallsStarted() {
  int64_t started = 0;
  for (const channelz::Server& server : Servers()) started += server.data().calls_started();
  return started;
}

std::vector<ConnectionCalls> OpenCalls() {
  std::vector<ConnectionCalls> connections;
  for (const channelz::Server& server : Servers()) {
    for (const int64_t id : Sockets(server.ref().server_id())) {
      const channelz::Socket socket = Read<channelz::GetSocketResponse>(grpc_channelz_get_socket(id)).socket();
      const channelz::Address::TcpIpAddress& remote = socket.remote().tcpip_address();
      const channelz::SocketData& data = socket.data();
      const SocketAddress peer = Address(remote.ip_address(), remote.port());
      if (peer.size == 0) continue;
      connections.push_back({.peer = peer,
                             .open = data.streams_started() - data.streams_succeeded() - data.streams_failed(),
                             .started = data.streams_started(),
                             .heard = HeardCalls(peer)});
    }
  }
  return connections;
}

}  // namespace denoised
