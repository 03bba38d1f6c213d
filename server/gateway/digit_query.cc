#include "server/gateway/digit_query.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/support/class_names.h"
#include "common/support/quoted.h"
#include "common/support/utf8.h"

namespace denoised {
namespace {

// Of what Protobuf says, which may have all of the body in it.
constexpr size_t kMaxReason = 200;

using google::protobuf::EnumDescriptor;
using Request = v1::GenerateDigitRequest;
// Sets a value in the request; what it must be, if it is not.
using Setter = std::function<std::optional<std::string>(Request& request, const std::string& value)>;

template <typename Number>
Setter Whole(void (*set)(Request&, Number)) {
  return [set](Request& request, const std::string& value) -> std::optional<std::string> {
    Number number = 0;
    const bool digits = !value.empty() && std::all_of(value.begin(), value.end(), absl::ascii_isdigit);
    if (!digits || !absl::SimpleAtoi(value, &number)) {
      return absl::StrCat("must be a whole number up to ", std::numeric_limits<Number>::max());
    }
    set(request, number);
    return std::nullopt;
  };
}

Setter Real(void (*set)(Request&, float)) {
  return [set](Request& request, const std::string& value) -> std::optional<std::string> {
    float number = 0;
    if (!absl::SimpleAtof(value, &number) || !std::isfinite(number)) return "must be a number";
    set(request, number);
    return std::nullopt;
  };
}

// The enumeration's names without what they have in common: SAMPLER_DDIM is "ddim".
Setter Choice(const EnumDescriptor* names, const std::string& prefix, void (*set)(Request&, int)) {
  return [=](Request& request, const std::string& value) -> std::optional<std::string> {
    std::vector<std::string> known;
    for (int i = 0; i < names->value_count(); ++i) {
      const std::string name(absl::StripPrefix(names->value(i)->name(), prefix));
      if (names->value(i)->number() == 0) continue;
      known.push_back(absl::AsciiStrToLower(name));
      if (known.back() != absl::AsciiStrToLower(value)) continue;
      set(request, names->value(i)->number());
      return std::nullopt;
    }
    return absl::StrCat("must be one of ", absl::StrJoin(known, ", "));
  };
}

const std::map<std::string, Setter>& Parameters() {
  static const auto& parameters = *new std::map<std::string, Setter>{
      {"seed", Whole<uint64_t>([](Request& request, uint64_t value) { request.set_seed(value); })},
      {"first_image", Whole<uint32_t>([](Request& request, uint32_t value) { request.set_first_image(value); })},
      {"sampler", Choice(v1::Sampler_descriptor(), "SAMPLER_",
                         [](Request& request, int value) { request.set_sampler(static_cast<v1::Sampler>(value)); })},
      {"steps", Whole<uint32_t>([](Request& request, uint32_t value) { request.set_steps(value); })},
      {"eta", Real([](Request& request, float value) { request.set_eta(value); })},
      {"guidance_scale", Real([](Request& request, float value) { request.set_guidance_scale(value); })},
      {"size", Whole<uint32_t>([](Request& request, uint32_t value) { request.mutable_image()->set_size(value); })},
      {"interpolation", Choice(v1::Interpolation_descriptor(), "INTERPOLATION_",
                               [](Request& request, int value) {
                                 request.mutable_image()->set_interpolation(static_cast<v1::Interpolation>(value));
                               })},
      {"priority", Choice(v1::Priority_descriptor(), "PRIORITY_",
                          [](Request& request, int value) { request.set_priority(static_cast<v1::Priority>(value)); })},
  };
  return parameters;
}

// "%20", and in a query "+", as the characters they stand for; nothing if there is no such.
std::optional<std::string> Unescaped(const std::string& text, bool in_query) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      plain += in_query && text[i] == '+' ? ' ' : text[i];
      continue;
    }
    const std::string hex = text.substr(i + 1, 2);
    if (hex.size() != 2 || !std::all_of(hex.begin(), hex.end(), absl::ascii_isxdigit)) return std::nullopt;
    plain += absl::HexStringToBytes(hex);
    i += 2;
  }
  return plain;
}

absl::Status Set(Request& request, const std::string& name, const std::string& value) {
  const auto found = Parameters().find(name);
  if (found == Parameters().end()) {
    const auto names =
        absl::StrJoin(Parameters(), ", ", [](std::string* out, const auto& each) { *out += each.first; });
    return absl::InvalidArgumentError(absl::StrCat("there is no parameter ", Quoted(name), "; there are ", names));
  }
  if (const std::optional<std::string> wanted = found->second(request, value); wanted.has_value()) {
    return absl::InvalidArgumentError(absl::StrCat(name, " ", *wanted, ", got ", Quoted(value)));
  }
  return absl::OkStatus();
}

// A class by the name of its picture, without the ending: what is digits alone is its number, all else its name.
absl::Status SetClass(Request& request, const std::string& picture) {
  const std::optional<std::string> name = Unescaped(picture, /*in_query=*/false);
  const bool is_number = IsClassNumber(picture);
  int32_t number = 0;
  if (is_number && absl::SimpleAtoi(picture, &number)) {
    request.set_digit(number);
  } else if (!is_number && name.has_value() && !name->empty() && IsUtf8(*name)) {
    request.set_class_name(*name);
  } else {
    return absl::InvalidArgumentError(absl::StrCat(
        "the picture's name must be a class's number or its name in percent-encoded UTF-8, such as 7.png or "
        "Ankle%20boot.png, got ",
        Quoted(absl::StrCat(picture, ".png"))));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Request> ParseDigitQuery(const std::string& picture, const std::string& query) {
  Request request;
  if (absl::Status set = SetClass(request, picture); !set.ok()) return set;
  for (const absl::string_view part : absl::StrSplit(query, '&', absl::SkipEmpty())) {
    const std::pair<std::string, std::string> raw = absl::StrSplit(part, absl::MaxSplits('=', 1));
    const std::optional<std::string> value = Unescaped(raw.second, /*in_query=*/true);
    if (!value.has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat(Quoted(raw.first), " has a \"%\" that no two hexadecimal digits follow"));
    }
    if (absl::Status set = Set(request, raw.first, *value); !set.ok()) return set;
  }
  return request;
}

namespace {

// "digit, sampler (SAMPLER_DDPM or SAMPLER_DDIM), image {size, ...}": what JSON of a message may have.
std::string FieldsInWords(const google::protobuf::Descriptor& message) {
  std::vector<std::string> fields;
  for (int i = 0; i < message.field_count(); ++i) {
    const google::protobuf::FieldDescriptor& field = *message.field(i);
    std::string words = field.json_name();
    if (field.enum_type() != nullptr) {
      std::vector<std::string> names;
      for (int value = 1; value < field.enum_type()->value_count(); ++value) {
        names.push_back(field.enum_type()->value(value)->name());
      }
      absl::StrAppend(&words, " (", absl::StrJoin(names, " or "), ")");
    } else if (field.message_type() != nullptr) {
      absl::StrAppend(&words, " {", FieldsInWords(*field.message_type()), "}");
    }
    fields.push_back(std::move(words));
  }
  return absl::StrJoin(fields, ", ");
}

}  // namespace

absl::StatusOr<Request> ParseDigitBody(const std::string& body) {
  Request request;
  if (const auto read = google::protobuf::util::JsonStringToMessage(body, &request); !read.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the body is not the JSON of a denoised.v1.GenerateDigitRequest, such as {\"digit\": 7, \"seed\": \"42\"}: ",
        Visible(std::string_view(read.message().data(), read.message().size()).substr(0, kMaxReason)), "; it may have ",
        FieldsInWords(*Request::descriptor())));
  }
  return request;
}

}  // namespace denoised
