// File: otlp_options.h
//
// Where spans go and what is said of their sender.
//
//   absl::StatusOr<OtlpTarget> target = ParseOtlpTarget({.endpoint = "https://collector:4317"});
//
// Thread-safe.
#ifndef DENOISED_SERVER_TRACING_OTLP_OPTIONS_H_
#define DENOISED_SERVER_TRACING_OTLP_OPTIONS_H_

#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace denoised {

struct OtlpOptions {
  std::string endpoint{};   // of a collector, as --otlp_endpoint has it; empty: none
  std::string ca{};         // file of certificates that its own must be signed by, PEM; empty: the system's
  double sample_ratio = 1;  // of calls whose client takes part in no trace, 0 to 1
};

struct OtlpTarget {
  std::string address;  // "host:port", IPv6 in brackets
  bool tls = false;
  std::string roots;  // PEM; empty: the system's
};

// INVALID_ARGUMENT for what is no endpoint, or a CA without TLS; the error of reading the CA's file.
absl::StatusOr<OtlpTarget> ParseOtlpTarget(const OtlpOptions& options);

// The same errors, and a CA without an endpoint; OK without both.
absl::Status CheckOtlpOptions(const OtlpOptions& options);

// Attributes of the process: service.name, service.version, service.instance.id, then what the variables of the
// environment OTEL_RESOURCE_ATTRIBUTES ("key=value,key=value", with %XX) and OTEL_SERVICE_NAME say, which win. One that
// cannot be read is ignored, with a warning. `instance` tells this process from others.
std::map<std::string, std::string> ResourceAttributes(const std::string& instance);

}  // namespace denoised

#endif  // DENOISED_SERVER_TRACING_OTLP_OPTIONS_H_
