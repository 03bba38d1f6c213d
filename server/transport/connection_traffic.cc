#include "server/transport/connection_traffic.h"

#include <linux/tcp.h>  // NOTE: not netinet/tcp.h, whose tcp_info ends before these counts
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstddef>

namespace denoised {

std::optional<ConnectionTraffic> TrafficOf(int socket) {
  tcp_info info{};
  socklen_t size = sizeof info;
  constexpr size_t kNeeded = offsetof(tcp_info, tcpi_bytes_received) + sizeof info.tcpi_bytes_received;
  if (getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) != 0 || size < kNeeded) return std::nullopt;
  return ConnectionTraffic{.peer = PeerAddress(socket),
                           .received = static_cast<int64_t>(info.tcpi_bytes_received),
                           .taken = static_cast<int64_t>(info.tcpi_bytes_acked)};
}

}  // namespace denoised
