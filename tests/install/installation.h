// File: installation.h
//
// This build, installed into a folder of the test's own.
//
//   const Installation installed;
//   RunProgram({installed.File("bin/denoise"), "--help"});
#ifndef DENOISED_TESTS_INSTALL_INSTALLATION_H_
#define DENOISED_TESTS_INSTALL_INSTALLATION_H_

#include <stdexcept>
#include <string>

#include "tests/testing/program.h"
#include "tests/testing/temp_folder.h"

namespace denoised {

// The programs that are installed, and have manual pages and completions.
inline constexpr const char* kPrograms[] = {"denoise", "denoised", "denoised-capacity", "denoise-train",
                                            "denoise-eval"};

class Installation {
 public:
  // NOTE: one test after the other, as installing writes into the build tree what it installs.
  Installation() {
    const ProgramResult result = RunProgram({"/usr/bin/env", "flock", DENOISED_BUILD_DIR "/install.lock",
                                             DENOISED_CMAKE, "--install", DENOISED_BUILD_DIR, "--prefix", prefix()});
    if (result.exit_code != 0) throw std::runtime_error("cmake --install failed: " + result.err);
  }

  std::string prefix() const { return folder_.File("prefix"); }
  std::string File(const std::string& name) const { return prefix() + "/" + name; }

 private:
  TempFolder folder_;
};

// Whether the shell finds a program; tests that need one which is not there are skipped.
inline bool HasProgram(const std::string& name) {
  return RunProgram({"/bin/sh", "-c", "command -v " + name}).exit_code == 0;
}

}  // namespace denoised

#endif  // DENOISED_TESTS_INSTALL_INSTALLATION_H_
