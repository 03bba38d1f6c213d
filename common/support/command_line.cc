#include "common/support/command_line.h"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "common/support/build_info.h"

namespace denoised {
namespace {

// "not in range [1 - 9]" of newer CLI11s as "not in range 1 to 9" of older ones.
std::string RangeInWords(std::string text) {
  constexpr std::string_view kRange = "not in range [";
  const size_t begin = text.find(kRange), end = text.rfind(']'), between = text.find(" - ", begin);
  if (begin == std::string::npos || between == std::string::npos || end == std::string::npos) return text;
  text.erase(end, 1);
  text.replace(between, 3, " to ");
  text.erase(begin + kRange.size() - 1, 1);
  return text;
}

// CLI11 says "Could not convert: --digit = seven".
std::string ErrorText(const CLI::ParseError& error) {
  constexpr std::string_view kPrefix = "Could not convert: ", kEquals = " = ";
  const std::string text = error.what();
  const size_t equals = text.find(kEquals);
  if (!text.starts_with(kPrefix) || equals == std::string::npos) return RangeInWords(text);
  return text.substr(kPrefix.size(), equals - kPrefix.size()) + ": must be a number in range, got " +
         text.substr(equals + kEquals.size());
}

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

std::optional<int> ParseCommandLine(CLI::App& app, int argc, char** argv) {
  app.set_version_flag("--version", app.get_name() + " " + kVersion + " (" + kSourceRevision + ")");
  try {
    app.parse(argc, argv);
    CheckEnvironment(app);
    return std::nullopt;
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == EXIT_SUCCESS) return app.exit(error);
    const std::string& name = app.get_name();
    std::fprintf(stderr, "%s: error: %s\nSee %s --help.\n", name.c_str(), ErrorText(error).c_str(), name.c_str());
    return kUsageError;
  }
}

}  // namespace denoised
