#include "common/command_line/standard_output.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

constexpr char kFull[] = "cannot write to standard output: No space left on device";

// Calls `print` in a process of its own, whose standard output is a full disk, and ends that with its result.
template <typename Print>
[[noreturn]] void OnAFullDisk(const Print& print) {
  dup2(open("/dev/full", O_WRONLY), STDOUT_FILENO);
  _exit(print());
}

// Reported: programs whose results were lost on a full disk ended with 0.
TEST(FinishOutputTest, LostOutputIsAnError) {
  const auto printing = [](size_t bytes) {
    return [bytes] {
      std::fputs(std::string(bytes, 'x').c_str(), stdout);
      return FinishOutput("program", 0);
    };
  };
  EXPECT_EXIT(OnAFullDisk(printing(1)), testing::ExitedWithCode(1), std::string("^program: error: ") + kFull + "\n$");
  EXPECT_EXIT(OnAFullDisk(printing(1'000'000)), testing::ExitedWithCode(1),
              "^program: error: cannot write to standard output")
      << "more than stdio holds";
}

TEST(FinishOutputTest, OtherErrorsStay) {
  EXPECT_EXIT(OnAFullDisk([] {
                std::puts("text");
                return FinishOutput("program", 2);
              }),
              testing::ExitedWithCode(2), "^$");
  EXPECT_EXIT(OnAFullDisk([] { return FinishOutput("program", 0); }), testing::ExitedWithCode(0), "^$");
}

TEST(PrintNowTest, SaysWhatIsWrong) {
  EXPECT_EXIT(OnAFullDisk([] {
                std::fputs(std::string(PrintNow("text").message()).c_str(), stderr);
                return 0;
              }),
              testing::ExitedWithCode(0), std::string("^") + kFull + "$");
}

TEST(PrintNowTest, KeepsTheOrder) {
  testing::internal::CaptureStdout();
  std::fputs("one ", stdout);
  EXPECT_THAT(PrintNow("two "), IsOk());
  std::fputs("three", stdout);
  EXPECT_EQ(FinishOutput("program", 0), 0);
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "one two three");
}

TEST(ReserveStandardStreamsTest, NoFileTakesThePlaceOfAClosedStream) {
  const auto open_a_file = [] {
    close(STDIN_FILENO);
    close(STDOUT_FILENO);
    ReserveStandardStreams();
    const int file = open("/dev/null", O_WRONLY);
    std::puts("text");
    _exit(file > STDERR_FILENO ? FinishOutput("program", 0) : 7);
  };
  EXPECT_EXIT(open_a_file(), testing::ExitedWithCode(1), "cannot write to standard output: Bad file descriptor");
}

}  // namespace
}  // namespace denoised
