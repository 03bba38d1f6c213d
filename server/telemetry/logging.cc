#include "server/telemetry/logging.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>
#include <pthread.h>
#include <signal.h>
#include <spdlog/async.h>
#include <spdlog/sinks/ansicolor_sink.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <thread>

#include "absl/strings/str_cat.h"
#include "server/telemetry/line_budget.h"

namespace denoised {
namespace {

constexpr auto kPollInterval = std::chrono::milliseconds(1);

// Standard error, and how often it was flushed: a flush comes after all lines before it.
using StderrSink = spdlog::sinks::ansicolor_stderr_sink_mt;
class FlushCountingSink : public StderrSink {
 public:
  void flush() override {
    StderrSink::flush();
    ++flushes_;
  }
  int64_t flushes() const { return flushes_; }

 private:
  std::atomic<int64_t> flushes_ = 0;
};

std::shared_ptr<FlushCountingSink>& Sink() {
  static auto& sink = *new std::shared_ptr<FlushCountingSink>;
  return sink;
}

// Signals are for the thread that waits for them.
void StartLogThread() {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  spdlog::init_thread_pool(kLogQueue, 1);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

// "wrong version number" of gRPC's "...fatal error SSL_ERROR_SSL: error:0A00010B:SSL routines::wrong version number."
std::string_view HandshakeError(std::string_view text) {
  constexpr std::string_view kBefore = "routines::";
  if (const size_t at = text.rfind(kBefore); at != std::string_view::npos) text.remove_prefix(at + kBefore.size());
  while (text.ends_with('.') || text.ends_with('\n')) text.remove_suffix(1);
  return text;
}

// gRPC tells in several lines, with source positions, what this server says in one of its own. Handshakes happen
// before there is a call: of those only gRPC knows.
void LogFromGrpc(gpr_log_func_args* args) {
  constexpr std::string_view kFailed = "Handshake failed with ";
  const std::string_view message = args->message;
  if (const size_t at = message.find(kFailed); at != std::string_view::npos) {
    LogFailedHandshake(HandshakeError(message.substr(at + kFailed.size())));
  } else {
    spdlog::debug("grpc: {}", message);
  }
}

// Protobuf writes a line of its own for texts that are no UTF-8, which strangers can send as often as they like; later
// versions do by Abseil.
#if GOOGLE_PROTOBUF_VERSION < 4022000
void LogFromProtobuf(google::protobuf::LogLevel, const char*, int, const std::string& message) {
  spdlog::debug("protobuf: {}", message);
}
void TakeOverProtobufsLog() { google::protobuf::SetLogHandler(LogFromProtobuf); }
#else
void TakeOverProtobufsLog() {}
#endif

}  // namespace

void SetUpLogging(const LoggingOptions& options) {
  StartLogThread();
  Sink() = std::make_shared<FlushCountingSink>();
  auto logger = std::make_shared<spdlog::async_logger>("denoised", Sink(), spdlog::thread_pool(),
                                                       spdlog::async_overflow_policy::overrun_oldest);
  logger->set_formatter(MakeLogFormatter(options.format));
  logger->set_level(spdlog::level::from_str(options.level));
  spdlog::set_default_logger(logger);
  gpr_set_log_function(LogFromGrpc);
  TakeOverProtobufsLog();
}

void LogFailedHandshake(std::string_view how) {
  static auto& budget = *new LineBudget;
  const std::optional<int64_t> left_out = budget.Take(LineBudget::Clock::now());
  if (!left_out.has_value()) return;
  if (*left_out == 0) return spdlog::warn("a TLS handshake failed: {}", how);
  spdlog::warn("a TLS handshake failed: {}; {} more have failed since the last such line", how, *left_out);
}

std::function<void(const std::string&, const std::string&)> RefusedRequestLog() {
  return [budget = std::make_shared<LineBudget>()](const std::string& what, const std::string& peer) {
    const std::optional<int64_t> left_out = budget->Take(LineBudget::Clock::now());
    if (!left_out.has_value()) return;
    const std::string more =
        *left_out == 0 ? "" : absl::StrCat("; ", *left_out, " more were refused since the last such line");
    LogLine(spdlog::level::warn, what + more, {{"peer", peer}});
  };
}

bool FlushLog(std::chrono::nanoseconds patience) {
  if (Sink() == nullptr) return true;
  const int64_t before = Sink()->flushes();
  const auto end = std::chrono::steady_clock::now() + patience;
  spdlog::default_logger_raw()->flush();
  while (Sink()->flushes() == before) {
    if (std::chrono::steady_clock::now() >= end) return false;
    std::this_thread::sleep_for(kPollInterval);
  }
  return true;
}

void EndProcess(int exit_code) {
  FlushLog(std::chrono::seconds(1));
  std::_Exit(exit_code);
}

int64_t LogLinesLost() {
  const auto pool = spdlog::thread_pool();
  return pool == nullptr ? 0 : static_cast<int64_t>(pool->overrun_counter());
}

}  // namespace denoised
