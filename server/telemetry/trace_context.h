// File: trace_context.h
//
// W3C Trace Context, level 1: which trace a call belongs to, as the metadata `traceparent` says it.
//
//   std::optional<TraceContext> trace = ParseTraceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
//   trace->span_id = HexId(random);                 // this server's own part of it
//   context.AddInitialMetadata("traceparent", FormatTraceparent(*trace));
//
// Source: https://www.w3.org/TR/trace-context-1/. Pure and thread-safe.
#ifndef DENOISED_SERVER_TELEMETRY_TRACE_CONTEXT_H_
#define DENOISED_SERVER_TELEMETRY_TRACE_CONTEXT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace denoised {

struct TraceContext {
  std::string trace_id;  // 32 digits, hexadecimal and lower case as all here, not only zeros
  std::string span_id;   // 16, not only zeros
  std::string flags;     // 2
};

// None for what the standard does not allow. Later versions are read as far as the first one goes.
std::optional<TraceContext> ParseTraceparent(std::string_view text);

// By version 00.
std::string FormatTraceparent(const TraceContext& trace);

// 16 hexadecimal digits; `random` uniform.
std::string HexId(uint64_t random);

}  // namespace denoised

#endif  // DENOISED_SERVER_TELEMETRY_TRACE_CONTEXT_H_
