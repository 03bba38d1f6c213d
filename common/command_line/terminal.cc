#include "common/command_line/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "common/support/utf8.h"

namespace denoised {

bool CanRewrite(int descriptor) {
  const char* term = std::getenv("TERM");
  return isatty(descriptor) == 1 && term != nullptr && *term != '\0' && std::string_view(term) != "dumb";
}

TerminalExtent TerminalSize(int descriptor) {
  winsize size{};
  if (ioctl(descriptor, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) return {};
  return {.columns = size.ws_col, .rows = size.ws_row};
}

std::string FirstColumns(const std::string& line, int columns) {
  size_t bytes = 0;
  for (; columns > 0 && bytes < line.size(); --columns) {
    bytes += std::max<size_t>(LetterBytes(std::string_view(line).substr(bytes)), 1);
  }
  return line.substr(0, bytes);
}

}  // namespace denoised
