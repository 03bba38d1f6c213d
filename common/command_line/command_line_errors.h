// File: command_line_errors.h
//
// What CLI11 finds wrong with a command line, in this project's words.
//
//   "--duration: must be 0.1 to 1000000, got 0"
//   "The following arguments were not expected: --sed 42; did you mean --seed?"
//
// Pure functions.
#ifndef DENOISED_COMMON_COMMAND_LINE_COMMAND_LINE_ERRORS_H_
#define DENOISED_COMMON_COMMAND_LINE_COMMAND_LINE_ERRORS_H_

#include <CLI/CLI.hpp>
#include <string>

namespace denoised {

// In one line, without control characters. `app`: as its parsing left it.
std::string ErrorText(const CLI::App& app, const CLI::ParseError& error);

// "0.1 to 1000000" for "0.100000 to 1000000.000000" and for "[0.1 - 1e+06]", as older and newer CLI11s have it.
std::string RangeInWords(const std::string& range);

}  // namespace denoised

#endif  // DENOISED_COMMON_COMMAND_LINE_COMMAND_LINE_ERRORS_H_
