#include "server/tracing/otlp_options.h"

#include <spdlog/spdlog.h>

#include <cstdlib>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "common/support/build_info.h"
#include "common/support/file.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

constexpr uint64_t kMostCaBytes = 4 << 20;

using Attributes = std::map<std::string, std::string>;

bool IsHostAndPort(absl::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == absl::string_view::npos || colon == 0) return false;
  const absl::string_view host = text.substr(0, colon);
  int port = 0;
  if (!absl::SimpleAtoi(text.substr(colon + 1), &port) || port < 1 || port > 65535) return false;
  const bool brackets = host.front() == '[' && host.back() == ']';
  return host.find_first_of("/ @") == absl::string_view::npos &&
         (brackets || host.find(':') == absl::string_view::npos);
}

// An endpoint to show: what stands before '@' may be a secret.
std::string WithoutUser(absl::string_view endpoint) {
  const size_t at = endpoint.rfind('@');
  if (at == absl::string_view::npos) return std::string(endpoint);
  return absl::StrCat("...", endpoint.substr(at), " (names of users have no place there)");
}

// None for a broken %XX.
std::optional<std::string> PercentDecoded(absl::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out.push_back(text[i]);
      continue;
    }
    if (i + 2 >= text.size() || !absl::ascii_isxdigit(static_cast<unsigned char>(text[i + 1])) ||
        !absl::ascii_isxdigit(static_cast<unsigned char>(text[i + 2]))) {
      return std::nullopt;
    }
    out.push_back(static_cast<char>(std::stoi(std::string(text.substr(i + 1, 2)), nullptr, 16)));
    i += 2;
  }
  return out;
}

// None if any of it is wrong, as OpenTelemetry has it. The error names the first such pair, but not its value, which
// may be a secret.
absl::StatusOr<Attributes> ParseAttributes(absl::string_view text) {
  Attributes attributes;
  int number = 0;
  for (const absl::string_view pair : absl::StrSplit(text, ',', absl::SkipWhitespace())) {
    ++number;
    const size_t equals = pair.find('=');
    if (equals == absl::string_view::npos) {
      return absl::InvalidArgumentError(absl::StrCat("pair ", number, " has no ="));
    }
    const absl::string_view key = absl::StripAsciiWhitespace(pair.substr(0, equals));
    if (key.empty()) return absl::InvalidArgumentError(absl::StrCat("pair ", number, " has no key"));
    const std::optional<std::string> value = PercentDecoded(absl::StripAsciiWhitespace(pair.substr(equals + 1)));
    if (!value.has_value()) {
      return absl::InvalidArgumentError(absl::StrCat("the value of ", key, " has a % without XX"));
    }
    attributes[std::string(key)] = *value;
  }
  return attributes;
}

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

absl::Status CheckOtlpOptions(const OtlpOptions& options) {
  if (!options.endpoint.empty()) return ParseOtlpTarget(options).status();
  if (options.ca.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError("--otlp_ca is of no use without --otlp_endpoint=https://HOST:PORT");
}

absl::StatusOr<OtlpTarget> ParseOtlpTarget(const OtlpOptions& options) {
  OtlpTarget target;
  absl::string_view address = options.endpoint;
  target.tls = absl::ConsumePrefix(&address, "https://");
  if (!target.tls) absl::ConsumePrefix(&address, "http://");
  absl::ConsumeSuffix(&address, "/");
  if (!IsHostAndPort(address)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--otlp_endpoint must be the host and port where a collector takes OTLP by gRPC, such as "
                     "localhost:4317, or https://collector.example:4317 with TLS, got ",
                     WithoutUser(options.endpoint)));
  }
  target.address = std::string(address);
  if (options.ca.empty()) return target;
  if (!target.tls) {
    return absl::InvalidArgumentError(
        absl::StrCat("--otlp_ca is for a collector with TLS: write --otlp_endpoint=https://", target.address,
                     ", or leave --otlp_ca out"));
  }
  absl::StatusOr<std::string> roots = ReadFile(options.ca, kMostCaBytes);
  if (!roots.ok()) {
    return absl::Status(roots.status().code(), absl::StrCat("--otlp_ca: ", roots.status().message()));
  }
  if (!absl::StrContains(*roots, "-----BEGIN CERTIFICATE-----")) {
    return absl::InvalidArgumentError(
        absl::StrCat("--otlp_ca: ", options.ca, " holds no certificate in PEM (-----BEGIN CERTIFICATE-----)"));
  }
  target.roots = *std::move(roots);
  return target;
}

std::map<std::string, std::string> ResourceAttributes(const std::string& instance) {
  Attributes attributes = {
      {"service.name", "denoised"}, {"service.version", kVersion}, {"service.instance.id", instance}};
  const std::string given = Variable("OTEL_RESOURCE_ATTRIBUTES");
  if (const absl::StatusOr<Attributes> more = ParseAttributes(given); more.ok()) {
    for (const auto& [key, value] : *more) attributes[key] = value;
  } else {
    spdlog::warn("OTEL_RESOURCE_ATTRIBUTES is ignored: it must be key=value,key=value, but {}",
                 std::string(more.status().message()));
  }
  if (const std::string name = Variable("OTEL_SERVICE_NAME"); !name.empty()) attributes["service.name"] = name;
  return attributes;
}

}  // namespace denoised
