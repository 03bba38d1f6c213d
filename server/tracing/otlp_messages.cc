#include "server/tracing/otlp_messages.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/support/build_info.h"
#include "common/support/utf8.h"

namespace denoised {
namespace {

namespace trace = opentelemetry::proto::trace::v1;
using opentelemetry::proto::common::v1::AnyValue;
using opentelemetry::proto::common::v1::KeyValue;

// OTLP's flags beside W3C's: whether the next one is known, and whether the parent is in another process.
constexpr uint32_t kRemoteKnown = 0x100;
constexpr uint32_t kRemote = 0x200;

uint64_t UnixNanoseconds(std::chrono::system_clock::time_point time) {
  return static_cast<uint64_t>(std::chrono::nanoseconds(time.time_since_epoch()).count());
}

// Strangers choose some texts, and protobuf's strings are UTF-8: a collector refuses a request with one that is not,
// and so everybody's spans in it.
std::string ValidUtf8(absl::string_view text) {
  std::string valid;
  valid.reserve(text.size());
  while (!text.empty()) {
    const size_t size = LetterBytes(std::string_view(text.data(), text.size()));
    absl::StrAppend(&valid, size == 0 ? "?" : text.substr(0, size));
    text.remove_prefix(size == 0 ? 1 : size);
  }
  return valid;
}

void Set(const std::string& value, AnyValue& out) { out.set_string_value(ValidUtf8(value)); }
void Set(int64_t value, AnyValue& out) { out.set_int_value(value); }
void Set(double value, AnyValue& out) { out.set_double_value(value); }

void Write(const Span& span, trace::Span& out) {
  out.set_trace_id(absl::HexStringToBytes(span.trace_id));
  out.set_span_id(absl::HexStringToBytes(span.span_id));
  out.set_parent_span_id(absl::HexStringToBytes(span.parent_span_id));
  out.set_name(ValidUtf8(span.name));
  out.set_kind(span.serves_call ? trace::Span::SPAN_KIND_SERVER : trace::Span::SPAN_KIND_INTERNAL);
  out.set_start_time_unix_nano(UnixNanoseconds(span.start));
  out.set_end_time_unix_nano(UnixNanoseconds(span.end));
  const std::string flags = absl::HexStringToBytes(span.flags);
  out.set_flags(static_cast<unsigned char>(flags[0]) | kRemoteKnown | (span.parent_is_remote ? kRemote : 0));
  for (const auto& [key, value] : span.attributes) {
    KeyValue& attribute = *out.add_attributes();
    attribute.set_key(ValidUtf8(key));
    std::visit([&attribute](const auto& any) { Set(any, *attribute.mutable_value()); }, value);
  }
  if (!span.failed) return;
  out.mutable_status()->set_code(trace::Status::STATUS_CODE_ERROR);
  out.mutable_status()->set_message(ValidUtf8(span.error));
}

}  // namespace

ExportRequest MakeExportRequest(const std::map<std::string, std::string>& resource, const std::vector<Span>& spans) {
  ExportRequest request;
  trace::ResourceSpans& all = *request.add_resource_spans();
  for (const auto& [key, value] : resource) {
    KeyValue& attribute = *all.mutable_resource()->add_attributes();
    attribute.set_key(ValidUtf8(key));
    Set(value, *attribute.mutable_value());
  }
  trace::ScopeSpans& scope = *all.add_scope_spans();
  scope.mutable_scope()->set_name("denoised");
  scope.mutable_scope()->set_version(kVersion);
  for (const Span& span : spans) Write(span, *scope.add_spans());
  return request;
}

}  // namespace denoised
