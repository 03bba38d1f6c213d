// File: command_line_manual.h
//
// Help, manual pages and completions for shells, made from a command line's own flags, so that they cannot disagree
// with it.
//
//   std::cout << ManualPage(app, "0.1.0", "2026-11-27");
//   std::cout << *Completions(app, "bash");   // for /usr/share/bash-completion/completions
//
// Every program prints them: PROGRAM --print_manual and PROGRAM --print_completions SHELL, which no help mentions, as
// installing the programs calls them. Pure functions.
#ifndef DENOISED_COMMON_COMMAND_LINE_COMMAND_LINE_MANUAL_H_
#define DENOISED_COMMON_COMMAND_LINE_COMMAND_LINE_MANUAL_H_

#include <CLI/CLI.hpp>
#include <string>

#include "absl/status/statusor.h"

namespace denoised {

// The help of CLI11, wrapped to 80 columns; for `app` and its subcommands.
void WrapHelp(CLI::App& app);

// In troff, for man. The app's footer is its last part. `date`: of that version, "2026-11-27", or empty.
std::string ManualPage(const CLI::App& app, const std::string& version, const std::string& date);

// `shell`: bash, zsh or fish; INVALID_ARGUMENT for others. Flags, subcommands, and the values of flags that take one of
// a few words.
absl::StatusOr<std::string> Completions(const CLI::App& app, const std::string& shell);

}  // namespace denoised

#endif  // DENOISED_COMMON_COMMAND_LINE_COMMAND_LINE_MANUAL_H_
