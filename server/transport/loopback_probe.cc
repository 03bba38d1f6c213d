#include "server/transport/loopback_probe.h"

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel_posix.h>
#include <poll.h>
#include <pthread.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/support/clock.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace denoised {
namespace {

// A socket at this end of a connection to `target`, not yet connected; -1 if there is none to be had.
int OpenSocket(const SocketAddress& target) {
  const int socket = ::socket(target.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (socket < 0 || target.family() == AF_UNIX) return socket;
  SocketAddress own = target;  // a machine reaches an address of its own from that address
  own.set_port(0);
  if (bind(socket, own.get(), own.size) == 0) return socket;
  close(socket);
  return -1;
}

absl::Status SystemError(const char* call) {
  return absl::UnavailableError(absl::StrCat(call, ": ", std::strerror(errno)));
}

// Where the server's queue of TCP connections is full, connecting waits as well.
absl::Status Connect(int socket, const SocketAddress& target, double timeout_seconds) {
  if (connect(socket, target.get(), target.size) == 0) return absl::OkStatus();
  if (errno != EINPROGRESS) return SystemError("connect");
  pollfd writable{.fd = socket, .events = POLLOUT, .revents = 0};
  int ready = 0;
  do {
    ready = poll(&writable, 1, static_cast<int>(timeout_seconds * 1000));
  } while (ready < 0 && errno == EINTR);
  if (ready != 1) return absl::DeadlineExceededError("connect: no answer");
  int error = 0;
  socklen_t size = sizeof error;
  if (getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &size) != 0) return SystemError("getsockopt");
  errno = error;
  return error == 0 ? absl::OkStatus() : SystemError("connect");
}

}  // namespace

ProbeOptions ProbedWithin(ProbeOptions options, std::chrono::nanoseconds watchdog) {
  const double most = Seconds(watchdog) / 8;  // each, of pause and probe
  options.interval_seconds = options.interval_seconds <= 0 ? most : std::min(options.interval_seconds, most);
  options.timeout_seconds = std::min(options.timeout_seconds, most);
  return options;
}

LoopbackProbe::LoopbackProbe(const ProbeOptions& options, const SocketAddress& target, Announce announce, Report report)
    : options_(options), target_(target), announce_(std::move(announce)), report_(std::move(report)) {
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "probe");
    Run();
  });
}

LoopbackProbe::~LoopbackProbe() {
  Stop();
  thread_.join();
}

void LoopbackProbe::Stop() { stop_.Set(); }

void LoopbackProbe::Run() {
  do {
    const absl::Status status = Probe();
    if (stop_.is_set()) return;
    if (status.ok()) {
      failures_ = 0;
      seen_alive_ = true;
    } else if (++failures_ == options_.failures_in_a_row) {
      spdlog::error("the server does not answer at its own port, {} times in a row: {}", failures_.load(),
                    std::string(status.message()));
    }
    report_(status.ok(), alive());
  } while (!stop_.WaitFor(Nanoseconds(options_.interval_seconds)));
}

// Any answer is one: whether the server serves is readiness, not life.
absl::Status LoopbackProbe::Probe() const {
  const int socket = OpenSocket(target_);
  if (socket < 0) return SystemError("socket");
  announce_(LocalAddress(socket));
  if (absl::Status status = Connect(socket, target_, options_.timeout_seconds); !status.ok()) {
    close(socket);
    return status;
  }
  // NOTE: the channel owns the socket from here on.
  const std::shared_ptr<grpc::Channel> channel = grpc::CreateInsecureChannelFromFd("probe", socket);
  const auto health = grpc::health::v1::Health::NewStub(channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::milliseconds(static_cast<int64_t>(options_.timeout_seconds * 1000)));
  grpc::health::v1::HealthCheckResponse response;
  const grpc::Status status = health->Check(&context, {}, &response);
  return {static_cast<absl::StatusCode>(status.error_code()), status.error_message()};
}

}  // namespace denoised
