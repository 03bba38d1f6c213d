#include "server/telemetry/log_line.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace denoised {
namespace {

// Between a message and its fields on their way through spdlog, which knows texts alone. No message holds it.
constexpr char kSeparator = '\x1f';
constexpr const char* kShownInText[] = {"peer", "client", "request_id", "trace_id"};

std::string OneLine(std::string_view text) {
  std::string line(text);
  std::replace_if(
      line.begin(), line.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
  return line;
}

std::string ToJson(const LogFields& fields) { return fields.dump(-1, ' ', false, LogFields::error_handler_t::replace); }

// A payload in its two parts; the second is an object, or empty.
std::pair<std::string, LogFields> Split(std::string_view payload) {
  const size_t at = payload.rfind(kSeparator);
  if (at == std::string_view::npos) return {OneLine(payload), LogFields::object()};
  LogFields fields = LogFields::parse(payload.substr(at + 1), nullptr, /*allow_exceptions=*/false);
  if (!fields.is_object()) return {OneLine(payload), LogFields::object()};
  return {OneLine(payload.substr(0, at)), std::move(fields)};
}

class LineFormatter : public spdlog::formatter {
 public:
  explicit LineFormatter(LogFormat format) : format_(format) {}

  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    const auto [text, fields] = Split({message.payload.data(), message.payload.size()});
    const std::string line = format_ == LogFormat::kJson ? Json(message, text, fields) : Text(message, text, fields);
    out.append(line.data(), line.data() + line.size());
  }

  std::unique_ptr<spdlog::formatter> clone() const override { return std::make_unique<LineFormatter>(format_); }

 private:
  static std::string Level(const spdlog::details::log_msg& message) {
    const auto name = spdlog::level::to_string_view(message.level);
    return std::string(name.data(), name.size());
  }

  static std::string Text(const spdlog::details::log_msg& message, const std::string& text, const LogFields& fields) {
    std::string line =
        absl::FormatTime("%Y-%m-%dT%H:%M:%E3S%Ez ", absl::FromChrono(message.time), absl::LocalTimeZone());
    message.color_range_start = line.size();
    line += Level(message);
    message.color_range_end = line.size();
    absl::StrAppend(&line, " ", text);
    for (const char* name : kShownInText) {
      if (const auto field = fields.find(name); field != fields.end()) {
        absl::StrAppend(&line, " ", name, "=", OneLine(field->is_string() ? field->get<std::string>() : field->dump()));
      }
    }
    return line + "\n";
  }

  static std::string Json(const spdlog::details::log_msg& message, const std::string& text, const LogFields& fields) {
    LogFields line = {
        {"time", absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::FromChrono(message.time), absl::UTCTimeZone())},
        {"level", Level(message)},
        {"message", text}};
    line.update(fields);
    return ToJson(line) + "\n";
  }

  const LogFormat format_;
};

}  // namespace

void LogLine(spdlog::level::level_enum level, const std::string& message, const LogFields& fields) {
  if (!spdlog::should_log(level)) return;
  spdlog::log(level, OneLine(message) + kSeparator + ToJson(fields));
}

std::unique_ptr<spdlog::formatter> MakeLogFormatter(LogFormat format) {
  return std::make_unique<LineFormatter>(format);
}

}  // namespace denoised
