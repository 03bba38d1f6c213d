// File: connection_listener.h
//
// Accepts the connections of a gRPC server in its place, with a limit of their number.
//
// gRPC 1.51 tries `accept` no more once it has failed for want of a descriptor: the process is deaf for good and
// believes itself healthy (CVE-2023-4785). It also knows no limit of connections. So it is given connections that are
// accepted here, through its interface for that, which newer versions have as well:
//
//   absl::StatusOr<std::unique_ptr<ConnectionListener>> listener = ConnectionListener::Bind(*address, {});
//   auto acceptor = builder.experimental().AddExternalConnectionAcceptor(FROM_FD, credentials);
//   std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
//   (*listener)->Start([&](const AcceptedConnection& c) { acceptor->HandleNewConnection(...); });
//   ...
//   (*listener)->Stop();   // first, then server->Shutdown()
//
// Beyond the limit, and where descriptors run short, a connection is accepted and closed at once, so that its client
// hears of it and can go elsewhere. Descriptors with high numbers are never handed over: the kernel gives the lowest
// free one, so that `reserved_descriptors` stay for files and other ports. One more is kept in reserve for the moment
// when there is none at all.
//
// Thread-safe after Start.
#ifndef DENOISED_SERVER_TRANSPORT_CONNECTION_LISTENER_H_
#define DENOISED_SERVER_TRANSPORT_CONNECTION_LISTENER_H_

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/transport/connection_traffic.h"
#include "server/transport/listen_address.h"

namespace denoised {

struct AcceptedConnection {
  int socket = -1;          // whoever takes the connection closes it
  int listener = -1;        // the socket that it came through
  bool from_probe = false;  // see ExpectProbe
};

struct ListenerOptions {
  int max_connections = 1000;  // open at once
  int descriptor_limit = 1024;
  int reserved_descriptors = 16;
  std::function<void()> on_refused = nullptr;  // may be null; on the listener's thread
  std::function<void()> on_cut = nullptr;      // may be null; on the thread that cuts
};

class ConnectionListener {
 public:
  using Receiver = std::function<void(const AcceptedConnection&)>;

  // Binds and listens; nothing is accepted yet. UNAVAILABLE, in words of the system.
  static absl::StatusOr<std::unique_ptr<ConnectionListener>> Bind(const ListenAddress& address,
                                                                  const ListenerOptions& options);
  ~ConnectionListener();
  ConnectionListener(const ConnectionListener&) = delete;
  ConnectionListener& operator=(const ConnectionListener&) = delete;

  // That of the first address; 0 for a Unix socket.
  int port() const { return port_; }
  // Where this process reaches itself.
  const SocketAddress& loopback() const { return loopback_; }

  // From now on `receive` gets the connections, on a thread of the listener's.
  void Start(Receiver receive);
  // Closes the port and joins the thread; by one thread. Connections that were handed over stay.
  void Stop();

  // The next connection from this address is told to the receiver as the probe's and does not count against the limit.
  // Of a Unix socket: any connection of this process is.
  void ExpectProbe(const SocketAddress& own);

  // Ends the connection from this address, so that gRPC finds it closed. False if none that was handed over is from
  // there, or it has been cut already.
  bool Cut(const SocketAddress& peer);

  // What has gone over those that were handed over and are still open, without the probe's and Unix sockets.
  std::vector<ConnectionTraffic> Traffic() const;
  // Those that were handed over and are still open, without the probe's.
  int connections() const;
  // Those that were accepted and closed for want of room.
  int64_t refused() const { return refused_; }

 private:
  // A descriptor and what it stood for when it was handed over: another socket has another inode.
  struct Connection {
    int socket = -1;
    ino_t inode = 0;
    bool cut = false;
  };

  using Clock = std::chrono::steady_clock;

  explicit ConnectionListener(const ListenerOptions& options) : options_(options) {}

  int Listen(const SocketAddress& address);
  void Run();
  void AcceptFrom(int listener);
  void Take(int listener, int socket);
  void RefuseWithSpare(int listener);
  bool Count(int socket);
  void Refuse(int socket, const char* why);
  bool IsProbe(int socket);
  void ForgetClosed() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Constant after Start.
  const ListenerOptions options_;
  std::vector<int> sockets_;
  std::string unix_path_;  // to be removed at the end
  int port_ = 0;
  SocketAddress loopback_;
  int wake_ = -1;  // readable once the thread is to end
  Receiver receive_;

  // Of the thread alone.
  int spare_ = -1;  // given up for a moment when there is no other descriptor
  Clock::time_point last_warning_{};

  std::thread thread_;
  std::atomic<int64_t> refused_ = 0;

  mutable absl::Mutex mu_;
  mutable std::vector<Connection> connections_ ABSL_GUARDED_BY(mu_);  // some may be closed
  SocketAddress probe_ ABSL_GUARDED_BY(mu_);
};

}  // namespace denoised

#endif  // DENOISED_SERVER_TRANSPORT_CONNECTION_LISTENER_H_
