// File: connection_traffic.h
//
// What has gone over a TCP connection so far, as the system counts it.
//
//   if (const std::optional<ConnectionTraffic> traffic = TrafficOf(socket)) ...   // some microseconds
//
// Thread-safe.
#ifndef DENOISED_SERVER_TRANSPORT_CONNECTION_TRAFFIC_H_
#define DENOISED_SERVER_TRANSPORT_CONNECTION_TRAFFIC_H_

#include <cstdint>
#include <optional>

#include "server/transport/listen_address.h"

namespace denoised {

// In bytes, TLS and all.
struct ConnectionTraffic {
  uint64_t id = 0;  // of the connection, as long as it is open
  SocketAddress peer;
  int64_t received = 0;  // from the peer
  int64_t taken = 0;     // of what was sent to it, by its system
};

// None for what is no TCP socket.
std::optional<ConnectionTraffic> TrafficOf(int socket);

}  // namespace denoised

#endif  // DENOISED_SERVER_TRANSPORT_CONNECTION_TRAFFIC_H_
