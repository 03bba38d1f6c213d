#include "common/command_line/command_line_errors.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "common/support/edit_distance.h"
#include "common/support/quoted.h"

namespace denoised {
namespace {

// Of "1e+06" and "0.100000", "1000000" and "0.1".
std::string NumberInWords(const std::string& text) {
  double number = 0;
  return absl::SimpleAtod(text, &number) ? absl::StrFormat("%.15g", number) : text;
}

// What stands before and behind a separator, if that is there: the first, or for `last` the last one.
std::optional<std::pair<std::string, std::string>> Around(const std::string& text, const std::string& separator,
                                                          bool last = false) {
  const size_t at = last ? text.rfind(separator) : text.find(separator);
  if (at == std::string::npos) return std::nullopt;
  return std::pair(text.substr(0, at), text.substr(at + separator.size()));
}

// "INI was not able to parse epoch", of a file of flags.
std::optional<std::string> ExtraInFile(const std::string& text) {
  constexpr std::string_view kExtra = "INI was not able to parse ";
  if (!text.starts_with(kExtra)) return std::nullopt;
  return "--config: there is no flag named " + text.substr(kExtra.size());
}

// "run.toml was not readable (missing?)", of a file of flags.
std::optional<std::string> UnreadableFile(const std::string& text) {
  const auto parts = Around(text, " was not readable (missing?)");
  if (!parts.has_value()) return std::nullopt;
  return absl::StrCat("--config: cannot read ", parts->first, "; name a file that is there");
}

// "Could not convert: --digit = seven"
std::optional<std::string> Unconverted(const std::string& text) {
  constexpr std::string_view kPrefix = "Could not convert: ";
  const auto parts = Around(text, " = ");
  if (!text.starts_with(kPrefix) || !parts.has_value()) return std::nullopt;
  return absl::StrCat(parts->first.substr(kPrefix.size()), ": must be a number in range, got ", parts->second);
}

// "--steps: 1 required INT:INT in [0 - 1000] missing"
std::optional<std::string> WithoutValue(const std::string& text) {
  const auto parts = Around(text, ": 1 required ");
  if (!parts.has_value() || !absl::EndsWith(text, " missing")) return std::nullopt;
  return parts->first + ": needs a value";
}

// "--seed: At Most 1 required but received 2"
std::optional<std::string> Repeated(const std::string& text) {
  const auto parts = Around(text, ": At Most 1 required but received ");
  if (!parts.has_value()) return std::nullopt;
  return absl::StrCat(parts->first, ": takes one value, got ", parts->second);
}

// "--count: Value 0 not in range 1 to 1000000"
std::optional<std::string> OutOfRange(const std::string& text) {
  const auto named = Around(text, ": Value ");
  const auto parts = named.has_value() ? Around(named->second, " not in range ", /*last=*/true) : std::nullopt;
  if (!parts.has_value()) return std::nullopt;
  return absl::StrCat(named->first, ": must be ", RangeInWords(parts->second), ", got ", parts->first);
}

// "--log_format: xml not in {text,json}"
std::optional<std::string> NotAMember(const std::string& text) {
  const auto named = Around(text, ": ");
  const auto parts = named.has_value() ? Around(named->second, " not in {", /*last=*/true) : std::nullopt;
  if (!parts.has_value() || !absl::EndsWith(text, "}")) return std::nullopt;
  const std::string members = parts->second.substr(0, parts->second.size() - 1);
  return absl::StrCat(named->first, ": must be one of ", absl::StrReplaceAll(members, {{",", ", "}}), ", got ",
                      parts->first);
}

// A number behind a flag whose value may be left out, and then only follows a =: "; did you mean --wait=5?", or
// nothing.
std::string HintAtValue(const CLI::App& app, const std::string& extra) {
  double number = 0;
  if (!absl::SimpleAtod(extra, &number)) return "";
  for (const CLI::Option* option : app.get_options()) {
    const std::string names = option->get_name(false, true);  // "--wait{60}"
    const bool may_be_left_out = absl::StrContains(names, "{") && !absl::StrContains(names, "{false}");
    if (may_be_left_out && option->count() > 0) {
      return absl::StrCat("; did you mean ", option->get_name(), "=", extra, "?");
    }
  }
  return "";
}

bool HasFlag(const CLI::App& app, const std::string& flag) { return app.get_option_no_throw(flag) != nullptr; }

// What may have been meant by a flag that is not known here: "; did you mean --seed?", or nothing.
std::string Hint(const CLI::App& app, const std::string& flag) {
  std::vector<std::string> names;
  const auto add_names = [&names](const CLI::App& of) {
    for (const CLI::Option* option : of.get_options()) names.push_back(option->get_name());
  };
  add_names(app);
  for (const CLI::App* subcommand : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (!subcommand->parsed() && HasFlag(*subcommand, flag)) {
      return absl::StrCat("; ", flag, " is of ", app.get_name(), " ", subcommand->get_name());
    }
    if (subcommand->parsed()) add_names(*subcommand);
  }
  const size_t letters = flag.size() - std::min(flag.size(), flag.find_first_not_of('-'));
  const std::string near = Nearest(flag, names, std::min(kSlips, letters / 2));
  return near.empty() ? "" : absl::StrCat("; did you mean ", near, "?");
}

// NOTE: CLI11's own text has the arguments in reverse.
std::string Extras(const CLI::App& app) {
  const std::vector<std::string> extras = app.remaining(/*recurse=*/true);
  std::string text = absl::StrCat(extras.size() == 1 ? "The following argument was" : "The following arguments were",
                                  " not expected: ", absl::StrJoin(extras, " "));
  for (const std::string& extra : extras) {
    const bool is_flag = absl::StartsWith(extra, "--");
    const std::string hint = is_flag ? Hint(app, extra.substr(0, extra.find('='))) : HintAtValue(app, extra);
    if (!hint.empty()) return text + hint;
  }
  return text;
}

std::string InWords(const std::string& text) {
  for (const auto& words : {ExtraInFile, UnreadableFile, Unconverted, WithoutValue, Repeated, OutOfRange, NotAMember}) {
    if (std::optional<std::string> found = words(text)) return *std::move(found);
  }
  return text;
}

}  // namespace

std::string RangeInWords(const std::string& range) {
  const std::string text = absl::StrReplaceAll(range, {{"[", ""}, {"]", ""}, {" - ", " to "}});
  const std::vector<std::string> limits = absl::StrSplit(text, " to ");
  return limits.size() == 2 ? absl::StrCat(NumberInWords(limits[0]), " to ", NumberInWords(limits[1])) : text;
}

std::string ErrorText(const CLI::App& app, const CLI::ParseError& error) {
  const bool extras = dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr;
  return Visible(extras ? Extras(app) : InWords(error.what()));
}

}  // namespace denoised
