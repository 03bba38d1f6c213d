#include "common/command_line/terminal.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <unistd.h>

#include <cstdlib>

namespace denoised {
namespace {

// A pseudo-terminal of 32 columns.
class TerminalTest : public testing::Test {
 protected:
  TerminalTest() {
    const winsize size{.ws_row = 10, .ws_col = 32, .ws_xpixel = 0, .ws_ypixel = 0};
    if (openpty(&controller_, &terminal_, nullptr, nullptr, &size) != 0) terminal_ = -1;
  }
  ~TerminalTest() override {
    close(controller_);
    close(terminal_);
    setenv("TERM", "xterm", 1);
  }

  int controller_ = -1, terminal_ = -1;
};

TEST_F(TerminalTest, SizeIsTheTerminals) {
  EXPECT_EQ(TerminalSize(terminal_).columns, 32);
  EXPECT_EQ(TerminalSize(terminal_).rows, 10);
}

TEST_F(TerminalTest, SizeIsUsualWhereThereIsNoTerminal) {
  const int file = open("/dev/null", O_WRONLY | O_CLOEXEC);
  EXPECT_EQ(TerminalSize(file).columns, 80);
  EXPECT_FALSE(CanRewrite(file));
  close(file);
}

// Reported: TERM=dumb, as in Emacs' shell, got escape codes.
TEST_F(TerminalTest, DumbOneGetsNoEscapeCodes) {
  setenv("TERM", "xterm", 1);
  EXPECT_TRUE(CanRewrite(terminal_));
  setenv("TERM", "dumb", 1);
  EXPECT_FALSE(CanRewrite(terminal_));
  unsetenv("TERM");
  EXPECT_FALSE(CanRewrite(terminal_));
}

TEST(FirstColumnsTest, CutsWhatWouldWrap) {
  EXPECT_EQ(FirstColumns("digit 7", 5), "digit");
  EXPECT_EQ(FirstColumns("digit 7", 80), "digit 7");
  EXPECT_EQ(FirstColumns("digit 7", -1), "");
}

}  // namespace
}  // namespace denoised
