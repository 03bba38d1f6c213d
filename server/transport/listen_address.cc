#include "server/transport/listen_address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace denoised {
namespace {

constexpr char kUnix[] = "unix:";
constexpr char kUnixAbstract[] = "unix-abstract:";

template <typename Address>
const Address& As(const SocketAddress& address) {
  return reinterpret_cast<const Address&>(address.storage);
}

template <typename Address>
Address& As(SocketAddress& address) {
  return reinterpret_cast<Address&>(address.storage);
}

absl::StatusOr<SocketAddress> UnixAddress(const std::string& path) {
  SocketAddress address;
  auto& name = As<sockaddr_un>(address);
  if (path.size() >= sizeof name.sun_path) {
    return absl::UnavailableError(absl::StrCat("the path of a Unix socket may have ", sizeof name.sun_path - 1,
                                               " bytes at most, got ", path.size(), ": ", path));
  }
  name.sun_family = AF_UNIX;
  std::copy(path.begin(), path.end(), name.sun_path);
  const bool abstract = path[0] == '\0';
  address.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + (abstract ? 0 : 1));
  return address;
}

SocketAddress Ipv4(in_addr ip, int port) {
  SocketAddress address{.size = sizeof(sockaddr_in)};
  As<sockaddr_in>(address).sin_family = AF_INET;
  As<sockaddr_in>(address).sin_addr = ip;
  address.set_port(port);
  return address;
}

SocketAddress AnyIpv6(int port) {
  SocketAddress address{.size = sizeof(sockaddr_in6)};
  As<sockaddr_in6>(address).sin6_family = AF_INET6;
  As<sockaddr_in6>(address).sin6_addr = in6addr_any;
  address.set_port(port);
  return address;
}

// The port that a reader of the documentation knows.
std::string ExampleFor(const std::string& flag) {
  if (flag == "--metrics_listen") return "0.0.0.0:9464";
  return flag == "--http_listen" ? "127.0.0.1:8080" : "0.0.0.0:50051";
}

}  // namespace

int SocketAddress::port() const {
  if (family() == AF_INET) return ntohs(As<sockaddr_in>(*this).sin_port);
  if (family() == AF_INET6) return ntohs(As<sockaddr_in6>(*this).sin6_port);
  return 0;
}

void SocketAddress::set_port(int port) {
  const uint16_t value = htons(static_cast<uint16_t>(port));
  if (family() == AF_INET) As<sockaddr_in>(*this).sin_port = value;
  if (family() == AF_INET6) As<sockaddr_in6>(*this).sin6_port = value;
}

std::string SocketAddress::path() const {
  return family() == AF_UNIX ? std::string(As<sockaddr_un>(*this).sun_path) : "";
}

SocketAddress LocalAddress(int socket) {
  SocketAddress address{.size = sizeof(sockaddr_storage)};
  if (getsockname(socket, address.get(), &address.size) != 0) return {};
  return address;
}

SocketAddress PeerAddress(int socket) {
  SocketAddress address{.size = sizeof(sockaddr_storage)};
  if (getpeername(socket, address.get(), &address.size) != 0) return {};
  if (address.family() != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&As<sockaddr_in6>(address).sin6_addr)) return address;
  in_addr ip{};
  std::memcpy(&ip, &As<sockaddr_in6>(address).sin6_addr.s6_addr[12], sizeof ip);
  return Ipv4(ip, address.port());
}

bool SameEnd(const SocketAddress& a, const SocketAddress& b) {
  if (a.family() != b.family() || a.port() != b.port()) return false;
  if (a.family() == AF_INET) return As<sockaddr_in>(a).sin_addr.s_addr == As<sockaddr_in>(b).sin_addr.s_addr;
  return a.family() == AF_INET6 &&
         std::memcmp(&As<sockaddr_in6>(a).sin6_addr, &As<sockaddr_in6>(b).sin6_addr, sizeof(in6_addr)) == 0;
}

std::string AddressText(const SocketAddress& address) {
  char ip[INET6_ADDRSTRLEN] = "";
  if (address.family() == AF_INET) {
    inet_ntop(AF_INET, &As<sockaddr_in>(address).sin_addr, ip, sizeof ip);
    return absl::StrCat(ip, ":", address.port());
  }
  if (address.family() != AF_INET6) return "unix";
  inet_ntop(AF_INET6, &As<sockaddr_in6>(address).sin6_addr, ip, sizeof ip);
  return absl::StrCat("[", ip, "]:", address.port());
}

SocketAddress Loopback(const SocketAddress& bound) {
  const bool any6 = bound.family() == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&As<sockaddr_in6>(bound).sin6_addr);
  const bool any4 = bound.family() == AF_INET && As<sockaddr_in>(bound).sin_addr.s_addr == htonl(INADDR_ANY);
  // NOTE: IPv4's, which wildcards of both kinds take: that of IPv6 may be turned off.
  return any6 || any4 ? Ipv4({.s_addr = htonl(INADDR_LOOPBACK)}, bound.port()) : bound;
}

absl::StatusOr<ListenAddress> ListenAddress::Parse(const std::string& flag, const std::string& text) {
  ListenAddress parsed;
  if (absl::StartsWith(text, kUnix) && text.size() >= sizeof kUnix) {
    parsed.unix_path = std::string(absl::StripPrefix(text, kUnix));
    return parsed;
  }
  if (absl::StartsWith(text, kUnixAbstract) && text.size() >= sizeof kUnixAbstract) {
    parsed.unix_path = absl::StrCat(std::string(1, '\0'), std::string(absl::StripPrefix(text, kUnixAbstract)));
    return parsed;
  }
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || !absl::SimpleAtoi(text.substr(colon + 1), &parsed.port) || parsed.port < 0 ||
      parsed.port > 65535 || absl::StrContains(text, '/')) {
    return absl::InvalidArgumentError(
        absl::StrCat(flag, " must be an address and a port, such as ", ExampleFor(flag), ", got \"", text, "\""));
  }
  parsed.host = text.substr(0, colon);
  if (absl::StartsWith(parsed.host, "[") && absl::EndsWith(parsed.host, "]")) {
    parsed.host = parsed.host.substr(1, parsed.host.size() - 2);  // an IPv6 address
  }
  return parsed;
}

bool ListenAddress::Excludes(const ListenAddress& other) const {
  if (!unix_path.empty() || !other.unix_path.empty()) return unix_path == other.unix_path;
  return port != 0 && port == other.port && (host == other.host || wildcard() || other.wildcard());
}

absl::StatusOr<std::vector<SocketAddress>> ListenAddress::Resolve() const {
  std::vector<SocketAddress> addresses;
  if (!unix_path.empty()) {
    absl::StatusOr<SocketAddress> address = UnixAddress(unix_path);
    if (!address.ok()) return address.status();
    addresses.push_back(*address);
    return addresses;
  }
  if (wildcard()) return std::vector{AnyIpv6(port), Ipv4({.s_addr = htonl(INADDR_ANY)}, port)};
  addrinfo hints{};
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (error != 0) return absl::UnavailableError(absl::StrCat(host, ": ", gai_strerror(error)));
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, &freeaddrinfo);
  for (const addrinfo* info = found; info != nullptr; info = info->ai_next) {
    SocketAddress address{.size = info->ai_addrlen};
    std::memcpy(&address.storage, info->ai_addr, info->ai_addrlen);
    addresses.push_back(address);
  }
  return addresses;
}

}  // namespace denoised
