#include "server/telemetry/logging.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <google/protobuf/wrappers.pb.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>

namespace denoised {
namespace {

using testing::ExitedWithCode;

// In processes of their own: the log is one for each.

TEST(LoggingDeathTest, LinesAreWrittenBeforeTheProcessEnds) {
  EXPECT_EXIT(
      {
        SetUpLogging({.level = "info", .format = LogFormat::kText});
        spdlog::debug("not this");
        spdlog::info("the last words");
        EndProcess(7);
      },
      ExitedWithCode(7), "^[^ ]+ info the last words\n$");
}

// A pipe that nobody reads holds 64 KiB. Whoever logs goes on, and so does the end of the process.
TEST(LoggingDeathTest, NobodyWaitsForAReaderThatStandsStill) {
  EXPECT_EXIT(
      {
        int ends[2];
        if (pipe(ends) != 0 || dup2(ends[1], STDERR_FILENO) < 0) std::_Exit(1);
        SetUpLogging({.level = "info", .format = LogFormat::kJson});
        for (int i = 0; i < 4 * kLogQueue; ++i) LogLine(spdlog::level::info, "drew 1 of digit 7", {{"steps", 1000}});
        EndProcess(LogLinesLost() > 0 ? 7 : 2);
      },
      ExitedWithCode(7), "");
}

TEST(LoggingDeathTest, FlushingGivesUp) {
  EXPECT_EXIT(
      {
        int ends[2];
        if (pipe(ends) != 0 || dup2(ends[1], STDERR_FILENO) < 0) std::_Exit(1);
        SetUpLogging({.level = "info", .format = LogFormat::kJson});
        const bool nothing_waits = FlushLog(std::chrono::minutes(1));
        for (int i = 0; i < kLogQueue / 2; ++i) spdlog::info("a line");
        std::_Exit(nothing_waits && !FlushLog(std::chrono::milliseconds(50)) ? 7 : 2);
      },
      ExitedWithCode(7), "");
}

// Strangers' bytes would else make it write a line of its own, past the queue and in no format.
TEST(LoggingDeathTest, ProtobufsWordsAreLinesOfDebug) {
  EXPECT_EXIT(
      {
        SetUpLogging({.level = "info", .format = LogFormat::kText});
        google::protobuf::StringValue text;
        const bool parsed = text.ParseFromString("\x0a\x01\xff");
        spdlog::info("the last words");
        EndProcess(parsed ? 2 : 7);
      },
      ExitedWithCode(7), "^[^ ]+ info the last words\n$");
}

}  // namespace
}  // namespace denoised
