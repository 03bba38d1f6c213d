// File: process_figures.h
//
// What a process has taken of the system: memory, descriptors, threads.
//
//   const ProcessFigures before = FiguresOf(server.pid());
#ifndef DENOISED_TESTS_TESTING_PROCESS_FIGURES_H_
#define DENOISED_TESTS_TESTING_PROCESS_FIGURES_H_

#include <sys/types.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>

namespace denoised {

struct ProcessFigures {
  int64_t resident_kib = 0;
  int64_t descriptors = 0;
  int64_t threads = 0;
};

// Zeros for a process that is gone.
inline ProcessFigures FiguresOf(pid_t pid) {
  const std::string folder = "/proc/" + std::to_string(pid);
  const auto entries = [&folder](const char* name) {
    std::error_code error;
    const std::filesystem::directory_iterator files(folder + name, error);
    return error ? 0 : std::distance(begin(files), end(files));
  };
  std::ifstream memory(folder + "/statm");
  int64_t size = 0, resident = 0;
  memory >> size >> resident;
  return {.resident_kib = resident * (sysconf(_SC_PAGESIZE) / 1024),
          .descriptors = entries("/fd"),
          .threads = entries("/task")};
}

}  // namespace denoised

#endif  // DENOISED_TESTS_TESTING_PROCESS_FIGURES_H_
