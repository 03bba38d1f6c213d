// File: shell_at_terminal.h
//
// A shell at a terminal that the test types at.
//
//   ShellAtTerminal shell({"bash", "--norc", "-i"}, {"PS1=READY "}, folder);
//   shell.ReadUntil("READY ");
//   shell.Type("echo hel''lo\n");
//   shell.ReadUntil("hello");
#ifndef DENOISED_TESTS_INSTALL_SHELL_AT_TERMINAL_H_
#define DENOISED_TESTS_INSTALL_SHELL_AT_TERMINAL_H_

#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace denoised {

class ShellAtTerminal {
 public:
  // `environment`: "NAME=value" added to this process's own.
  ShellAtTerminal(std::vector<std::string> command, std::vector<std::string> environment, const std::string& folder) {
    const winsize size = {.ws_row = 500, .ws_col = 200, .ws_xpixel = 0, .ws_ypixel = 0};
    pid_ = forkpty(&terminal_, nullptr, nullptr, &size);
    if (pid_ < 0) throw std::runtime_error("forkpty failed");
    if (pid_ > 0) return;
    if (chdir(folder.c_str()) != 0) _exit(126);
    for (std::string& variable : environment) putenv(variable.data());
    std::vector<char*> arguments;
    for (std::string& argument : command) arguments.push_back(argument.data());
    arguments.push_back(nullptr);
    execvp(arguments[0], arguments.data());
    _exit(127);
  }
  ~ShellAtTerminal() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    close(terminal_);
  }
  ShellAtTerminal(const ShellAtTerminal&) = delete;
  ShellAtTerminal& operator=(const ShellAtTerminal&) = delete;

  void Type(std::string_view keys) const {
    if (write(terminal_, keys.data(), keys.size()) != static_cast<ssize_t>(keys.size())) {
      throw std::runtime_error("cannot type at the shell");
    }
  }

  // What is shown up to `text`, and not read yet. Throws if the shell ends without it; a test's own timeout is the
  // limit.
  std::string ReadUntil(const std::string& text) {
    size_t at = 0;
    while ((at = shown_.find(text)) == std::string::npos) {
      std::array<char, 4096> piece;
      const ssize_t size = read(terminal_, piece.data(), piece.size());
      if (size <= 0) throw std::runtime_error("the shell ended without \"" + text + "\"; it showed:\n" + shown_);
      shown_.append(piece.data(), static_cast<size_t>(size));
    }
    const std::string read = shown_.substr(0, at);
    shown_.erase(0, at + text.size());
    return read;
  }

 private:
  pid_t pid_ = 0;
  int terminal_ = -1;
  std::string shown_;
};

}  // namespace denoised

#endif  // DENOISED_TESTS_INSTALL_SHELL_AT_TERMINAL_H_
