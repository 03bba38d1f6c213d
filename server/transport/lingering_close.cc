#include "server/transport/lingering_close.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <filesystem>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "server/transport/inode.h"

namespace denoised {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kSilence = std::chrono::seconds(2);
constexpr auto kLongest = std::chrono::seconds(10);
constexpr int64_t kMostBytes = 1 << 20;  // that a peer may still send
constexpr size_t kMostConnections = 1000;
constexpr int kLookMs = 100;
constexpr auto kPollInterval = std::chrono::milliseconds(20);

// Bytes that the peer's system has not acknowledged.
int UnsentBytes(int socket) {
  int bytes = 0;
  return ioctl(socket, SIOCOUTQ, &bytes) == 0 ? bytes : 0;
}

// Whether recv, which returned this, says that nothing will come any more.
bool IsEnd(ssize_t size) {
  return size == 0 || (size < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

bool PeerHasClosed(int socket) {
  char byte = 0;
  return IsEnd(recv(socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT));
}

std::vector<int> EpollDescriptors() {
  std::vector<int> found;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", error)) {
    std::error_code gone;
    if (std::filesystem::read_symlink(entry.path(), gone) != "anon_inode:[eventpoll]") continue;
    const std::string name = entry.path().filename();
    int descriptor = -1;
    std::from_chars(name.data(), name.data() + name.size(), descriptor);
    found.push_back(descriptor);
  }
  return found;
}

class Lingerer {
 public:
  Lingerer() : wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

  void Watch(int socket, int descriptors) {
    const absl::MutexLock lock(&mu_);
    watched_[socket] = {.inode = InodeOf(socket), .descriptors = descriptors};
  }

  void Forget(int socket) {
    const absl::MutexLock lock(&mu_);
    watched_.erase(socket);
  }

  // True if this is a watched socket, for which another descriptor lingers now.
  bool Take(int socket) {
    const absl::MutexLock lock(&mu_);
    const auto watched = watched_.find(socket);
    if (watched == watched_.end()) return false;
    const Watched known = watched->second;
    watched_.erase(watched);
    if (known.inode != InodeOf(socket) || wake_ < 0 || lingering_.size() >= kMostConnections || PeerHasClosed(socket)) {
      return false;
    }
    const int own = fcntl(socket, F_DUPFD_CLOEXEC, 0);  // the lowest that is free
    if (own < 0) return false;
    if (own >= known.descriptors) {
      close(own);
      return false;
    }
    LeaveEpoll(socket);
    const Clock::time_point now = Clock::now();
    try {
      if (!running_) std::thread([this] { Run(); }).detach();
    } catch (const std::system_error&) {  // no thread can be had
      close(own);
      return false;
    }
    running_ = true;
    lingering_.push_back({.socket = own, .unsent = UnsentBytes(own), .since = now, .last_sign = now});
    Wake();
    return true;
  }

  int count() const {
    const absl::MutexLock lock(&mu_);
    return static_cast<int>(lingering_.size());
  }

 private:
  // What LingerOnClose was told.
  struct Watched {
    ino_t inode = 0;  // another socket of the number has another one
    int descriptors = 0;
  };
  struct Connection {
    int socket = -1;
    int unsent = 0;
    int64_t received = 0;
    Clock::time_point since{}, last_sign{};
  };

  // As close would have it, were there not the second descriptor: events must not reach whom gRPC has forgotten.
  void LeaveEpoll(int socket) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    const auto leave = [socket](const std::vector<int>& epolls) {
      bool left = false;
      for (const int epoll : epolls) left |= epoll_ctl(epoll, EPOLL_CTL_DEL, socket, nullptr) == 0;
      return left;
    };
    if (leave(epolls_)) return;
    epolls_ = EpollDescriptors();
    leave(epolls_);
  }

  void Wake() const {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(wake_, &one, sizeof one);  // fails only when it is awake
  }

  [[noreturn]] void Run() {
    pthread_setname_np(pthread_self(), "lingering");
    while (true) {
      std::vector<pollfd> ready = {{.fd = wake_, .events = POLLIN, .revents = 0}};
      {
        const absl::MutexLock lock(&mu_);
        for (const Connection& each : lingering_) ready.push_back({.fd = each.socket, .events = POLLIN, .revents = 0});
      }
      poll(ready.data(), ready.size(), ready.size() == 1 ? -1 : kLookMs);
      uint64_t wakes = 0;
      [[maybe_unused]] const ssize_t size = read(wake_, &wakes, sizeof wakes);
      const absl::MutexLock lock(&mu_);
      std::erase_if(lingering_, [](Connection& each) {
        if (AwaitsPeer(each)) return false;
        close(each.socket);
        return true;
      });
    }
  }

  // Throws away what has come. False once the peer has closed, or has had its time.
  static bool AwaitsPeer(Connection& connection) {
    const Clock::time_point now = Clock::now();
    std::array<char, 16 << 10> unwanted;
    const ssize_t size = recv(connection.socket, unwanted.data(), unwanted.size(), MSG_DONTWAIT);
    if (IsEnd(size)) return false;
    const int unsent = UnsentBytes(connection.socket);
    if (size > 0 || unsent < connection.unsent) connection.last_sign = now;
    connection.unsent = unsent;
    connection.received += size > 0 ? size : 0;
    return connection.received <= kMostBytes && now - connection.last_sign <= kSilence &&
           now - connection.since <= kLongest;
  }

  const int wake_;  // readable once there is another one to poll
  mutable absl::Mutex mu_;
  absl::flat_hash_map<int, Watched> watched_ ABSL_GUARDED_BY(mu_);
  std::vector<Connection> lingering_ ABSL_GUARDED_BY(mu_);
  std::vector<int> epolls_ ABSL_GUARDED_BY(mu_);  // of this process, when they were last looked for
  bool running_ ABSL_GUARDED_BY(mu_) = false;
};

Lingerer& TheLingerer() {
  static Lingerer& lingerer = *new Lingerer;  // for as long as the process lives, as its thread does
  return lingerer;
}

}  // namespace

void LingerOnClose(int socket, int descriptors) { TheLingerer().Watch(socket, descriptors); }

void CloseAtOnce(int socket) { TheLingerer().Forget(socket); }

int LingeringConnections() { return TheLingerer().count(); }

bool AwaitLingering(std::chrono::nanoseconds timeout) {
  const Clock::time_point end = Clock::now() + timeout;
  while (LingeringConnections() > 0) {
    if (Clock::now() >= end) return false;
    std::this_thread::sleep_for(kPollInterval);
  }
  return true;
}

}  // namespace denoised

extern "C" int shutdown(int socket, int how) noexcept {
  const bool lingers = how == SHUT_RDWR && denoised::TheLingerer().Take(socket);
  return static_cast<int>(syscall(SYS_shutdown, socket, lingers ? SHUT_WR : how));
}
