#include "common/support/signal_queue.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <limits>
#include <system_error>

namespace denoised {
namespace {

int pipe_ends[2] = {-1, -1};  // read here, written by the handler

std::atomic<int> stops_seen = 0;
std::atomic<int> stops_queued_at_most = std::numeric_limits<int>::max();
static_assert(std::atomic<int>::is_always_lock_free, "a handler may use nothing that locks");

bool IsStop(int signal) { return signal == SIGINT || signal == SIGTERM; }

[[noreturn]] void EndAtOnce(int signal) {
  constexpr char kWords[] = "ended at once by a signal; what was under way is lost\n";
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, kWords, sizeof kWords - 1);
  _exit(128 + signal);
}

// Async-signal-safe: one write, errno kept.
void Enqueue(int signal) {
  if (IsStop(signal) && ++stops_seen > stops_queued_at_most) EndAtOnce(signal);
  const int saved_errno = errno;
  const auto byte = static_cast<uint8_t>(signal);
  [[maybe_unused]] const ssize_t written = write(pipe_ends[1], &byte, 1);  // a full pipe has enough signals in it
  errno = saved_errno;
}

}  // namespace

SignalQueue::SignalQueue(std::initializer_list<int> signals) : signals_(signals) {
  stops_seen = 0;
  stops_queued_at_most = std::numeric_limits<int>::max();
  if (pipe2(pipe_ends, O_CLOEXEC | O_NONBLOCK) != 0) throw std::system_error(errno, std::generic_category(), "pipe2");
  struct sigaction action {};
  action.sa_handler = Enqueue;
  action.sa_flags = SA_RESTART;
  for (const int signal : signals_) sigaction(signal, &action, nullptr);
}

SignalQueue::~SignalQueue() {
  for (const int signal : signals_) ::signal(signal, SIG_DFL);
  for (int& end : pipe_ends) {
    close(end);
    end = -1;
  }
}

void SignalQueue::EndAtOnceAfter(int stops) { stops_queued_at_most = stops; }

int SignalQueue::Wait() {
  for (;;) {
    if (const std::optional<int> signal = WaitFor(std::chrono::hours(24))) return *signal;
  }
}

std::optional<int> SignalQueue::WaitFor(std::chrono::milliseconds timeout) {
  pollfd readable{.fd = pipe_ends[0], .events = POLLIN, .revents = 0};
  poll(&readable, 1, static_cast<int>(timeout.count()));
  uint8_t byte = 0;
  if (read(pipe_ends[0], &byte, 1) != 1) return std::nullopt;
  return byte;
}

}  // namespace denoised
