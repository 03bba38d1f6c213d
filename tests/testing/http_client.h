// File: http_client.h
//
// A client of HTTP that does what it is told, right or wrong, over a bare socket.
//
//   const HttpAnswer page = HttpGet(port, "/metrics");
//   EXPECT_EQ(page.status, 200);
//
//   HttpConnection client(port);
//   client.Send("POST /metrics HTTP/1.1\r\nContent-Length: 300000000\r\n\r\n");
//   EXPECT_EQ(client.Receive().status, 413);
#ifndef DENOISED_TESTS_TESTING_HTTP_CLIENT_H_
#define DENOISED_TESTS_TESTING_HTTP_CLIENT_H_

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace denoised {

struct HttpAnswer {
  int status = 0;  // 0: none came
  std::string head;
  std::string body;

  // A header's value; empty where there is none.
  std::string header(const std::string& name) const {
    for (const absl::string_view line : absl::StrSplit(head, "\r\n")) {
      const std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(line, absl::MaxSplits(": ", 1));
      if (absl::EqualsIgnoreCase(parts.first, name)) return std::string(parts.second);
    }
    return "";
  }
};

// All that came on a connection.
inline HttpAnswer ParseHttpAnswer(const std::string& text) {
  const size_t end_of_head = text.find("\r\n\r\n");
  if (!absl::StartsWith(text, "HTTP/1.") || end_of_head == std::string::npos) return {};
  return {.status = std::atoi(text.c_str() + std::strlen("HTTP/1.1 ")),
          .head = text.substr(0, end_of_head),
          .body = text.substr(end_of_head + 4)};
}

class HttpConnection {
 public:
  // To a port of this machine. `receive_bytes`: of the socket's buffer, for clients that read slowly; 0 is the usual.
  explicit HttpConnection(int port, const std::string& address = "127.0.0.1", int receive_bytes = 0) {
    const bool ipv6 = absl::StrContains(address, ':');
    descriptor_ = socket(ipv6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (receive_bytes > 0) setsockopt(descriptor_, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_port = htons(static_cast<uint16_t>(port));
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_port = v4.sin_port;
    inet_pton(ipv6 ? AF_INET6 : AF_INET, address.c_str(), ipv6 ? static_cast<void*>(&v6.sin6_addr) : &v4.sin_addr);
    const auto* name = ipv6 ? reinterpret_cast<const sockaddr*>(&v6) : reinterpret_cast<const sockaddr*>(&v4);
    connected_ = connect(descriptor_, name, ipv6 ? sizeof v6 : sizeof v4) == 0;
  }
  ~HttpConnection() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  HttpConnection(HttpConnection&& other) noexcept
      : descriptor_(std::exchange(other.descriptor_, -1)), connected_(other.connected_) {}
  HttpConnection& operator=(HttpConnection&&) = delete;

  bool connected() const { return connected_; }
  int descriptor() const { return descriptor_; }

  // False when the server has closed, or takes nothing for so long.
  bool Send(absl::string_view bytes, std::chrono::milliseconds patience = std::chrono::seconds(20)) {
    while (!bytes.empty()) {
      const ssize_t sent = send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent < 0 && errno != EAGAIN) return false;
      if (sent < 0 && !Await(POLLOUT, patience)) return false;
      if (sent > 0) bytes.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }

  // Whether the server closes, or has closed, within `patience`; what it sends is thrown away.
  bool AwaitClose(std::chrono::milliseconds patience = std::chrono::seconds(60)) {
    char byte = 0;
    while (Await(POLLIN, patience)) {
      if (recv(descriptor_, &byte, 1, 0) <= 0) return true;
    }
    return false;
  }

  // Whether the server resets the connection within `patience`; nothing is read.
  bool AwaitReset(std::chrono::milliseconds patience = std::chrono::seconds(60)) const { return Await(0, patience); }

  // All that comes until the server closes, or is silent for so long.
  std::string ReceiveAll(std::chrono::milliseconds patience = std::chrono::seconds(20)) {
    std::string text;
    char bytes[4096];
    while (Await(POLLIN, patience)) {
      const ssize_t size = recv(descriptor_, bytes, sizeof bytes, 0);
      if (size <= 0) break;
      text.append(bytes, static_cast<size_t>(size));
    }
    return text;
  }

  // The status of an answer as soon as there is one, 0 if the server closes; more of it may be read than that.
  int ReceiveHead(std::chrono::milliseconds patience = std::chrono::seconds(20)) {
    std::string text;
    char byte = 0;
    while (!absl::StrContains(text, "\r\n") && Await(POLLIN, patience) && recv(descriptor_, &byte, 1, 0) == 1) {
      text += byte;
    }
    return absl::StartsWith(text, "HTTP/1.") ? std::atoi(text.c_str() + std::strlen("HTTP/1.1 ")) : 0;
  }

  HttpAnswer Receive(std::chrono::milliseconds patience = std::chrono::seconds(20)) {
    return ParseHttpAnswer(ReceiveAll(patience));
  }

 private:
  bool Await(short events, std::chrono::milliseconds patience) const {
    pollfd socket = {.fd = descriptor_, .events = events, .revents = 0};
    return poll(&socket, 1, static_cast<int>(patience.count())) == 1;
  }

  int descriptor_ = -1;
  bool connected_ = false;
};

// What a well-behaved client gets.
inline HttpAnswer HttpGet(int port, const std::string& path, const std::string& address = "127.0.0.1",
                          const std::string& method = "GET") {
  HttpConnection client(port, address);
  client.Send(absl::StrCat(method, " ", path, " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
  return client.Receive();
}

}  // namespace denoised

#endif  // DENOISED_TESTS_TESTING_HTTP_CLIENT_H_
