#include "common/command_line/command_line.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <istream>
#include <map>
#include <memory>
#include <sstream>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "common/command_line/command_line_errors.h"
#include "common/command_line/command_line_manual.h"
#include "common/command_line/standard_output.h"
#include "common/support/build_info.h"

namespace denoised {
namespace {

// What is wrong with a value, in its validators' words.
std::string WhyNot(CLI::Option& option, std::string value) {
  try {
    for (int i = 0;; ++i) {
      const std::string why = (*option.get_validator(i))(value);
      if (!why.empty()) return why;
    }
  } catch (const CLI::OptionNotFound&) {
    return "cannot be " + value;  // there is no further validator
  }
}

std::string GotText(const std::string& text) { return absl::StrCat(", got ", text.empty() ? "nothing" : text); }

bool IsDigits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
}

// Writes a whole number without what CLI11 would misread. What is wrong with it, or nothing.
std::string CleanWholeNumber(std::string& text, bool may_be_negative) {
  const bool minus = absl::StartsWith(text, "-");
  const bool sign = minus || absl::StartsWith(text, "+");
  std::string digits = text.substr(sign ? 1 : 0);
  if (!IsDigits(digits)) return "must be a whole number in decimal digits" + GotText(text);
  digits.erase(0, std::min(digits.find_first_not_of('0'), digits.size() - 1));
  if (minus && !may_be_negative && digits != "0") return "must not be negative" + GotText(text);
  uint64_t magnitude = 0;
  const uint64_t most = may_be_negative ? uint64_t{INT64_MAX} : UINT64_MAX;
  if (!absl::SimpleAtoi(digits, &magnitude) || magnitude > most) {
    return absl::StrCat("must be at most ", most, minus ? " below zero" : "") + GotText(text);
  }
  text = absl::StrCat(minus && digits != "0" ? "-" : "", digits);
  return "";
}

std::string CheckFiniteNumber(const std::string& text) {
  const bool decimal = text.find_first_not_of("+-.0123456789eE") == std::string::npos;
  double value = 0;
  if (decimal && absl::SimpleAtod(text, &value) && std::isfinite(value)) return "";
  return "must be a finite decimal number" + GotText(text);
}

template <typename Visitor>
void ForEachOption(CLI::App& app, const Visitor& visit) {
  for (CLI::Option* option : app.get_options()) visit(*option);
  for (CLI::App* subcommand : app.get_subcommands([](CLI::App*) { return true; })) ForEachOption(*subcommand, visit);
}

// By the names that CLI11 has for the types of values.
void ReadNumbersStrictly(CLI::App& app) {
  ForEachOption(app, [](CLI::Option& option) {
    const std::string type = option.get_type_name();
    if (absl::StartsWith(type, "UINT")) option.transform(WholeNumber(/*may_be_negative=*/false));
    if (absl::StartsWith(type, "INT")) option.transform(WholeNumber(/*may_be_negative=*/true));
    if (absl::StartsWith(type, "FLOAT")) option.transform(FiniteNumber());
  });
}

bool TakesText(CLI::App& app, const std::string& flag) {
  bool takes_text = false;
  ForEachOption(app, [&](CLI::Option& option) {
    takes_text = takes_text || (option.check_name(flag) && option.get_items_expected_max() > 0 &&
                                absl::StartsWith(option.get_type_name(), "TEXT"));
  });
  return takes_text;
}

// As of --tokens "$TOKENS" where that is not set: nobody means the default by it.
// NOTE: CLI11 takes the next argument for the value of "--seed=".
void CheckForEmptyValues(CLI::App& app, int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument.empty() && TakesText(app, argv[i - 1])) {
      throw CLI::ValidationError(argv[i - 1], "the value is empty; leave the flag out for its default");
    }
    if (!argument.starts_with("--") || argument.find('=') != argument.size() - 1) continue;
    throw CLI::ValidationError(argument.substr(0, argument.size() - 1), "there is no value after the =");
  }
}

// Newer CLI11s pass over an environment variable whose value is not valid, and go on as if it were not set.
void CheckEnvironment(CLI::App& app) {
  for (CLI::Option* option : app.get_options()) {
    const std::string variable = option->get_envname();
    const char* value = variable.empty() ? nullptr : std::getenv(variable.c_str());
    if (value == nullptr || *value == '\0' || option->count() > 0) continue;
    throw CLI::ValidationError(option->get_name(), WhyNot(*option, value));
  }
  for (CLI::App* subcommand : app.get_subcommands()) CheckEnvironment(*subcommand);
}

// A file of flags that has none.
class NoFile : public CLI::Config {
 public:
  std::string to_config(const CLI::App*, bool, bool, std::string) const override { return ""; }
  std::vector<CLI::ConfigItem> from_config(std::istream&) const override { return {}; }
};

// The options that the arguments name, or what is wrong with the arguments alone.
absl::StatusOr<std::set<std::string>> ParseWithoutEnvironment(CLI::App& app, int argc, char** argv) {
  std::map<CLI::Option*, std::string> variables;
  ForEachOption(app, [&variables](CLI::Option& option) {
    variables[&option] = option.get_envname();
    option.envname("");
  });
  const std::shared_ptr<CLI::Config> format = app.get_config_formatter();
  app.config_formatter(std::make_shared<NoFile>());
  std::string wrong;
  try {
    CheckForEmptyValues(app, argc, argv);
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != EXIT_SUCCESS) wrong = ErrorText(app, error);
  }
  std::set<std::string> typed;
  ForEachOption(app, [&typed](CLI::Option& option) {
    if (option.count() > 0) typed.insert(option.get_name());
  });
  for (const auto& [option, variable] : variables) option->envname(variable);
  app.config_formatter(format);
  if (!wrong.empty()) return absl::InvalidArgumentError(wrong);
  return typed;
}

// What the app's file of flags has, if it has one that can be read.
std::vector<CLI::ConfigItem> ItemsOfFile(CLI::App& app, const std::string& file) {
  try {
    return file.empty() ? std::vector<CLI::ConfigItem>{} : app.get_config_formatter()->from_file(file);
  } catch (const CLI::Error&) {
    return {};  // the parser says what is wrong with it
  }
}

std::string ConfigFile(CLI::App& app) {
  const CLI::Option* option = app.get_config_ptr();
  return option == nullptr || option->count() == 0 ? "" : option->as<std::string>();
}

int ReportUsage(CLI::App& app, int argc, char** argv, const CLI::ParseError& error, const Origins& variables) {
  std::string text = ErrorText(app, error);
  const std::string name = app.get_name();
  const absl::StatusOr<std::set<std::string>> typed = ParseWithoutEnvironment(app, argc, argv);
  text = typed.ok() ? WithOrigins(text, OriginsOf(app, *typed, variables)) : std::string(typed.status().message());
  std::fprintf(stderr, "%s: error: %s\nSee %s --help.\n", name.c_str(), text.c_str(), name.c_str());
  return kUsageError;
}

int Print(const CLI::App& app, const std::string& text) {
  const absl::Status status = PrintNow(text);
  return status.ok() ? EXIT_SUCCESS : ReportError(app.get_name(), status);
}

int PrintHelp(const CLI::App& app, const CLI::ParseError& asked) {
  std::ostringstream text;
  app.exit(asked, text, text);
  return Print(app, text.str());
}

int PrintCompletions(const CLI::App& app, const std::string& shell) {
  const absl::StatusOr<std::string> completions = Completions(app, shell);
  return completions.ok() ? Print(app, *completions) : ReportError(app.get_name(), completions.status());
}

}  // namespace

std::string EnvironmentName(const std::string& prefix, const std::string& flag) {
  std::string name = prefix + "_" + flag;
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return name;
}

CLI::Option* AddSwitch(CLI::App& app, const std::string& prefix, const std::string& flag, bool& value,
                       const std::string& help) {
  const auto error = [](const std::string& text) -> std::string {
    bool unused = false;
    return CLI::detail::lexical_cast(text, unused) ? "" : "must be true or false, got " + text;
  };
  return app.add_flag("--" + flag, value, help)->envname(EnvironmentName(prefix, flag))->check(error);
}

CLI::Validator WholeNumber(bool may_be_negative) {
  return CLI::Validator([may_be_negative](std::string& text) { return CleanWholeNumber(text, may_be_negative); }, "",
                        "whole number");
}

CLI::Validator FiniteNumber() {
  return CLI::Validator([](std::string& text) { return CheckFiniteNumber(text); }, "", "number");
}

std::set<std::string> TypedOptions(CLI::App& app, int argc, char** argv) {
  return ParseWithoutEnvironment(app, argc, argv).value_or(std::set<std::string>{});
}

Origins OriginsOf(CLI::App& app, const std::set<std::string>& typed, const Origins& variables) {
  Origins origins;
  ForEachOption(app, [&](CLI::Option& option) {
    const std::string& variable = option.get_envname();
    const char* value = variable.empty() ? nullptr : std::getenv(variable.c_str());
    if (value == nullptr || *value == '\0' || typed.count(option.get_name()) > 0) return;
    const auto named = variables.find(variable);
    origins[option.get_name()] = named == variables.end() ? variable : named->second;
  });
  const std::string file = ConfigFile(app);
  for (const CLI::ConfigItem& item : ItemsOfFile(app, file)) {
    const std::string flag = "--" + item.name;
    if (typed.count(flag) == 0) origins[flag] = absl::StrCat(file, ": ", item.name);
  }
  return origins;
}

std::string WithOrigins(const std::string& line, const Origins& origins) {
  const std::string kAnd = " and ";
  const auto is_of_name = [](unsigned char c) { return std::isalnum(c) != 0 || c == '-' || c == '_'; };
  std::string text;
  size_t begin = 0;
  for (;;) {
    const size_t end = std::find_if_not(line.begin() + begin, line.end(), is_of_name) - line.begin();
    const std::string name = line.substr(begin, end - begin);
    const auto origin = origins.find(name);
    text += origin == origins.end() ? name : origin->second;
    begin = end;
    if (line.compare(end, kAnd.size() + 2, kAnd + "--") != 0) return text + line.substr(begin);
    text += kAnd;
    begin += kAnd.size();
  }
}

int ReportError(const std::string& program, const absl::Status& error, const Origins& origins) {
  for (const absl::string_view line : absl::StrSplit(error.message(), '\n')) {
    std::fprintf(stderr, "%s: error: %s\n", program.c_str(), WithOrigins(std::string(line), origins).c_str());
  }
  return absl::IsInvalidArgument(error) && absl::StartsWith(error.message(), "--") ? kUsageError : EXIT_FAILURE;
}

std::optional<int> ParseCommandLine(CLI::App& app, int argc, char** argv, const Origins& variables) {
  ReserveStandardStreams();
  app.set_version_flag("--version", app.get_name() + " " + kVersion + " (" + kSourceRevision + ")");
  ReadNumbersStrictly(app);
  WrapHelp(app);
  bool manual = false;
  std::string shell;
  app.add_flag("--print_manual", manual)->group("");
  app.add_option("--print_completions", shell)->group("");
  try {
    CheckForEmptyValues(app, argc, argv);
    app.parse(argc, argv);
    CheckEnvironment(app);
    if (manual) return Print(app, ManualPage(app, kVersion, kSourceDate));
    return shell.empty() ? std::nullopt : std::optional<int>(PrintCompletions(app, shell));
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == EXIT_SUCCESS) return PrintHelp(app, error);
    return ReportUsage(app, argc, argv, error, variables);
  }
}

}  // namespace denoised
