// File: server_address.h
//
// Where a server is, as people write it.
//
//   absl::StatusOr<ServerAddress> address = ServerAddress::Parse("localhost");
//   address->target;   // "localhost:50051", for gRPC
//   address->host;     // "localhost", for the system's calls
//
// Forms: HOST, HOST:PORT, an IPv6 address, in brackets where a port follows, and gRPC's own: dns:, ipv4:, ipv6:, unix:
// and unix-abstract:. A port that is left out is 50051.
//
// Pure and thread-safe.
#ifndef DENOISED_CLIENT_CALLS_SERVER_ADDRESS_H_
#define DENOISED_CLIENT_CALLS_SERVER_ADDRESS_H_

#include <string>

#include "absl/status/statusor.h"

namespace denoised {

struct ServerAddress {
  std::string target;
  std::string host;  // without brackets; empty for gRPC's own forms
  int port = 0;

  // INVALID_ARGUMENT, which names --server.
  static absl::StatusOr<ServerAddress> Parse(const std::string& text);
};

}  // namespace denoised

#endif  // DENOISED_CLIENT_CALLS_SERVER_ADDRESS_H_
