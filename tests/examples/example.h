// File: example.h
//
// The programs of examples/, one for each language, as scripts/setup.sh --examples builds them below build/examples.
//
//   for (const Example& example : Examples()) {
//     if (!example.Missing().empty()) continue;
//     RunProgram(example.Command({"7", "--server", address}));
//   }
#ifndef DENOISED_TESTS_EXAMPLES_EXAMPLE_H_
#define DENOISED_TESTS_EXAMPLES_EXAMPLE_H_

#include <filesystem>
#include <ostream>
#include <string>
#include <vector>

#include "tests/testing/temp_folder.h"

namespace denoised {

struct Example {
  std::string name;
  std::string folder;                // of examples/, and of its copy in build/examples/
  std::vector<std::string> command;  // that draws; paths are those of the copy
  std::string product;               // what there is once it has been built

  // Paths within build/examples; absolute ones stay as they are.
  static std::string Built(const std::string& path) {
    return (std::filesystem::path(DENOISED_SOURCE_DIR "/build/examples") / path).string();
  }

  std::vector<std::string> Command(const std::vector<std::string>& arguments) const {
    std::vector<std::string> all = command;
    all.insert(all.end(), arguments.begin(), arguments.end());
    return all;
  }

  // Empty, or why it cannot be run and what to do.
  std::string Missing() const {
    if (!std::filesystem::exists(Built(product))) {
      return "examples/" + folder + " is not built here; scripts/setup.sh --examples builds it";
    }
    if (std::filesystem::path(product).is_absolute()) return "";  // built with this test
    const std::filesystem::path source = DENOISED_SOURCE_DIR "/examples/" + folder;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(source)) {
      const std::string file = std::filesystem::relative(entry.path(), source).string();
      if (entry.is_regular_file() && Slurp(entry.path().string()) != Slurp(Built(folder + "/" + file))) {
        return "examples/" + folder + "/" + file +
               " is newer than what was built; scripts/setup.sh --examples builds it";
      }
    }
    return "";
  }
};

inline void PrintTo(const Example& example, std::ostream* out) { *out << example.name; }

inline std::vector<Example> Examples() {
  const auto built = &Example::Built;
  const std::string python = built("python/.venv/bin/python");
  return {
      {"Python", "python", {python, built("python/draw.py")}, "python/denoised/v1/digit_service_pb2_grpc.py"},
      {"PythonAsyncio",
       "python",
       {python, built("python/draw_asyncio.py")},
       "python/denoised/v1/digit_service_pb2_grpc.py"},
      {"Go", "go", {built("go/bin/draw")}, "go/bin/draw"},
      {"Node", "node", {"/usr/bin/env", "node", built("node/draw.js")}, "node/node_modules/@grpc/grpc-js/package.json"},
      {"Java", "java", {"/usr/bin/env", "java", "-jar", built("java/target/draw.jar")}, "java/target/draw.jar"},
      {"Cpp", "cpp", {DENOISED_BIN_DIR "/../examples/cpp/draw"}, DENOISED_BIN_DIR "/../examples/cpp/draw"},
      {"Grpcurl",
       "shell",
       {"/bin/sh", "-c", "PATH=" + built("tools/bin") + ":$PATH exec \"$0\" \"$@\"", built("shell/draw.sh")},
       "tools/bin/grpcurl"},
  };
}

}  // namespace denoised

#endif  // DENOISED_TESTS_EXAMPLES_EXAMPLE_H_
