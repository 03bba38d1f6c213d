// File: checked_json.h
//
// Reading JSON that somebody else wrote, beyond what nlohmann::json checks by itself. For the .cc files of this room.
//
//   DENOISED_ASSIGN_OR_RETURN(const Json json, ParseFlatJson<Json>(text, /*max_bytes=*/1 << 20));
//   const int epochs = Integer<int>(json.at("epochs"));   // throws, as the library does for a missing key
//
// Pure and thread-safe.
#ifndef DENOISED_COMMON_MODEL_CHECKED_JSON_H_
#define DENOISED_COMMON_MODEL_CHECKED_JSON_H_

#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace denoised {

// NOTE: the library's own conversion takes truth values and fractions for integers, and cuts off what does not fit.
template <typename T, typename Json>
T Integer(const Json& json) {
  const bool fits = json.is_number_unsigned()
                        ? std::in_range<T>(json.template get<uint64_t>())
                        : json.is_number_integer() && std::in_range<T>(json.template get<int64_t>());
  if (!fits) throw std::invalid_argument(absl::StrCat(json.dump(), " is no integer of a size that this field has"));
  return json.template get<T>();
}

// The text, or its beginning if it is long: a message takes it over from a file that may bring any.
inline std::string Shortened(const std::string& text) {
  constexpr size_t kMaxTextBytes = 500;
  if (text.size() <= kMaxTextBytes) return text;
  size_t size = kMaxTextBytes;
  while (size > 0 && (text[size] & 0xC0) == 0x80) --size;  // not inside a letter of UTF-8
  return absl::StrCat(text.substr(0, size), "...");
}

// Parsed; throws if it is not JSON. INVALID_ARGUMENT, in a few words, beyond max_bytes or 32 levels: depth is bounded
// because what works on the result calls itself for each level.
template <typename Json>
absl::StatusOr<Json> ParseFlatJson(std::string_view text, size_t max_bytes) {
  constexpr int kMaxDepth = 32;
  if (text.size() > max_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("it has ", text.size(), " bytes, more than ", max_bytes));
  }
  bool too_deep = false;
  Json json = Json::parse(text, [&too_deep](int depth, typename Json::parse_event_t, const Json&) {
    too_deep |= depth > kMaxDepth;
    return !too_deep;
  });
  if (too_deep) return absl::InvalidArgumentError(absl::StrCat("it has more than ", kMaxDepth, " levels"));
  return json;
}

}  // namespace denoised

#endif  // DENOISED_COMMON_MODEL_CHECKED_JSON_H_
