#include "client/calls/server_address.h"

#include <algorithm>
#include <cctype>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace denoised {
namespace {

constexpr char kDefaultPort[] = "50051";

// NOTE: gRPC would look such a text up as a host's name, or take a port modulo 65536.
absl::Status Wrong(const std::string& text, const std::string& why) {
  return absl::InvalidArgumentError(
      absl::StrCat("--server: must be a host and a port, such as localhost:", kDefaultPort, "; ", why,
                   text.empty() ? "" : absl::StrCat(", got ", text)));
}

bool IsGrpcForm(const std::string& text) {
  for (const char* scheme : {"dns:", "ipv4:", "ipv6:", "unix:", "unix-abstract:"}) {
    if (absl::StartsWith(text, scheme)) return true;
  }
  return false;
}

bool IsHostName(std::string_view host) {
  return !host.empty() && std::all_of(host.begin(), host.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '.' || c == '-' || c == '_' || c >= 0x80;
  });
}

bool IsIpv6(std::string_view host) {
  return std::count(host.begin(), host.end(), ':') > 1 &&
         host.find_first_not_of("0123456789abcdefABCDEF:.%") == std::string_view::npos;
}

}  // namespace

absl::StatusOr<ServerAddress> ServerAddress::Parse(const std::string& text) {
  if (text.empty()) return Wrong(text, "this is empty");
  if (IsGrpcForm(text)) return ServerAddress{.target = text, .host = "", .port = 0};
  if (text.find("://") != std::string::npos) {
    return Wrong(text, "without a scheme and a path, and with --tls for a server that speaks TLS");
  }
  // NOTE: as a host's name it would be an address, 0.0.0.80.
  if (text.find_first_not_of("0123456789") == std::string::npos) {
    return Wrong(text, absl::StrCat("this is a number alone; a port of this machine is localhost:", text));
  }
  std::string host = text, port = kDefaultPort;
  const size_t colon = text.rfind(':');
  const bool has_port = !absl::EndsWith(text, "]") && colon != std::string::npos && !IsIpv6(text);
  if (has_port) {
    host = text.substr(0, colon);
    port = text.substr(colon + 1);
  }
  const bool bracketed = absl::StartsWith(host, "[") && absl::EndsWith(host, "]");
  if (bracketed) host = host.substr(1, host.size() - 2);
  const bool ipv6 = IsIpv6(host);
  ServerAddress address{.target = "", .host = host, .port = 0};
  const bool digits = !port.empty() && port.find_first_not_of("0123456789") == std::string::npos;
  if (!digits || !absl::SimpleAtoi(port, &address.port) || address.port < 1 || address.port > 65535) {
    return Wrong(text, "the port must be 1 to 65535");
  }
  if (host.empty()) return Wrong(text, "the host is missing");
  if (bracketed && !ipv6) return Wrong(text, "brackets are for IPv6 addresses");
  if (!ipv6 && !IsHostName(host)) return Wrong(text, "this is not a host's name");
  address.target = absl::StrCat(ipv6 ? "[" : "", host, ipv6 ? "]" : "", ":", address.port);
  return address;
}

}  // namespace denoised
