// File: command_line.h
//
// What the programs' command lines have in common.
//
//   CLI::App app("Draws digits.", "denoise");
//   app.add_option("--server", server)->envname(EnvironmentName("DENOISE", "server"));
//   if (const std::optional<int> code = ParseCommandLine(app, argc, argv)) return *code;
#ifndef DENOISED_COMMON_SUPPORT_COMMAND_LINE_H_
#define DENOISED_COMMON_SUPPORT_COMMAND_LINE_H_

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

namespace denoised {

// Exit status of a program whose command line could not be read.
inline constexpr int kUsageError = 2;

// "DENOISE_SERVER" for ("DENOISE", "server").
std::string EnvironmentName(const std::string& prefix, const std::string& flag);

// A flag without a value; its environment variable has one, true or false.
CLI::Option* AddSwitch(CLI::App& app, const std::string& prefix, const std::string& flag, bool& value,
                       const std::string& help);

// Adds --version and reads the arguments. When the program is to end here, prints why and returns its exit status: 0
// after --help and --version, kUsageError after "NAME: error: ..." on stderr.
std::optional<int> ParseCommandLine(CLI::App& app, int argc, char** argv);

}  // namespace denoised

#endif  // DENOISED_COMMON_SUPPORT_COMMAND_LINE_H_
