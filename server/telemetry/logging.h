// File: logging.h
//
// Where the server's log goes: standard error, by a thread of its own, so that nobody who logs waits for whoever reads
// it.
//
//   SetUpLogging({.level = "info", .format = LogFormat::kJson});
//   ...
//   FlushLog(std::chrono::seconds(1));   // before the process ends
//
// Up to kLogQueue lines wait. When the reader stands still for longer than that, the oldest are lost, and counted.
//
// Thread-safe after SetUpLogging.
#ifndef DENOISED_SERVER_TELEMETRY_LOGGING_H_
#define DENOISED_SERVER_TELEMETRY_LOGGING_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "server/telemetry/log_line.h"

namespace denoised {

inline constexpr int kLogQueue = 8192;

struct LoggingOptions {
  std::string level = "info";  // debug, info, warn, error or off
  LogFormat format = LogFormat::kText;
};

// Once, before other threads log. gRPC's own messages come at debug level, but failed TLS handshakes as warnings.
void SetUpLogging(const LoggingOptions& options);

// Warns of a TLS handshake that failed, on whatever port: `how` in a few words. Strangers could have it write without
// end, so there are no more such lines than a LineBudget has.
void LogFailedHandshake(std::string_view how);

// Warns of HTTP requests that were refused before they were calls, which have lines of their own: "GET /nowhere: 404:
// nothing is here". No more such lines than a LineBudget has.
std::function<void(const std::string& what, const std::string& peer)> RefusedRequestLog();

// Returns when all lines so far are written: true; or when `patience` is over, as nobody reads them: false.
bool FlushLog(std::chrono::nanoseconds patience);

// FlushLog, then _Exit: whatever still runs, or whoever does not read, ends with the process.
[[noreturn]] void EndProcess(int exit_code);

// Lines lost since the start.
int64_t LogLinesLost();

}  // namespace denoised

#endif  // DENOISED_SERVER_TELEMETRY_LOGGING_H_
