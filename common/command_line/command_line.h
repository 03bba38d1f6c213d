// File: command_line.h
//
// What the programs' command lines have in common.
//
//   CLI::App app("Draws digits.", "denoise");
//   app.add_option("--server", server)->envname(EnvironmentName("DENOISE", "server"));
//   if (const std::optional<int> code = ParseCommandLine(app, argc, argv)) return *code;
//   ...
//   if (!status.ok()) return ReportError("denoise", status);
#ifndef DENOISED_COMMON_COMMAND_LINE_COMMAND_LINE_H_
#define DENOISED_COMMON_COMMAND_LINE_COMMAND_LINE_H_

#include <CLI/CLI.hpp>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "absl/status/status.h"

namespace denoised {

// Exit status of a program whose command line asks for what cannot be, whoever finds that out.
inline constexpr int kUsageError = 2;

// Worker threads that a flag may ask for: a slip of the hand is told before the machine is asked for a million.
inline constexpr int kMaxThreads = 1024;

// "DENOISE_SERVER" for ("DENOISE", "server").
std::string EnvironmentName(const std::string& prefix, const std::string& flag);

// A flag without a value; its environment variable has one, true or false.
CLI::Option* AddSwitch(CLI::App& app, const std::string& prefix, const std::string& flag, bool& value,
                       const std::string& help);

// Whole numbers are decimal digits, with or without a sign: 042 is 42, while 0x2a, 1e3, nothing and what does not fit
// into 64 bits are errors in words, as is a minus where the value has none. CLI11 alone takes the first for octal and
// lets the last wrap around.
CLI::Validator WholeNumber(bool may_be_negative);
// Numbers are finite and decimal: 0.5, 1e-4; neither nan nor inf.
CLI::Validator FiniteNumber();

// Where values come from that no argument gives, by flags: {"--seed", "DENOISE_SEED"}, {"--epochs", "run.toml:
// epochs"}; or what variables are called to the user who set them otherwise: {"DENOISE_SEED", "denoise.toml: seed"}.
using Origins = std::map<std::string, std::string>;

// Adds --version and reads the arguments, every number among them strictly. When the program is to end here, prints why
// and returns its exit status: 0 after --help and --version, kUsageError after "NAME: error: ..." on stderr. An error
// about a value of the environment names the variable, or what `variables` has for it; one about a value of the app's
// file of flags names that.
std::optional<int> ParseCommandLine(CLI::App& app, int argc, char** argv, const Origins& variables = {});

// The options that the arguments name, without those that only the environment sets; "--" before each but a
// positional. Before ParseCommandLine, which reports what is wrong with them: here that gives none.
std::set<std::string> TypedOptions(CLI::App& app, int argc, char** argv);

// Of the flags that are not `typed` (TypedOptions) and whose variables are set, or that stand in the app's file of
// flags. After ParseCommandLine.
Origins OriginsOf(CLI::App& app, const std::set<std::string>& typed, const Origins& variables = {});

// The line with origins in the place of the flags that it begins with, which are those at fault:
// "DENOISED_TLS_CERT and --tls_key belong together". Advice that follows goes on speaking of flags.
std::string WithOrigins(const std::string& line, const Origins& origins);

// Prints each line of the error's message after "NAME: error: " on stderr and returns the exit status: kUsageError for
// an INVALID_ARGUMENT whose message begins with a flag, which is at fault then, else EXIT_FAILURE. Each line is printed
// WithOrigins.
int ReportError(const std::string& program, const absl::Status& error, const Origins& origins = {});

}  // namespace denoised

#endif  // DENOISED_COMMON_COMMAND_LINE_COMMAND_LINE_H_
