#include "common/command_line/terminal.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>

#include "tests/testing/pseudo_terminal.h"

namespace denoised {
namespace {

class TerminalTest : public testing::Test {
 protected:
  ~TerminalTest() override { setenv("TERM", "xterm", 1); }

  const PseudoTerminal terminal_{{.ws_row = 10, .ws_col = 32, .ws_xpixel = 0, .ws_ypixel = 0}};
};

TEST_F(TerminalTest, SizeIsTheTerminals) {
  EXPECT_EQ(TerminalSize(terminal_.descriptor()).columns, 32);
  EXPECT_EQ(TerminalSize(terminal_.descriptor()).rows, 10);
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
  EXPECT_TRUE(CanRewrite(terminal_.descriptor()));
  setenv("TERM", "dumb", 1);
  EXPECT_FALSE(CanRewrite(terminal_.descriptor()));
  unsetenv("TERM");
  EXPECT_FALSE(CanRewrite(terminal_.descriptor()));
}

TEST(FirstColumnsTest, CutsWhatWouldWrap) {
  EXPECT_EQ(FirstColumns("digit 7", 5), "digit");
  EXPECT_EQ(FirstColumns("digit 7", 80), "digit 7");
  EXPECT_EQ(FirstColumns("digit 7", -1), "");
  EXPECT_EQ(FirstColumns("Fußball", 3), "Fuß") << "no letter in halves";
  EXPECT_EQ(FirstColumns("水水水", 3), "水水水");
  EXPECT_EQ(FirstColumns("a\xff\xff\xff", 2), "a\xff") << "what is no UTF-8 ends all the same";
}

}  // namespace
}  // namespace denoised
