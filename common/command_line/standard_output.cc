#include "common/command_line/standard_output.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "common/support/file.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

constexpr char kLost[] = "cannot write to standard output";

// NOTE: the reason why something was lost that stdio wrote earlier is gone.
absl::Status Flush() {
  if (std::fflush(stdout) != 0) return absl::ErrnoToStatus(errno, kLost);
  return std::ferror(stdout) == 0 ? absl::OkStatus() : absl::UnavailableError(kLost);
}

}  // namespace

void ReserveStandardStreams() {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(descriptor, F_GETFD) >= 0) continue;
    // The lowest free descriptor, which is this one. Opened the wrong way round, so that using it fails.
    static_cast<void>(open("/dev/null", descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY));
  }
}

absl::Status PrintNow(std::string_view text) {
  DENOISED_RETURN_IF_ERROR(Flush());
  return WriteToStdout(text);
}

int FinishOutput(const std::string& program, int code) {
  const absl::Status status = Flush();
  if (status.ok() || code != EXIT_SUCCESS) return code;
  std::fprintf(stderr, "%s: error: %s\n", program.c_str(), std::string(status.message()).c_str());
  return EXIT_FAILURE;
}

}  // namespace denoised
