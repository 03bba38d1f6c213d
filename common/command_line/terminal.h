// File: terminal.h
//
// What the terminal behind standard output or standard error can do.
//
//   if (CanRewrite(STDERR_FILENO)) std::fputs("\r\x1b[K", stderr);
//   const std::string line = FirstColumns(text, TerminalSize(STDERR_FILENO).columns - 1);
//
// Thread-safe, as far as the environment is.
#ifndef DENOISED_COMMON_COMMAND_LINE_TERMINAL_H_
#define DENOISED_COMMON_COMMAND_LINE_TERMINAL_H_

#include <string>

namespace denoised {

// Whether a terminal is there that obeys escape codes, so that a line can be written over: TERM is set, and not "dumb".
bool CanRewrite(int descriptor);

struct TerminalExtent {
  int columns = 80;
  int rows = 24;
};

// As the terminal says, or where it does not, 80 by 24.
TerminalExtent TerminalSize(int descriptor);

// At most so many columns of a line, so that it does not wrap; each letter of UTF-8 counts as one.
std::string FirstColumns(const std::string& line, int columns);

}  // namespace denoised

#endif  // DENOISED_COMMON_COMMAND_LINE_TERMINAL_H_
