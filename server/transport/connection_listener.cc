#include "server/transport/connection_listener.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "server/transport/inode.h"
#include "server/transport/lingering_close.h"

namespace denoised {
namespace {

constexpr int kBacklog = 1024;
// After a failure of the system that passes by itself.
constexpr auto kPatience = std::chrono::milliseconds(100);
// For a peer to acknowledge what was sent to it, before its connection counts as dead.
constexpr int kUserTimeoutMs = 30'000;
constexpr auto kWarnEvery = std::chrono::seconds(10);

absl::Status SystemError(int error) { return absl::UnavailableError(std::strerror(error)); }

void SetOption(int socket, int level, int option, int value) {
  setsockopt(socket, level, option, &value, sizeof value);
}

int OpenSpare() { return open("/dev/null", O_RDONLY | O_CLOEXEC); }

// Whether at `address` there is a socket that was left behind by a process that is gone. Other files are nobody's to
// remove; connecting to one is refused as well.
bool IsStale(const SocketAddress& address) {
  struct stat file = {};
  if (lstat(address.path().c_str(), &file) != 0 || !S_ISSOCK(file.st_mode)) return false;
  const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const bool refused = connect(socket, address.get(), address.size) != 0 && errno == ECONNREFUSED;
  close(socket);
  return refused;
}

// A bound socket that listens, or -1 and errno.
int OpenListener(const SocketAddress& address) {
  const int socket = ::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (socket < 0) return -1;
  if (address.family() != AF_UNIX) {
    // NOTE: never SO_REUSEPORT: two servers would share the port unseen.
    SetOption(socket, SOL_SOCKET, SO_REUSEADDR, 1);
    SetOption(socket, IPPROTO_TCP, TCP_NODELAY, 1);  // accepted connections inherit these
    SetOption(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, kUserTimeoutMs);
  }
  if (address.family() == AF_INET6) SetOption(socket, IPPROTO_IPV6, IPV6_V6ONLY, 0);
  if (bind(socket, address.get(), address.size) == 0 && listen(socket, kBacklog) == 0) return socket;
  const int error = errno;
  close(socket);
  errno = error;
  return -1;
}

// Of a socket that has been shut down; a system keeps a few MiB at most.
void ThrowAwayUnread(int socket) {
  std::array<char, 64 << 10> bytes;
  while (recv(socket, bytes.data(), bytes.size(), MSG_DONTWAIT) > 0) continue;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ConnectionListener>> ConnectionListener::Bind(const ListenAddress& address,
                                                                             const ListenerOptions& options) {
  absl::StatusOr<std::vector<SocketAddress>> addresses = address.Resolve();
  if (!addresses.ok()) return addresses.status();
  std::unique_ptr<ConnectionListener> listener(new ConnectionListener(options));
  listener->wake_ = eventfd(0, EFD_CLOEXEC);
  listener->spare_ = OpenSpare();
  if (listener->wake_ < 0 || listener->spare_ < 0) return SystemError(errno);
  absl::Status status;
  for (SocketAddress& each : *addresses) {
    if (listener->port_ != 0) each.set_port(listener->port_);  // one that was free is the same for all
    const int error = listener->Listen(each);
    // NOTE: an IPv6 wildcard takes IPv4 as well; the next one is for machines without IPv6.
    if (error == 0 && address.wildcard()) break;
    if (error != 0) status = SystemError(error);
    if (error == EADDRINUSE) return status;
  }
  if (listener->sockets_.empty()) return status;
  listener->loopback_ = Loopback(LocalAddress(listener->sockets_.front()));
  return listener;
}

// 0, or the system's error.
int ConnectionListener::Listen(const SocketAddress& address) {
  const std::string path = address.path();
  int socket = OpenListener(address);
  if (socket < 0 && errno == EADDRINUSE && !path.empty() && IsStale(address)) {
    unlink(path.c_str());
    socket = OpenListener(address);
  }
  if (socket < 0) return errno;
  if (sockets_.empty()) port_ = LocalAddress(socket).port();
  sockets_.push_back(socket);
  unix_path_ = path;
  return 0;
}

ConnectionListener::~ConnectionListener() {
  Stop();
  for (const int descriptor : {wake_, spare_}) {
    if (descriptor >= 0) close(descriptor);
  }
}

void ConnectionListener::Start(Receiver receive) {
  receive_ = std::move(receive);
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "listener");
    Run();
  });
}

void ConnectionListener::Stop() {
  const uint64_t one = 1;
  if (wake_ >= 0 && write(wake_, &one, sizeof one) != sizeof one) spdlog::error("the listener cannot be woken");
  if (thread_.joinable()) thread_.join();
  // NOTE: the file before the socket: afterwards it may be a successor's.
  if (!unix_path_.empty()) unlink(std::exchange(unix_path_, "").c_str());
  for (const int socket : std::exchange(sockets_, {})) close(socket);
}

void ConnectionListener::Run() {
  std::vector<pollfd> watched = {{.fd = wake_, .events = POLLIN, .revents = 0}};
  for (const int socket : sockets_) watched.push_back({.fd = socket, .events = POLLIN, .revents = 0});
  while (true) {
    if (poll(watched.data(), watched.size(), -1) < 0) continue;
    if (watched[0].revents != 0) return;
    for (const pollfd& each : watched) {
      if (each.revents != 0) AcceptFrom(each.fd);
    }
  }
}

// One connection; what else waits is found by the next poll.
void ConnectionListener::AcceptFrom(int listener) {
  const int socket = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (socket >= 0) return Take(listener, socket);
  switch (errno) {
    case EMFILE:
    case ENFILE:
      return RefuseWithSpare(listener);
    case ENOBUFS:
    case ENOMEM:
      std::this_thread::sleep_for(kPatience);
      return;
    default:  // a client that has gone already, a signal: the next one
      return;
  }
}

void ConnectionListener::Take(int listener, int socket) {
  const bool from_probe = IsProbe(socket);
  const int descriptors = options_.descriptor_limit - options_.reserved_descriptors;
  if (socket >= descriptors && !from_probe) {
    return Refuse(socket, "too few descriptors are left; raise the limit of open files (ulimit -n)");
  }
  if (!from_probe && !Count(socket)) return Refuse(socket, "as many as --max_connections allows are open");
  if (!from_probe) LingerOnClose(socket, descriptors);
  receive_({.socket = socket, .listener = listener, .from_probe = from_probe});
}

// False when there is no room for it.
bool ConnectionListener::Count(int socket) {
  const absl::MutexLock lock(&mu_);
  const auto full = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return connections_.size() >= static_cast<size_t>(options_.max_connections);
  };
  if (full()) ForgetClosed();
  if (full()) return false;
  connections_.push_back({.socket = socket, .inode = InodeOf(socket)});
  return true;
}

// No descriptor is left: without the spare one the connection would wait, unheard, and poll would never rest.
void ConnectionListener::RefuseWithSpare(int listener) {
  if (spare_ >= 0) close(spare_);
  const int socket = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  if (socket >= 0) Refuse(socket, "no descriptor is left; raise the limit of open files (ulimit -n)");
  spare_ = OpenSpare();
  if (socket < 0 || spare_ < 0) std::this_thread::sleep_for(kPatience);
}

void ConnectionListener::Refuse(int socket, const char* why) {
  ++refused_;  // before its client can hear of it
  if (options_.on_refused) options_.on_refused();
  const SocketAddress peer = PeerAddress(socket);
  close(socket);
  const Clock::time_point now = Clock::now();
  if (now - last_warning_ < kWarnEvery) return;
  last_warning_ = now;
  const std::string whose = peer.size == 0 ? "that is closed already" : "of " + AddressText(peer);
  spdlog::warn("a connection {} is refused, {} so far: {}", whose, refused_.load(), why);
}

void ConnectionListener::ExpectProbe(const SocketAddress& own) {
  const absl::MutexLock lock(&mu_);
  probe_ = own;
}

bool ConnectionListener::IsProbe(int socket) {
  const SocketAddress peer = PeerAddress(socket);
  if (peer.family() == AF_UNIX) {
    ucred credentials{};
    socklen_t size = sizeof credentials;
    return getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0 && credentials.pid == getpid();
  }
  const absl::MutexLock lock(&mu_);
  if (!SameEnd(peer, probe_)) return false;
  probe_ = {};  // whoever has this address afterwards is somebody else
  return true;
}

// NOTE: that it is this connection is looked up at the descriptor itself, which gRPC may have closed since.
bool ConnectionListener::Cut(const SocketAddress& peer) {
  const absl::MutexLock lock(&mu_);
  ForgetClosed();
  const auto found = std::find_if(connections_.begin(), connections_.end(), [&peer](const Connection& connection) {
    return SameEnd(PeerAddress(connection.socket), peer);
  });
  if (found == connections_.end()) return false;
  if (std::exchange(found->cut, true)) return false;  // gRPC is still at it
  // When gRPC closes it: else its bytes stay in the system's memory for minutes, for a peer that does not take them.
  const linger reset{.l_onoff = 1, .l_linger = 0};
  setsockopt(found->socket, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  CloseAtOnce(found->socket);
  shutdown(found->socket, SHUT_RDWR);
  ThrowAwayUnread(found->socket);
  if (options_.on_cut) options_.on_cut();
  return true;
}

std::vector<ConnectionTraffic> ConnectionListener::Traffic() const {
  const absl::MutexLock lock(&mu_);
  ForgetClosed();
  std::vector<ConnectionTraffic> all;
  for (const Connection& connection : connections_) {
    std::optional<ConnectionTraffic> traffic = TrafficOf(connection.socket);
    if (!traffic.has_value()) continue;
    traffic->id = connection.inode;
    all.push_back(*traffic);
  }
  return all;
}

int ConnectionListener::connections() const {
  const absl::MutexLock lock(&mu_);
  ForgetClosed();
  return static_cast<int>(connections_.size());
}

void ConnectionListener::ForgetClosed() const {
  std::erase_if(connections_,
                [](const Connection& connection) { return InodeOf(connection.socket) != connection.inode; });
}

}  // namespace denoised
