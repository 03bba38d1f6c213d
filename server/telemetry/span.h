// File: span.h
//
// What a trace holds of a call: spans, and where they go.
//
//   sink.Add({Span{.trace_id = ..., .span_id = ..., .name = "denoised.v1.DigitService/GenerateDigit", ...}});
#ifndef DENOISED_SERVER_TELEMETRY_SPAN_H_
#define DENOISED_SERVER_TELEMETRY_SPAN_H_

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace denoised {

using SpanAttribute = std::pair<std::string, std::variant<std::string, int64_t, double>>;

struct Span {
  std::string trace_id;           // 32 hexadecimal digits
  std::string span_id;            // 16
  std::string parent_span_id;     // 16; empty for the first span of a trace
  std::string flags = "01";       // 2; W3C's
  bool parent_is_remote = false;  // in another process
  std::string name;               // of the kind of work, not of the single piece
  bool serves_call = false;       // or else it is a part of this process's work
  std::chrono::system_clock::time_point start, end;
  std::vector<SpanAttribute> attributes{};
  bool failed = false;
  std::string error{};  // why, if it failed
};

// Takes spans, whenever they come, and never makes anybody wait. Thread-safe.
class SpanSink {
 public:
  virtual ~SpanSink() = default;
  virtual void Add(std::vector<Span> spans) = 0;
};

}  // namespace denoised

#endif  // DENOISED_SERVER_TELEMETRY_SPAN_H_
