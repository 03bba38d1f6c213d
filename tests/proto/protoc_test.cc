// The code that users generate from the contract.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <regex>

#include "tests/testing/program.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

ProgramResult Shell(const std::string& command, const TempFolder& folder) {
  return RunProgram({"/bin/sh", "-c", command}, {}, folder.path());
}

// Field report "the documented line makes code that does not import": it needs no other file of this tree.
TEST(ProtocTest, TheReadmesLineMakesAModuleThatStandsAlone) {
  const std::string readme = Slurp(DENOISED_SOURCE_DIR "/README.md");
  std::smatch line;
  ASSERT_TRUE(std::regex_search(readme, line, std::regex("\nprotoc [^\n]*")));
  const TempFolder folder;
  std::filesystem::create_directories(folder.File("proto/denoised/v1"));
  std::filesystem::copy_file(DENOISED_SOURCE_DIR "/proto/denoised/v1/digit_service.proto",
                             folder.File("proto/denoised/v1/digit_service.proto"));
  const ProgramResult made = Shell(line.str(), folder);
  ASSERT_EQ(made.exit_code, 0) << made.err;
  EXPECT_TRUE(std::filesystem::exists(folder.File("denoised/v1/digit_service_pb2.py")));
  if (Shell("/usr/bin/python3 -c 'import google.protobuf'", folder).exit_code != 0) {
    GTEST_SKIP()
        << "Python has no Protobuf here, so that the module is made and not imported; scripts/setup.sh --tests "
           "installs it";
  }
  const ProgramResult imported = Shell("/usr/bin/python3 -c 'import denoised.v1.digit_service_pb2'", folder);
  EXPECT_EQ(imported.exit_code, 0) << imported.err;
}

}  // namespace
}  // namespace denoised
