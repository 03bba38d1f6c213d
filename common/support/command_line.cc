#include "common/support/command_line.h"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "common/support/build_info.h"

namespace denoised {
namespace {

// CLI11 says "Could not convert: --digit = seven".
std::string ErrorText(const CLI::ParseError& error) {
  constexpr std::string_view kPrefix = "Could not convert: ", kEquals = " = ";
  const std::string text = error.what();
  const size_t equals = text.find(kEquals);
  if (!text.starts_with(kPrefix) || equals == std::string::npos) return text;
  return text.substr(kPrefix.size(), equals - kPrefix.size()) + ": must be a number in range, got " +
         text.substr(equals + kEquals.size());
}

}  // namespace

std::string EnvironmentName(const std::string& prefix, const std::string& flag) {
  std::string name = prefix + "_" + flag;
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return name;
}

std::optional<int> ParseCommandLine(CLI::App& app, int argc, char** argv) {
  app.set_version_flag("--version", app.get_name() + " " + kVersion + " (" + kSourceRevision + ")");
  try {
    app.parse(argc, argv);
    return std::nullopt;
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == EXIT_SUCCESS) return app.exit(error);
    const std::string name = app.get_name();
    std::fprintf(stderr, "%s: error: %s\nSee %s --help.\n", name.c_str(), ErrorText(error).c_str(), name.c_str());
    return kUsageError;
  }
}

}  // namespace denoised
