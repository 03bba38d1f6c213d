// File: raw_connection.h
//
// A TCP connection to this machine that sends and receives bytes as they are.
//
//   RawConnection connection(port);
//   connection.Send("PRI * HTTP/2.0...");
//   const std::string all = connection.ReceiveAll();   // until the other side closes
#ifndef DENOISED_TESTS_TESTING_RAW_CONNECTION_H_
#define DENOISED_TESTS_TESTING_RAW_CONNECTION_H_

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace denoised {

class RawConnection {
 public:
  explicit RawConnection(int port) : socket_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      throw std::runtime_error("cannot connect to port " + std::to_string(port));
    }
  }
  ~RawConnection() {
    if (socket_ >= 0) close(socket_);
  }
  RawConnection(RawConnection&& other) noexcept : socket_(std::exchange(other.socket_, -1)) {}
  RawConnection(const RawConnection&) = delete;
  RawConnection& operator=(const RawConnection&) = delete;

  int descriptor() const { return socket_; }

  // False if the other side has closed the connection.
  bool Send(std::string_view bytes) const {
    while (!bytes.empty()) {
      const ssize_t sent = send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }

  // What comes next, some of it; empty once the other side has closed.
  std::string Receive() const {
    char buffer[16 << 10];
    const ssize_t size = recv(socket_, buffer, sizeof buffer, 0);
    return size <= 0 ? "" : std::string(buffer, static_cast<size_t>(size));
  }

  // All that comes until the other side closes.
  std::string ReceiveAll() const {
    std::string all;
    for (std::string part = Receive(); !part.empty(); part = Receive()) all += part;
    return all;
  }

  // Whether there is something to receive, or an end, by then.
  bool Readable(std::chrono::milliseconds timeout) const {
    pollfd readable{.fd = socket_, .events = POLLIN, .revents = 0};
    return poll(&readable, 1, static_cast<int>(timeout.count())) == 1;
  }

 private:
  int socket_;
};

}  // namespace denoised

#endif  // DENOISED_TESTS_TESTING_RAW_CONNECTION_H_
