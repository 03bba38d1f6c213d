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

#include "tests/testing/program.h"
#include "tests/testing/temp_folder.h"

namespace denoised {

struct Example {
  std::string name;
  std::string title;                 // in tables
  std::string folder;                // of examples/, and of its copy in build/examples/
  std::vector<std::string> command;  // that draws; paths are those of the copy
  std::string product;               // what there is once it has been built
  std::string version;               // a shell's line that prints what language and library it is, in its folder
  bool has_service_config = true;    // and so balances over several servers
  bool asks_health = true;           // of each of them, and leaves those that are about to stop

  // Paths within build/examples; absolute ones stay as they are.
  static std::string Built(const std::string& path) {
    return (std::filesystem::path(DENOISED_SOURCE_DIR "/build/examples") / path).string();
  }

  std::vector<std::string> Command(const std::vector<std::string>& arguments) const {
    std::vector<std::string> all = command;
    all.insert(all.end(), arguments.begin(), arguments.end());
    return all;
  }

  // As "Go 1.19, grpc-go 1.64.1".
  std::string Version() const {
    const std::string there = std::filesystem::exists(Built(folder)) ? Built(folder) : "";
    const ProgramResult printed = RunProgram({"/bin/sh", "-c", version}, {}, there);
    return printed.out.substr(0, printed.out.find('\n'));
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
  const std::string python = built("python/.venv/bin/python"), cpp = DENOISED_BIN_DIR "/../examples/cpp/draw";
  const std::string stubs = "python/denoised/v1/digit_service_pb2_grpc.py";
  const std::string python_version =
      python +
      R"( -c 'import platform, grpc; print("Python", platform.python_version() + ", grpcio", grpc.__version__)')";
  return {
      {"Python", "Python", "python", {python, built("python/draw.py")}, stubs, python_version},
      {"PythonAsyncio", "Python, asyncio", "python", {python, built("python/draw_asyncio.py")}, stubs, python_version},
      {"Go",
       "Go",
       "go",
       {built("go/bin/draw")},
       "go/bin/draw",
       "go version -m bin/draw |"
       R"(awk '/: go/ {go = substr($2, 3)} $2 ~ "org/grpc$" {print "Go " go ", grpc-go " substr($3, 2)}')"},
      {.name = "Node",
       .title = "Node.js",
       .folder = "node",
       .command = {"/usr/bin/env", "node", built("node/draw.js")},
       .product = "node/node_modules/@grpc/grpc-js/package.json",
       .version =
           R"(node -p '`Node.js ${process.versions.node}, grpc-js ${require("@grpc/grpc-js/package.json").version}`')",
       .asks_health = false},
      {"Java",
       "Java",
       "java",
       {"/usr/bin/env", "java", "-jar", built("java/target/draw.jar")},
       "java/target/draw.jar",
       R"(echo Java $(java -version 2>&1 | cut -d '"' -f 2 -s), )"
       R"(grpc-java $(sed -n 's|.*<grpc.version>\(.*\)</grpc.version>|\1|p' pom.xml))"},
      {"Cpp", "C++", "cpp", {cpp}, cpp, "ldd " + cpp + R"( | sed -n 's/.*libgrpc++\.so\.\(.*\) =>.*/gRPC C++ \1/p')"},
      {.name = "Grpcurl",
       .title = "Shell, `draw.sh`",
       .folder = "shell",
       .command = {"/bin/sh", "-c", "PATH=" + built("tools/bin") + ":$PATH exec \"$0\" \"$@\"", built("shell/draw.sh")},
       .product = "tools/bin/grpcurl",
       .version = R"(go version -m ../tools/bin/grpcurl | awk '$1 == "mod" {print "grpcurl " substr($3, 2)}')",
       .has_service_config = false},
  };
}

}  // namespace denoised

#endif  // DENOISED_TESTS_EXAMPLES_EXAMPLE_H_
