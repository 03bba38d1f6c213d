// cmake/LibTorch.cmake, with LibTorches that cannot be used: what it says of each. They are folders with a version, a
// file for each library, and nothing else.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/testing/program.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class LibTorchTest : public testing::Test {
 protected:
  // A folder as pip's PyTorch has it.
  std::string MakeLibTorch(const std::string& name, const std::string& version = "2.15.0") {
    Write(name + "/include/torch/csrc/api/include/torch/version.h", "#include <torch/headeronly/version.h>\n");
    std::string numbers;
    size_t begin = 0;
    for (const char* part : {"MAJOR", "MINOR", "PATCH"}) {
      const size_t end = version.find('.', begin);
      numbers += std::string("#define TORCH_VERSION_") + part + " " + version.substr(begin, end - begin) + "\n";
      begin = end + 1;
    }
    Write(name + "/include/torch/headeronly/version.h", numbers);
    Write(name + "/lib/libtorch_cpu.so", "");
    Write(name + "/lib/libc10.so", "\n_ZN3c105ErrorC1ENS_14SourceLocationENSt7__cxx1112basic_string\n");
    std::filesystem::create_directories(folder_.File(name + "/share/cmake"));
    return folder_.File(name);
  }

  void Write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(folder_.File(path)).parent_path());
    folder_.Write(path, text);
  }

  // What CMake says when it is told of these folders, its line breaks as spaces.
  std::string Find(const std::string& prefixes, const std::string& more = "-DNOTHING=1") {
    const ProgramResult result =
        RunProgram({DENOISED_CMAKE, "-DCMAKE_FIND_LIBRARY_PREFIXES=lib", "-DCMAKE_FIND_LIBRARY_SUFFIXES=.so",
                    "-DCMAKE_FIND_USE_CMAKE_SYSTEM_PATH=OFF", "-DCMAKE_PREFIX_PATH=" + prefixes, more, "-P",
                    std::string(DENOISED_SOURCE_DIR) + "/cmake/LibTorch.cmake"});
    EXPECT_NE(result.exit_code, 0);
    std::string words;
    for (const char c : result.err) {
      const char plain = c == '\n' ? ' ' : c;
      if (plain != ' ' || words.empty() || words.back() != ' ') words += plain;
    }
    return words;
  }

  TempFolder folder_;
};

TEST_F(LibTorchTest, NoneIsSaidWithBothWaysToGetOne) {
  EXPECT_THAT(Find(folder_.path()), AllOf(HasSubstr("LibTorch was not found."),
                                          HasSubstr("apt-get install libtorch-dev"), HasSubstr("pip install torch")));
}

TEST_F(LibTorchTest, TwoAreSaidWithTheirFolders) {
  const std::string a = MakeLibTorch("a"), b = MakeLibTorch("b");
  EXPECT_THAT(Find(a + "/share/cmake;" + b + "/share/cmake"),
              AllOf(HasSubstr("Two LibTorches were found: " + a + "/lib/libtorch_cpu.so " + b + "/lib/libtorch_cpu.so"),
                    HasSubstr("-DTorch_ROOT=FOLDER")));
}

// As in a build folder that was configured with another one before.
TEST_F(LibTorchTest, HeadersOfOneWithLibrariesOfAnotherAreSaid) {
  const std::string a = MakeLibTorch("a"), b = MakeLibTorch("b");
  EXPECT_THAT(Find(a + "/share/cmake", "-DLIBTORCH_LIBRARY=" + b + "/lib/libtorch_cpu.so"),
              AllOf(HasSubstr("Two LibTorches were found: " + b), HasSubstr("an empty build folder")));
}

TEST_F(LibTorchTest, AnOldOneIsSaid) {
  const std::string old = MakeLibTorch("old", "1.12.1");
  EXPECT_THAT(Find(old + "/share/cmake"),
              HasSubstr(old + "/lib/libtorch_cpu.so is LibTorch 1.12.1; denoised needs 1.13 or later."));
}

// PyTorch's wheels before 2.7.
TEST_F(LibTorchTest, AnotherAbiIsSaid) {
  const std::string old = MakeLibTorch("old", "2.4.1");
  Write("old/lib/libc10.so", "\n_ZN3c105ErrorC1ENS_14SourceLocationESs\n");
  EXPECT_THAT(Find(old + "/share/cmake"), AllOf(HasSubstr("was built with the C++ ABI from before C++11"),
                                                HasSubstr("Use pip's PyTorch 2.7 or later")));
}

// As after `pip install --no-deps torch`.
TEST_F(LibTorchTest, WhatItNeedsAndIsNotThereIsSaid) {
  const std::string torch = MakeLibTorch("torch");
  Write("nothing.cc", "");
  const std::string absent = folder_.File("libcudart.so.13"), library = torch + "/lib/libtorch_cpu.so";
  ASSERT_EQ(
      RunProgram({DENOISED_CXX, "-shared", "-Wl,-soname,libcudart.so.13", "-o", absent, folder_.File("nothing.cc")})
          .exit_code,
      0);
  ASSERT_EQ(RunProgram({DENOISED_CXX, "-shared", "-Wl,--no-as-needed", "-o", library, absent}).exit_code, 0);
  std::filesystem::remove(absent);
  EXPECT_THAT(Find(torch + "/share/cmake"), AllOf(HasSubstr("cannot be loaded: it needs libcudart.so.13."),
                                                  HasSubstr("install it without --no-deps")));
}

}  // namespace
}  // namespace denoised
