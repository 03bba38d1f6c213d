// File: fresh_debian.h
//
// A Debian that nothing has been installed in but what debootstrap does: a copy of the base that scripts/image.sh has
// made. As root. What apt fetches is kept for the next one, in build/image/archives.
//
//   FreshDebian debian(packages);  // a folder, read-only, at /packages
//   if (!debian.missing().empty()) GTEST_SKIP() << debian.missing();
//   debian.Run("apt-get install -y /packages/denoised_*.deb");
#ifndef DENOISED_TESTS_INSTALL_FRESH_DEBIAN_H_
#define DENOISED_TESTS_INSTALL_FRESH_DEBIAN_H_

#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/strip.h"
#include "tests/testing/program.h"

namespace denoised {

class FreshDebian {
 public:
  explicit FreshDebian(const std::string& packages) : packages_(packages) {
    if (getuid() != 0 || !std::filesystem::exists("/usr/bin/buildah")) return;
    const ProgramResult made = Buildah({"from", "--pull-never", "localhost/denoised-base"});
    if (made.exit_code != 0) return;
    container_ = std::string(absl::StripSuffix(made.out, "\n"));
    std::filesystem::create_directories(kArchives);
  }
  ~FreshDebian() {
    if (!container_.empty()) Buildah({"rm", container_});
  }
  FreshDebian(const FreshDebian&) = delete;
  FreshDebian& operator=(const FreshDebian&) = delete;

  // Empty, or why there is none and what to do.
  std::string missing() const {
    return container_.empty() ? "there is no fresh Debian: as root, scripts/setup.sh --image and then scripts/image.sh"
                              : "";
  }

  // Lines of bash, as root, up to the first that fails.
  ProgramResult Run(const std::string& lines) const {
    return Buildah({"run", "--isolation", "chroot", "--user", "0", "--env", "DEBIAN_FRONTEND=noninteractive",
                    "--volume", packages_ + ":/packages:ro", "--volume",
                    std::string(kArchives) + ":/var/cache/apt/archives", container_, "--", "bash", "-euo", "pipefail",
                    "-c", lines});
  }

 private:
  static constexpr char kArchives[] = DENOISED_SOURCE_DIR "/build/image/archives";

  static ProgramResult Buildah(const std::vector<std::string>& arguments) {
    std::vector<std::string> command = {"/usr/bin/buildah", "--root", DENOISED_SOURCE_DIR "/build/image/storage",
                                        "--runroot", DENOISED_SOURCE_DIR "/build/image/run"};
    command.insert(command.end(), arguments.begin(), arguments.end());
    return RunProgram(command);
  }

  const std::string packages_;
  std::string container_;
};

}  // namespace denoised

#endif  // DENOISED_TESTS_INSTALL_FRESH_DEBIAN_H_
