// File: standard_output.h
//
// What a program prints on standard output, and that it could not be printed.
//
//   DENOISED_RETURN_IF_ERROR(PrintNow(line + "\n"));
//   ...
//   int main(int argc, char** argv) { return denoised::FinishOutput("denoise", denoised::Main(argc, argv)); }
//
// Errors are "cannot write to standard output: No space left on device". Not thread-safe.
#ifndef DENOISED_COMMON_COMMAND_LINE_STANDARD_OUTPUT_H_
#define DENOISED_COMMON_COMMAND_LINE_STANDARD_OUTPUT_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace denoised {

// Sees to it that no file that is opened later takes the place of a standard stream that is closed: writing to that
// stream is an error. To be called before anything stays open.
void ReserveStandardStreams();

// Prints `text`, after what stdio still holds, for a reader who waits for it; or more than stdio holds, for the reason
// why that cannot be.
absl::Status PrintNow(std::string_view text);

// The last thing that a program does: prints what stdio still holds. If that, or anything that was printed before, has
// been lost, a program that would have ended well says so on stderr and ends with EXIT_FAILURE. Otherwise `code`.
int FinishOutput(const std::string& program, int code);

}  // namespace denoised

#endif  // DENOISED_COMMON_COMMAND_LINE_STANDARD_OUTPUT_H_
