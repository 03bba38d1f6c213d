// Debian packages of this build: all of them in a fresh Debian, from installing to purging, and that of the client
// library for C++ as dpkg and an outside project see it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/install/fresh_debian.h"
#include "tests/install/installation.h"
#include "tests/install/without_sources.h"
#include "tests/testing/free_port.h"
#include "tests/testing/mnist_folder.h"

namespace denoised {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;

std::string MissingToPack() {
  return HasProgram("dpkg-deb") && HasProgram("file")
             ? ""
             : "dpkg-deb or file is missing; scripts/setup.sh --packages brings both";
}

// Packs these components of this build into a folder.
void Pack(const std::string& components, const std::string& into) {
  const ProgramResult packed =
      RunProgram({"/usr/bin/env", "flock", DENOISED_BUILD_DIR "/install.lock", DENOISED_CPACK, "--config",
                  DENOISED_BUILD_DIR "/CPackConfig.cmake", "-D", "CPACK_COMPONENTS_ALL=" + components, "-B", into});
  ASSERT_EQ(packed.exit_code, 0) << packed.err;
}

class LibraryPackageTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string missing = MissingToPack(); !missing.empty()) GTEST_SKIP() << missing;
    ASSERT_NO_FATAL_FAILURE(Pack("development", folder_.File("packages")));
    for (const auto& entry : std::filesystem::directory_iterator(folder_.File("packages"))) {
      if (entry.path().extension() == ".deb") package_ = entry.path().string();
    }
  }
  std::string Told(const std::string& option, const std::string& field = "") const {
    return RunProgram({"/bin/sh", "-c", "dpkg-deb " + option + " '" + package_ + "' " + field}).out;
  }

  TempFolder folder_;
  std::string package_;
};

TEST_F(LibraryPackageTest, HoldsTheLibraryAndNamesWhatItNeeds) {
  EXPECT_THAT(package_, MatchesRegex(".*/libdenoised-dev_[0-9.]+-1~deb[0-9]+_[a-z0-9]+\\.deb"));
  EXPECT_EQ(Told("--field", "Section"), "libdevel\n");
  EXPECT_THAT(Told("--field", "Depends"), HasSubstr("libgrpc++-dev"));
  // Reported: each package was summed up as the whole project.
  EXPECT_EQ(Told("--field", "Description"),
            "client library of denoised for C++\n"
            " Messages and gRPC stubs of the API denoised.v1 as a static library, headers\n"
            " and CMake's package: find_package(denoised), denoised::api.\n");
  const std::string files = Told("--contents");
  for (const char* file : {"./usr/include/denoised/denoised/v1/digit_service.grpc.pb.h", "libdenoised_api.a",
                           "/cmake/denoised/denoised-config.cmake", "./usr/share/doc/libdenoised-dev/copyright"}) {
    EXPECT_THAT(files, HasSubstr(file));
  }
  EXPECT_THAT(files, Not(HasSubstr("./usr/bin/")));
}

TEST_F(LibraryPackageTest, OutsideProjectIsBuiltWithIt) {
  if (!CanHideSources()) GTEST_SKIP() << kCannotHide;
  ASSERT_EQ(RunProgram({"/usr/bin/env", "dpkg-deb", "--extract", package_, folder_.File("root")}).exit_code, 0);
  std::filesystem::copy(DENOISED_SOURCE_DIR "/examples/cpp", folder_.File("cpp"));
  const ProgramResult built = RunWithoutSources(
      "'" DENOISED_CMAKE "' -S cpp -B build -D CMAKE_BUILD_TYPE=Release -D CMAKE_CXX_COMPILER='" DENOISED_CXX
      "' \"-DCMAKE_PREFIX_PATH=$PWD/root/usr;" DENOISED_PREFIX_PATH "\" && '" DENOISED_CMAKE
      "' --build build && "
      "build/draw --help",
      {}, folder_.path());
  EXPECT_EQ(built.exit_code, 0) << built.out << built.err;
  EXPECT_THAT(built.out + built.err, HasSubstr("usage: "));
}

// All four packages, and the same again with a higher revision of Debian's.
class PackagesTest : public testing::Test {
 protected:
  static constexpr char kPackages[] = "denoised denoised-client denoised-trainer libdenoised-dev";

  void SetUp() override {
    if (const std::string missing = MissingToPack(); !missing.empty()) GTEST_SKIP() << missing;
    if (!debian_.missing().empty()) GTEST_SKIP() << debian_.missing();
    if (debian_.Run("apt-get update").exit_code != 0)
      GTEST_SKIP() << "apt-get update fails: no mirror of Debian can be reached";
    ASSERT_NO_FATAL_FAILURE(Pack("server;client;trainer;development", folder_.path()));
    const ProgramResult higher =
        RunProgram({"/bin/bash", "-euo", "pipefail", "-c",
                    "mkdir higher; for package in *.deb; do dpkg-deb --raw-extract $package raw; "
                    "sed -i -E 's/^(Version: .*)-1~/\\1-2~/' raw/DEBIAN/control; dpkg-deb -Znone --build raw higher; "
                    "rm -r raw; done"},
                   {}, folder_.path());
    ASSERT_EQ(higher.exit_code, 0) << higher.err;
    std::filesystem::copy(SmallMnistFolder(), folder_.File("mnist"));
  }

  // What these lines print.
  std::string Told(const std::string& lines) const {
    const ProgramResult result = debian_.Run(lines);
    EXPECT_EQ(result.exit_code, 0) << lines << result.out << result.err;
    return result.out;
  }
  // A picture's SHA-256, by server and client.
  std::string Draw() const {
    const std::string address = "127.0.0.1:" + std::to_string(FreePort());
    return Told("cd /tmp; denoised --threads 1 --lame_duck 0 --metrics_listen off --listen " + address +
                " 2>server.log & trap 'kill $! && wait $!' EXIT\n"
                "denoise 7 --seed 42 --steps 20 --wait=60 --out - --server " +
                address + " | sha256sum");
  }

  const TempFolder folder_;
  const FreshDebian debian_{folder_.path()};
};

TEST_F(PackagesTest, AreInstalledRunUpgradedRemovedAndPurgedInAFreshDebian) {
  Told("apt-get install -y --no-install-recommends /packages/*.deb");
  const std::string drawn = Draw();
  EXPECT_THAT(drawn, MatchesRegex("[0-9a-f]{64}  -\n"));
  Told(
      "denoise-train --data /packages/mnist --out /tmp/run --noverify_data --channels 8,16,16 --batch_size 16 "
      "--max_steps 1\n"
      "denoised --check --checkpoint /tmp/run/best.pt && denoise-eval --version && denoised-capacity --version\n"
      "test -e /usr/include/denoised/denoised/v1/digit_service.grpc.pb.h");
  for (const absl::string_view package : absl::StrSplit(kPackages, ' ')) {
    const nlohmann::json bill = nlohmann::json::parse(Told(absl::StrCat("/usr/share/", package, "/sbom.sh")));
    std::set<std::string> names;
    for (const nlohmann::json& component : bill["components"]) names.insert(component["name"]);
    EXPECT_THAT(names, testing::IsSupersetOf({std::string(package), std::string("denoise"), std::string("cli11")}));
  }

  const std::string versions = absl::StrCat("dpkg-query -W -f='${Status} ${Version}\n' ", kPackages);
  EXPECT_THAT(Told(versions), MatchesRegex("(install ok installed [0-9.]+-1~deb[0-9]+\n){4}"));
  Told("apt-get install -y --no-install-recommends /packages/higher/*.deb");
  EXPECT_THAT(Told(versions), MatchesRegex("(install ok installed [0-9.]+-2~deb[0-9]+\n){4}"));
  EXPECT_EQ(Draw(), drawn);

  Told(absl::StrCat("apt-get remove -y ", kPackages));
  EXPECT_EQ(Told("compgen -c denoise || true"), "");
  Told(absl::StrCat("dpkg --purge ", kPackages));
  EXPECT_EQ(
      Told("dpkg-query -W -f='${Package} ${Status}\n' '*denoise*' 2>/dev/null | grep -v ' not-installed$' || true"),
      "");
  EXPECT_EQ(Told("find /bin /etc /lib /opt /sbin /srv /usr /var/lib/systemd -name '*denoise*'"), "");
}

}  // namespace
}  // namespace denoised
