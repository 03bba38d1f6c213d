// File: open_calls.h
//
// How many calls each connection of this process's servers has open, as gRPC counts them itself (channelz). Among them
// are those of which only headers have come, which no service hears of.
//
//   if (CallsStarted() - before < 10'000) return;   // costs microseconds
//   for (const ConnectionCalls& each : OpenCalls()) ...   // some ten microseconds for each connection
//
// Servers need GRPC_ARG_ENABLE_CHANNELZ. Thread-safe.
#ifndef DENOISED_SERVER_TRANSPORT_OPEN_CALLS_H_
#define DENOISED_SERVER_TRANSPORT_OPEN_CALLS_H_

#include <cstdint>
#include <vector>

#include "server/transport/listen_address.h"

namespace denoised {

struct ConnectionCalls {
  SocketAddress peer;
  int64_t open = 0;
  int64_t started = 0;  // ever
  int64_t heard = 0;    // of those that are open: heard_calls.h
};

// Calls that have ever been started, all servers together.
int64_t CallsStarted();

// Of the connections by IPv4 and IPv6.
std::vector<ConnectionCalls> OpenCalls();

}  // namespace denoised

#endif  // DENOISED_SERVER_TRANSPORT_OPEN_CALLS_H_
