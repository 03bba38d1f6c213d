// File: http_attacks.h
//
// What strangers do to a port that speaks HTTP, each as long as it is told to.
//
//   for (const HttpAttack& attack : HttpAttacks()) {
//     const RunningAttack running(attack, port);
//     EXPECT_EQ(HttpGet(port, "/healthz").status, 200) << attack.name;
//   }
#ifndef DENOISED_TESTS_TESTING_HTTP_ATTACKS_H_
#define DENOISED_TESTS_TESTING_HTTP_ATTACKS_H_

#include <sys/resource.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/testing/http_client.h"

namespace denoised {

struct HttpAttack {
  std::string name;
  std::function<void(int port, const std::atomic<bool>& stop)> run;
};

// An attack on a thread of its own, until this object ends.
class RunningAttack {
 public:
  RunningAttack(const HttpAttack& attack, int port) : thread_([this, attack, port] { attack.run(port, stop_); }) {}
  ~RunningAttack() {
    stop_ = true;
    thread_.join();
  }
  RunningAttack(const RunningAttack&) = delete;
  RunningAttack& operator=(const RunningAttack&) = delete;

 private:
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

namespace http_attacks {

constexpr std::chrono::milliseconds kPause{10};
constexpr std::chrono::milliseconds kPatience{100};
constexpr char kAskForMetrics[] = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";

// A thousand connections need more descriptors than a process has by default.
inline void RaiseDescriptorLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = std::max(limit.rlim_cur, std::min<rlim_t>(limit.rlim_max, 4096));
  setrlimit(RLIMIT_NOFILE, &limit);
}

// Sends `head` and then `mebibytes` of `filler`, as fast as it is taken, and begins again when the server has enough.
inline HttpAttack Stream(std::string name, std::string head, char filler, int mebibytes) {
  return {std::move(name), [=](int port, const std::atomic<bool>& stop) {
            const std::string block(64 << 10, filler);
            while (!stop) {
              HttpConnection client(port);
              bool taken = client.Send(head, kPatience);
              for (int i = 0; taken && !stop && i < mebibytes * 16; ++i) taken = client.Send(block, kPatience);
            }
          }};
}

// The same bytes again and again on one connection, and a new one when the server has enough.
inline HttpAttack Repeat(std::string name, std::string head, std::string part) {
  return {std::move(name), [=](int port, const std::atomic<bool>& stop) {
            std::string block;
            while (block.size() < (64 << 10)) block += part;
            while (!stop) {
              HttpConnection client(port);
              bool taken = client.Send(head, kPatience);
              while (taken && !stop) taken = client.Send(block, kPatience);
            }
          }};
}

// Keeps `count` connections, made by `make`, and has `act` done with each at every turn; those that it calls dead are
// made anew.
inline HttpAttack Keep(std::string name, int count, std::chrono::milliseconds turn,
                       std::function<HttpConnection(int port)> make, std::function<bool(HttpConnection&)> act) {
  return {std::move(name), [=](int port, const std::atomic<bool>& stop) {
            std::vector<std::unique_ptr<HttpConnection>> clients(count);
            auto next = std::chrono::steady_clock::now();
            while (!stop) {
              for (auto& client : clients) {
                if (stop) return;
                if (client == nullptr || !act(*client)) client = std::make_unique<HttpConnection>(make(port));
              }
              for (next += turn; !stop && std::chrono::steady_clock::now() < next;) std::this_thread::sleep_for(kPause);
            }
          }};
}

inline HttpConnection Silent(int port) { return HttpConnection(port); }

inline HttpConnection SlowReader(int port) {
  HttpConnection client(port, "127.0.0.1", 1024);
  client.Send(kAskForMetrics, kPatience);
  return client;
}

inline bool IsOpen(HttpConnection& client) { return !client.AwaitClose(std::chrono::milliseconds(0)); }
inline bool SendByte(HttpConnection& client) { return client.Send("x", kPatience); }
inline bool ReadByte(HttpConnection& client) {
  char byte = 0;
  const ssize_t size = recv(client.descriptor(), &byte, 1, MSG_DONTWAIT);
  return size == 1 || (size < 0 && errno == EAGAIN);
}
inline bool Scrape(HttpConnection& client) {
  client.Receive(std::chrono::seconds(1));
  return false;
}

}  // namespace http_attacks

inline std::vector<HttpAttack> HttpAttacks() {
  using namespace http_attacks;  // NOLINT(google-build-using-namespace): of this header
  using std::chrono::milliseconds;
  const std::string post = "POST /metrics HTTP/1.1\r\nHost: localhost\r\n";
  return {
      Stream("POST of 300 MiB", absl::StrCat(post, "Content-Length: 314572800\r\n\r\n"), 'x', 300),
      Stream("header of 100 MiB", "GET /metrics HTTP/1.1\r\nX-Header: ", 'x', 100),
      Repeat("chunked body without end", absl::StrCat(post, "Transfer-Encoding: chunked\r\n\r\n"), "4\r\nabcd\r\n"),
      Repeat("chunk header without end", absl::StrCat(post, "Transfer-Encoding: chunked\r\n\r\n4;"), "note=x;"),
      Repeat("pipelined rubbish", "", absl::StrCat(kAskForMetrics, "\x01\x02 rubbish\r\n\r\n")),
      Keep("24 clients, a byte each 0.5 s", 24, milliseconds(500), Silent, SendByte),
      Keep("64 slow readers", 64, milliseconds(100), SlowReader, ReadByte),
      Keep("1,000 connections held", 1000, milliseconds(100), Silent, IsOpen),
      Keep("64 scrapes at a time", 64, milliseconds(0), SlowReader, Scrape),
  };
}

}  // namespace denoised

#endif  // DENOISED_TESTS_TESTING_HTTP_ATTACKS_H_
