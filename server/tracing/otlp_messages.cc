#include "server/tracing/otlp_messages.h"

#include <chrono>
#include <cstdint>
#include <variant>

#include "absl/strings/escaping.h"
#include "common/support/build_info.h"

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

void Set(const std::string& value, AnyValue& out) { out.set_string_value(value); }
void Set(int64_t value, AnyValue& out) { out.set_int_value(value); }
void Set(double value, AnyValue& out) { out.set_double_value(value); }

void Write(const Span& span, trace::Span& out) {
  out.set_trace_id(absl::HexStringToBytes(span.trace_id));
  out.set_span_id(absl::HexStringToBytes(span.span_id));
  out.set_parent_span_id(absl::HexStringToBytes(span.parent_span_id));
  out.set_name(span.name);
  out.set_kind(span.serves_call ? trace::Span::SPAN_KIND_SERVER : trace::Span::SPAN_KIND_INTERNAL);
  out.set_start_time_unix_nano(UnixNanoseconds(span.start));
  out.set_end_time_unix_nano(UnixNanoseconds(span.end));
  const std::string flags = absl::HexStringToBytes(span.flags);
  out.set_flags(static_cast<unsigned char>(flags[0]) | kRemoteKnown | (span.parent_is_remote ? kRemote : 0));
  for (const auto& [key, value] : span.attributes) {
    KeyValue& attribute = *out.add_attributes();
    attribute.set_key(key);
    std::visit([&attribute](const auto& any) { Set(any, *attribute.mutable_value()); }, value);
  }
  if (!span.failed) return;
  out.mutable_status()->set_code(trace::Status::STATUS_CODE_ERROR);
  out.mutable_status()->set_message(span.error);
}

}  // namespace

ExportRequest MakeExportRequest(const std::map<std::string, std::string>& resource, const std::vector<Span>& spans) {
  ExportRequest request;
  trace::ResourceSpans& all = *request.add_resource_spans();
  for (const auto& [key, value] : resource) {
    KeyValue& attribute = *all.mutable_resource()->add_attributes();
    attribute.set_key(key);
    attribute.mutable_value()->set_string_value(value);
  }
  trace::ScopeSpans& scope = *all.add_scope_spans();
  scope.mutable_scope()->set_name("denoised");
  scope.mutable_scope()->set_version(kVersion);
  for (const Span& span : spans) Write(span, *scope.add_spans());
  return request;
}

}  // namespace denoised
