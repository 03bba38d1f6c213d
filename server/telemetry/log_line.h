// File: log_line.h
//
// A line of the log with fields: for people a text with the few that identify a call, for programs a JSON object.
//
//   LogLine(spdlog::level::info, "drew 1 of digit 7 in 0.4 s", {{"request_id", "5f2c..."}, {"steps", 1000}});
//
//   2026-11-26T09:00:00.123+0000 info drew 1 of digit 7 in 0.4 s request_id=5f2c...
//   {"time":"2026-11-26T09:00:00.123Z","level":"info","message":"drew 1 of digit 7 in 0.4 s","request_id":"5f2c...",
//    "steps":1000}
//
// Whatever else is logged by spdlog comes out as such a line without fields. A line is one line: control characters
// that come from elsewhere are shown as '?'. Thread-safe.
#ifndef DENOISED_SERVER_TELEMETRY_LOG_LINE_H_
#define DENOISED_SERVER_TELEMETRY_LOG_LINE_H_

#include <spdlog/formatter.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

namespace denoised {

enum class LogFormat { kText, kJson };

using LogFields = nlohmann::ordered_json;  // an object

// By spdlog's default logger, at its levels.
void LogLine(spdlog::level::level_enum level, const std::string& message, const LogFields& fields);

// What makes lines as above. Of a text's fields, only `peer`, `client`, `request_id` and `trace_id` are shown.
std::unique_ptr<spdlog::formatter> MakeLogFormatter(LogFormat format);

}  // namespace denoised

#endif  // DENOISED_SERVER_TELEMETRY_LOG_LINE_H_
