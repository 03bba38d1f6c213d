// File: pseudo_terminal.h
//
// A terminal that nobody sits at, for what is written to terminals alone.
//
//   PseudoTerminal terminal({.ws_row = 24, .ws_col = 80});
//   EXPECT_TRUE(CanRewrite(terminal.descriptor()));
//   EXPECT_EQ(terminal.WhatStderrGets([] { std::fputs("hello", stderr); }), "hello");
#ifndef DENOISED_TESTS_TESTING_PSEUDO_TERMINAL_H_
#define DENOISED_TESTS_TESTING_PSEUDO_TERMINAL_H_

#include <pty.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <thread>

namespace denoised {

class PseudoTerminal {
 public:
  // Rows, columns, and pixels in all.
  explicit PseudoTerminal(const winsize& size) {
    termios raw{};
    cfmakeraw(&raw);  // bytes arrive as they were written
    if (openpty(&controller_, &terminal_, nullptr, &raw, &size) != 0) throw std::runtime_error("openpty failed");
  }
  ~PseudoTerminal() {
    close(controller_);
    if (terminal_ >= 0) close(terminal_);
  }
  PseudoTerminal(const PseudoTerminal&) = delete;
  PseudoTerminal& operator=(const PseudoTerminal&) = delete;

  int descriptor() const { return terminal_; }

  // Calls `write` with standard error at this terminal, which is closed afterwards.
  template <typename Write>
  std::string WhatStderrGets(const Write& write) {
    std::string text;
    std::thread reader([this, &text] {  // a terminal holds no more than a few kilobytes
      std::array<char, 4096> piece;
      for (ssize_t size = 0; (size = read(controller_, piece.data(), piece.size())) > 0;) {
        text.append(piece.data(), static_cast<size_t>(size));
      }
    });
    const int before = dup(STDERR_FILENO);
    dup2(terminal_, STDERR_FILENO);
    close(terminal_);
    terminal_ = -1;
    write();
    std::fflush(stderr);
    dup2(before, STDERR_FILENO);  // the last descriptor of the terminal is gone: the reader sees its end
    close(before);
    reader.join();
    return text;
  }

 private:
  int controller_ = -1, terminal_ = -1;
};

}  // namespace denoised

#endif  // DENOISED_TESTS_TESTING_PSEUDO_TERMINAL_H_
