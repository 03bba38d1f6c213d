// File: without_sources.h
//
// Scripts that run where sources and build are gone, as on any machine but the one that it was built on.
//
//   if (!CanHideSources()) GTEST_SKIP() << kCannotHide;
//   RunWithoutSources("\"$P/bin/denoise\" --help", {"P=" + installed.prefix()}, folder.path());
#ifndef DENOISED_TESTS_INSTALL_WITHOUT_SOURCES_H_
#define DENOISED_TESTS_INSTALL_WITHOUT_SOURCES_H_

#include <unistd.h>

#include <string>
#include <vector>

#include "tests/testing/program.h"

namespace denoised {

inline constexpr char kCannotHide[] =
    "the sources cannot be hidden: this system lets neither root nor anybody else have a mount namespace";

// By bash, in a mount namespace of its own in which an empty folder lies over sources and build. It ends at the first
// command that fails. `environment`: "NAME=value" added to this process's own.
inline ProgramResult RunWithoutSources(const std::string& script, const std::vector<std::string>& environment,
                                       const std::string& folder) {
  std::vector<std::string> command = {"/usr/bin/env", "unshare", "--mount"};
  if (geteuid() != 0) command.emplace_back("--map-root-user");
  command.insert(command.end(), {"/bin/bash", "-euc",
                                 "for folder in '" DENOISED_SOURCE_DIR "' '" DENOISED_BUILD_DIR
                                 "'; do if [ -d \"$folder\" ]; then mount -t tmpfs none \"$folder\"; fi; done\n" +
                                     script});
  return RunProgram(command, environment, folder);
}

inline bool CanHideSources() {
  return RunWithoutSources("[ ! -e '" DENOISED_SOURCE_DIR "/CMakeLists.txt' ]", {}, "/").exit_code == 0;
}

}  // namespace denoised

#endif  // DENOISED_TESTS_INSTALL_WITHOUT_SOURCES_H_
