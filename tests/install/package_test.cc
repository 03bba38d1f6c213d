// The Debian package of the client library for C++, as dpkg and an outside project see it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "tests/install/installation.h"
#include "tests/install/without_sources.h"

namespace denoised {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;

class LibraryPackageTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!HasProgram("dpkg-deb") || !HasProgram("file"))
      GTEST_SKIP() << "scripts/setup.sh --packages brings what is missing";
    const ProgramResult packed = RunProgram({"/usr/bin/env", "flock", DENOISED_BUILD_DIR "/install.lock",
                                             DENOISED_CPACK, "--config", DENOISED_BUILD_DIR "/CPackConfig.cmake", "-D",
                                             "CPACK_COMPONENTS_ALL=development", "-B", folder_.File("packages")});
    ASSERT_EQ(packed.exit_code, 0) << packed.err;
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

}  // namespace
}  // namespace denoised
