// File: listen_address.h
//
// Where a server listens, as flags write it.
//
//   absl::StatusOr<ListenAddress> address = ListenAddress::Parse("--listen", "0.0.0.0:50051");
//   absl::StatusOr<std::vector<SocketAddress>> sockets = address->Resolve();
//
// Forms: HOST:PORT with a name, an IPv4 address or an IPv6 address in brackets; unix:PATH; unix-abstract:NAME. The
// wildcards 0.0.0.0 and [::] mean every address of the machine, IPv4 and IPv6.
//
// Thread-safe; Resolve may wait for a name server.
#ifndef DENOISED_SERVER_TRANSPORT_LISTEN_ADDRESS_H_
#define DENOISED_SERVER_TRANSPORT_LISTEN_ADDRESS_H_

#include <sys/socket.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace denoised {

// An address as the system's calls take it.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  int family() const { return storage.ss_family; }

  // Of IPv4 and IPv6; 0 for others.
  int port() const;
  void set_port(int port);
  // The file of a Unix socket; empty for others and for abstract ones.
  std::string path() const;
};

// A socket's own address.
SocketAddress LocalAddress(int socket);
// That of its other end; an IPv4 address that came through an IPv6 socket is an IPv4 address.
SocketAddress PeerAddress(int socket);
// Where this machine reaches a socket that listens at `bound`: itself, but for wildcards.
SocketAddress Loopback(const SocketAddress& bound);

// Whether both are the same address and port, of IPv4 or IPv6.
bool SameEnd(const SocketAddress& a, const SocketAddress& b);
// "192.0.2.7:40000" or "[2001:db8::1]:40000"; "unix" for others.
std::string AddressText(const SocketAddress& address);

struct ListenAddress {
  std::string host;       // without the brackets of an IPv6 address
  int port = 0;           // 0: any that is free
  std::string unix_path;  // not empty: a Unix socket; begins with a zero byte for an abstract one

  // INVALID_ARGUMENT, which names the flag.
  static absl::StatusOr<ListenAddress> Parse(const std::string& flag, const std::string& text);

  // Every address of the machine.
  bool wildcard() const { return unix_path.empty() && (host.empty() || host == "0.0.0.0" || host == "::"); }

  // Whether one of the two keeps the other from listening, as far as their words tell: names are not looked up.
  bool Excludes(const ListenAddress& other) const;

  // At least one; of a wildcard the IPv6 one, which takes IPv4 as well, before the IPv4 one. UNAVAILABLE if there is no
  // such host, or the path is too long.
  absl::StatusOr<std::vector<SocketAddress>> Resolve() const;
};

}  // namespace denoised

#endif  // DENOISED_SERVER_TRANSPORT_LISTEN_ADDRESS_H_
