// File: name_server.h
//
// A name server for one client or a few: every name has the addresses that it was given, as that of a headless Service
// has those of its pods.
//
//   const NameServer names({"127.0.0.1", "127.0.0.2"});
//   "dns://" + names.address() + "/denoised.test:50051"  // a gRPC target
#ifndef DENOISED_TESTS_EXAMPLES_NAME_SERVER_H_
#define DENOISED_TESTS_EXAMPLES_NAME_SERVER_H_

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace denoised {

// Answers by UDP until it ends, on a thread of its own.
class NameServer {
 public:
  explicit NameServer(const std::vector<std::string>& addresses) : socket_(socket(AF_INET, SOCK_DGRAM, 0)) {
    for (const std::string& address : addresses) {
      in_addr bytes{};
      if (inet_pton(AF_INET, address.c_str(), &bytes) != 1) throw std::invalid_argument("no IPv4 address: " + address);
      records_ += RecordOf(bytes);
    }
    count_ = static_cast<char>(addresses.size());
    sockaddr_in own{};
    own.sin_family = AF_INET;
    own.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof own;
    const timeval patience{.tv_sec = 0, .tv_usec = 50'000};  // after which it looks whether it shall end
    if (setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) != 0 ||
        bind(socket_, reinterpret_cast<sockaddr*>(&own), sizeof own) != 0 ||
        getsockname(socket_, reinterpret_cast<sockaddr*>(&own), &size) != 0) {
      throw std::runtime_error("a name server finds no port");
    }
    address_ = "127.0.0.1:" + std::to_string(ntohs(own.sin_port));
    thread_ = std::thread([this] { Serve(); });
  }
  ~NameServer() {
    stop_ = true;
    thread_.join();
    close(socket_);
  }
  NameServer(const NameServer&) = delete;
  NameServer& operator=(const NameServer&) = delete;

  const std::string& address() const { return address_; }

 private:
  static constexpr size_t kHeader = 12;  // of a message, RFC 1035, section 4.1.1

  // Of the name that is asked for (C0 0C: as it stands behind the header), type A, class IN, for a minute, 4 bytes.
  static std::string RecordOf(const in_addr& address) {
    const std::string head("\xC0\x0C\0\1\0\1\0\0\0\x3C\0\4", 12);
    return head + std::string(reinterpret_cast<const char*>(&address), sizeof address);
  }

  // To a question of another type than A the answer is that there is no such record.
  std::string AnswerTo(const std::string& query) const {
    size_t end = kHeader;  // of the question: labels with their lengths, a zero, type and class
    while (end < query.size() && query[end] != 0) end += 1 + static_cast<uint8_t>(query[end]);
    end += 5;
    if (end > query.size()) return "";
    const bool wants_address = query.compare(end - 4, 4, std::string("\0\1\0\1", 4)) == 0;
    const std::string flags("\x85\x80\0\1\0", 5);  // an answer, with authority; of one question
    const std::string answers = wants_address ? records_ : "";
    return query.substr(0, 2) + flags + (wants_address ? count_ : '\0') + std::string(4, '\0') +
           query.substr(kHeader, end - kHeader) + answers;
  }

  void Serve() const {
    std::string query(512, '\0');
    while (!stop_) {
      sockaddr_in client{};
      socklen_t size = sizeof client;
      auto* const peer = reinterpret_cast<sockaddr*>(&client);
      const ssize_t length = recvfrom(socket_, query.data(), query.size(), 0, peer, &size);
      if (length < static_cast<ssize_t>(kHeader)) continue;
      const std::string answer = AnswerTo(query.substr(0, static_cast<size_t>(length)));
      sendto(socket_, answer.data(), answer.size(), 0, peer, size);
    }
  }

  const int socket_;
  std::string records_;
  char count_ = 0;
  std::string address_;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

}  // namespace denoised

#endif  // DENOISED_TESTS_EXAMPLES_NAME_SERVER_H_
