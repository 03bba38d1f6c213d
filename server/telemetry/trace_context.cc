#include "server/telemetry/trace_context.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace denoised {
namespace {

constexpr size_t kTraceDigits = 32, kSpanDigits = 16, kByteDigits = 2;
constexpr size_t kLength = kByteDigits + 1 + kTraceDigits + 1 + kSpanDigits + 1 + kByteDigits;

bool IsHex(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool IsZero(std::string_view text) { return text.find_first_not_of('0') == std::string_view::npos; }

}  // namespace

std::optional<TraceContext> ParseTraceparent(std::string_view text) {
  if (text.size() < kLength) return std::nullopt;
  const std::string_view version = text.substr(0, 2), trace = text.substr(3, kTraceDigits),
                         span = text.substr(36, kSpanDigits), flags = text.substr(53, 2);
  if (text[2] != '-' || text[35] != '-' || text[52] != '-') return std::nullopt;
  if (!IsHex(version) || !IsHex(trace) || !IsHex(span) || !IsHex(flags)) return std::nullopt;
  if (version == "ff" || IsZero(trace) || IsZero(span)) return std::nullopt;
  if (text.size() > kLength && (version == "00" || text[kLength] != '-')) return std::nullopt;
  return TraceContext{.trace_id = std::string(trace), .span_id = std::string(span), .flags = std::string(flags)};
}

std::string FormatTraceparent(const TraceContext& trace) {
  return absl::StrCat("00-", trace.trace_id, "-", trace.span_id, "-", trace.flags);
}

std::string HexId(uint64_t random) { return absl::StrCat(absl::Hex(random, absl::kZeroPad16)); }

}  // namespace denoised
