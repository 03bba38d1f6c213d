// What README.md and docs/ tell people to type: each block is run as it stands, by a test of this file or by another
// one, or is on a list of those that cannot be, with the reason.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "tests/examples/example.h"
#include "tests/testing/free_port.h"
#include "tests/testing/program.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/test_certificates.h"

namespace denoised {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

constexpr char kSource[] = DENOISED_SOURCE_DIR "/";

// What stands between ```LANGUAGE and ```.
struct Block {
  std::string document, language, text;
};

std::vector<Block> BlocksOf(const std::string& document) {
  std::istringstream lines(Slurp(kSource + document));
  std::vector<Block> blocks;
  bool inside = false;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("```")) {
      inside = !inside;
      if (inside) blocks.push_back({document, line.substr(3), ""});
    } else if (inside) {
      absl::StrAppend(&blocks.back().text, line, "\n");
    }
  }
  return blocks;
}

// The first command of a console begins after "$ ".
std::string Begin(const Block& block) { return block.text.substr(block.text.starts_with("$ ") ? 2 : 0); }

// The one that begins so.
Block BlockOf(const std::string& document, const std::string& start) {
  for (const Block& block : BlocksOf(document)) {
    if (Begin(block).starts_with(start)) return block;
  }
  throw std::runtime_error(absl::StrCat(document, " has no block that begins with ", start));
}

// A block, and the test that runs it, or tries the same; or why none does.
struct Row {
  const char *document, *start, *test, *reason;
};

const char kMachine[] = "installs packages and builds the whole tree";
const char kDocker[] = "Docker; ImageTest runs what the Dockerfile makes, by buildah";
const char kHours[] = "learns for hours from data that it fetches; OwnDataTest goes the same way in small";

// From the lines on that draw; scripts/build_examples.sh and the build of the tests do what stands before.
const char kLanguage[] = "LanguageGuidesTest.ItsProgramAnswersAsShown";

const std::vector<Row> kBlocks = {
    {"README.md", "scripts/demo.sh", "", kMachine},
    {"README.md", "python3 -m venv torch", "", kMachine},
    {"README.md", "scripts/package.sh", "", kMachine},
    {"README.md", "scripts/setup.sh --serving", "", kMachine},
    {"README.md", "export PATH=", "GuidesTest.TheFirstDigitComesFromAServerThatIsStillStarting", ""},
    {"README.md", "build/release/bin/denoised --http_listen", "GuidesTest.ThePageIsThere", ""},
    {"README.md", "curl -o 7.png", "GuidesTest.CurlGetsAPictureAndEvents", ""},
    {"README.md", "denoised --http_listen 0.0.0.0:8443", "GuidesTest.HttpsWithATokenDraws", ""},
    {"README.md", "(umask 077", "GuidesTest.ATokenIsMadeAndTaken", ""},
    {"README.md", "docker compose", "", kDocker},
    {"README.md", "docker build -t denoised --build-arg", "", kDocker},
    {"README.md", "docker build -t denoised:cuda", "", kDocker},
    {"README.md", "docker build -t denoised:trainer", "", kDocker},
    {"README.md", "kubectl apply", "",
     "a cluster; scripts/kubernetes_admission.sh has an API server take what is applied"},
    {"README.md", "grpcurl ", "ExamplesTest.DocumentedLinesOfOtherToolsEndInThePngThatDenoiseDraws", ""},
    {"README.md", "cd examples/python", kLanguage, ""},
    {"README.md", "cd examples/go", kLanguage, ""},
    {"README.md", "cd examples/node", kLanguage, ""},
    {"README.md", "cd examples/java", kLanguage, ""},
    {"README.md", "cmake --build --preset release --target denoised_api", kLanguage, ""},
    {"README.md", "examples/shell/draw.sh", "GuidesTest.TheShellDraws", ""},
    {"README.md", "protoc ", "ProtocTest.TheReadmesLineMakesAModuleThatStandsAlone", ""},
    {"README.md", "scripts/download_mnist.sh", "", kHours},
    {"README.md", "build/release/bin/denoise-train --data data --out look", "", kHours},
    {"README.md", "ls letters", "OwnDataTest.ClassesHaveTheirFoldersNamesFromTrainingToThePng", ""},
    {"README.md", "build/release/bin/denoise-eval --train_judges",
     "DenoiseEvalClassesTest.ThreeClassesFromJudgesToAClassifier", ""},
    {"docs/capacity.md", "denoised-capacity", "CapacityTest.MeasuresThisMachineAndCanUseItsTimesAgain", ""},
    {"docs/clients.md", "build/release/bin/examples_tests", "ExamplesTest.OneSeedGivesTheSameBytesInEveryLanguage", ""},
    {"docs/clients.md", "cd examples/python", kLanguage, ""},
    {"docs/clients.md", "cd examples/go", kLanguage, ""},
    {"docs/clients.md", "cd examples/node", kLanguage, ""},
    {"docs/clients.md", "cd examples/java", kLanguage, ""},
    {"docs/clients.md", "cmake --build --preset release --target denoised_api", kLanguage, ""},
    {"docs/clients.md", "examples/shell/draw.sh", "GuidesTest.TheShellDraws", ""},
    {"docs/clients.md", "buf curl --protocol grpc --http2-prior-knowledge -d '{\"digit\"",
     "ExamplesTest.DocumentedLinesOfOtherToolsEndInThePngThatDenoiseDraws", ""},
    {"docs/clients.md", "buf curl --protocol grpc --http2-prior-knowledge -d '{\"class_name\"",
     "GuidesTest.BufNamesAClass", ""},
    {"docs/clients.md", "curl -fsS -o", "ExamplesTest.DocumentedLinesOfCurlEndInThePngThatDenoiseDraws", ""},
    {"docs/clients.md", "curl -fsSN", "ExamplesTest.DocumentedLinesOfCurlEndInThePngThatDenoiseDraws", ""},
    {"docs/clients.md", "(umask 077", "CurlTest.DocumentedLinesWithTlsAndATokenEndInThePngThatDenoiseDraws", ""},
    {"docs/clients.md", "set -- --server", "GuidesTest.HttpsWithATokenDraws", ""},
    {"docs/clients.md", "curl http://localhost:9464/healthz", "GuidesTest.HealthIsAskedByCurl", ""},
    {"docs/clients.md", "ghz ", "ExamplesTest.DocumentedLoadOfGhzIsCountedByTheServerToo", ""},
    {"docs/lessons.md", "build/release/bin/denoise-lessons", "DenoiseLessonsTest.DrawsAPictureOfEachLesson", ""},
    {"docs/migrating.md", "import json, torch", "GuidesTest.PythonOpensTheCheckpoint", ""},
    {"docs/operations.md", "docker run -d", "", "Docker; TracesTest has a collector of its own"},
    {"docs/operations.md", "systemd-run", "",
     "systemd; HealthCheckTest.PreflightSaysWhatWouldBeServed has its --check"},
    {"docs/operations.md", "OTEL_RESOURCE_ATTRIBUTES", "ResourceTest.TheEnvironmentWins", ""},
};

std::vector<std::string> Guides() {
  std::vector<std::string> documents = {"README.md"};
  for (const auto& entry : fs::recursive_directory_iterator(std::string(kSource) + "docs")) {
    if (entry.path().extension() == ".md") documents.push_back(fs::relative(entry.path(), kSource).string());
  }
  return documents;
}

std::vector<Block> CommandsOfAllGuides() {
  std::vector<Block> commands;
  for (const std::string& document : Guides()) {
    for (const Block& block : BlocksOf(document)) {
      for (const char* language : {"sh", "bash", "console", "python"}) {
        if (block.language == language) commands.push_back(block);
      }
    }
  }
  return commands;
}

TEST(GuidesListTest, EachBlockHasItsRowAndEachRowItsBlock) {
  const std::vector<Block> blocks = CommandsOfAllGuides();
  EXPECT_GT(blocks.size(), 40u);
  std::vector<int> uses(kBlocks.size());
  for (const Block& block : blocks) {
    int rows = 0;
    for (size_t i = 0; i < kBlocks.size(); ++i) {
      if (block.document != kBlocks[i].document || !Begin(block).starts_with(kBlocks[i].start)) continue;
      ++rows;
      ++uses[i];
    }
    EXPECT_EQ(rows, 1) << block.document << " has a block that no test is named for, or several:\n" << block.text;
  }
  for (size_t i = 0; i < kBlocks.size(); ++i) {
    EXPECT_EQ(uses[i], 1) << kBlocks[i].document << " has no block, or several, that begin with " << kBlocks[i].start;
  }
}

TEST(GuidesListTest, EachRowNamesATestThatThereIsOrAReason) {
  std::set<std::string> tests;
  const std::regex definition("\nTEST(?:_F|_P)?\\((\\w+),\\s*(\\w+)\\)");
  for (const auto& entry : fs::recursive_directory_iterator(std::string(kSource) + "tests")) {
    if (entry.path().extension() != ".cc") continue;
    const std::string text = Slurp(entry.path().string());
    for (std::sregex_iterator match(text.begin(), text.end(), definition), end; match != end; ++match) {
      tests.insert(absl::StrCat((*match)[1].str(), ".", (*match)[2].str()));
    }
  }
  for (const Row& row : kBlocks) {
    EXPECT_NE(row.test[0] == '\0', row.reason[0] == '\0') << row.start;
    if (row.test[0] != '\0') {
      EXPECT_TRUE(tests.contains(row.test)) << row.test;
    }
  }
}

// Whoever compares what a page shows with what a server of this tree says should find the same.
TEST(GuidesListTest, ModelsThatAreShownAreTheShippedOne) {
  const ProgramResult sum = RunProgram({"/usr/bin/sha256sum", std::string(kSource) + "models/mnist.pt"});
  const std::string version = sum.out.substr(0, 12);
  const std::regex shown("(?:model |\"modelVersion\":\")([0-9a-f]{12})");
  int found = 0;
  for (const Block& block : CommandsOfAllGuides()) {
    for (std::sregex_iterator match(block.text.begin(), block.text.end(), shown), end; match != end; ++match) {
      EXPECT_EQ((*match)[1], version) << block.document << ":\n" << block.text;
      ++found;
    }
  }
  EXPECT_GT(found, 10);
}

TEST(GuidesListTest, PicturesAreThere) {
  const std::regex picture("!\\[[^\\]]+\\]\\(([^)]+)\\)");
  int found = 0;
  for (const std::string& document : Guides()) {
    const std::string text = Slurp(kSource + document);
    for (std::sregex_iterator match(text.begin(), text.end(), picture), end; match != end; ++match) {
      const fs::path path = fs::path(kSource + document).parent_path() / (*match)[1].str();
      EXPECT_TRUE(fs::exists(path)) << document << " shows " << path;
      ++found;
    }
  }
  EXPECT_GT(found, 4);
}

// A clone of this tree that has been built, and ports of its own where documents have the usual ones.
class GuidesTest : public testing::Test {
 protected:
  GuidesTest() {
    fs::create_directories(clone_.File("build/release"));
    fs::create_directory_symlink(DENOISED_BIN_DIR, clone_.File("build/release/bin"));
    for (const char* folder : {"models", "proto", "examples"}) {
      fs::create_directory_symlink(kSource + std::string(folder), clone_.File(folder));
    }
    const TestAuthority authority;
    const TestIdentity server = authority.Issue("server", "", "DNS:localhost,IP:127.0.0.1");
    clone_.Write("ca.pem", authority.pem());
    clone_.Write("server.pem", server.cert);
    clone_.Write("server.key", server.key);
  }

  std::string WithPorts(std::string text) const {
    for (const auto& [usual, own] : ports_) {
      text = absl::StrReplaceAll(text, {{absl::StrCat(":", usual), absl::StrCat(":", own)}});
    }
    return absl::StrReplaceAll(text, {{"denoised.example.org", "localhost"}});
  }

  // Runs what a shell would be given, up to the first failure; what it has started in the background ends with it.
  ProgramResult Shell(const std::string& commands) const {
    const auto port = [this](int usual) { return std::to_string(ports_.at(usual)); };
    const std::string path = absl::StrCat(DENOISED_BIN_DIR, ":", Example::Built("tools/bin"), ":",
                                          Example::Built("tools/node_modules/.bin"), ":", getenv("PATH"));
    std::vector<std::string> environment = {"PATH=" + path,
                                            "HOME=" + clone_.path(),
                                            "no_proxy=localhost,127.0.0.1",
                                            "DENOISED_LISTEN=127.0.0.1:" + port(50051),
                                            "DENOISED_METRICS_LISTEN=127.0.0.1:" + port(9464),
                                            "DENOISED_LAME_DUCK=0",
                                            "DENOISED_THREADS=1",
                                            "DENOISE_SERVER=localhost:" + port(50051)};
    environment.insert(environment.end(), settings_.begin(), settings_.end());
    return RunProgram({"/bin/bash", "-euo", "pipefail", "-c",
                       WithPorts("exec 2>&1\ntrap 'kill $(jobs -p) && wait || true' EXIT\n" + commands)},
                      environment, clone_.path());
  }

  // A console's commands, one that goes on after a backslash included, give the lines that stand below them; figures of
  // time, to which a point belongs, may differ.
  void ExpectConsole(const Block& block, const std::string& before = "", int exit_code = 0) const {
    std::string commands = before;
    std::vector<std::string> answers;
    std::istringstream lines(block.text);
    bool goes_on = false;
    for (std::string line; std::getline(lines, line);) {
      if (goes_on || line.starts_with("$ ")) {
        absl::StrAppend(&commands, goes_on ? line : line.substr(2), "\n");
        goes_on = line.ends_with("\\");
      } else if (line != "...") {
        answers.push_back(line);
      }
    }
    const ProgramResult result = Shell(commands);
    EXPECT_EQ(result.exit_code, exit_code) << commands << result.out;
    EXPECT_FALSE(answers.empty()) << block.text;
    const std::regex time("[0-9]+(\\.[0-9]+)?( ?s\\b)");
    const std::string shown = std::regex_replace(result.out, time, "0.0$2");
    for (const std::string& answer : answers) {
      // What depends on who is quicker; but if it is told, then in these words.
      const std::string waits = "denoise: no server at ";
      if (answer.starts_with(waits) && shown.find(waits) == std::string::npos) continue;
      EXPECT_THAT(shown, HasSubstr(std::regex_replace(WithPorts(answer), time, "0.0$2") + "\n")) << commands;
    }
  }

  // Commands that start a server and wait for it.
  static std::string Server(const std::string& flags = "", const std::string& client_flags = "") {
    return absl::StrCat("denoised ", flags, " >server.log 2>&1 &\ndenoise health --wait ", client_flags,
                        " >health.log\n");
  }

  void MakeToken() const {
    const ProgramResult made =
        Shell("printf secret >lab.token\necho \"lab $(sha256sum <lab.token | cut -d ' ' -f 1)\" >tokens\n");
    ASSERT_EQ(made.exit_code, 0) << made.out;
  }
  static bool Has(const std::string& program) {
    return RunProgram({"/bin/sh", "-c", "command -v " + program}).exit_code == 0;
  }

  std::vector<std::string> settings_;  // further variables
  const TempFolder clone_;
  const std::map<int, int> ports_ = {{50051, FreePort()}, {9464, FreePort()}, {8080, FreePort()}, {8443, FreePort()}};
};

TEST_F(GuidesTest, TheFirstDigitComesFromAServerThatIsStillStarting) {
  // The client must not depend on gRPC's own look at its sockets, every five seconds of the ten that it waits.
  settings_ = {"GRPC_CLIENT_CHANNEL_BACKUP_POLL_INTERVAL_MS=0"};
  ExpectConsole(BlockOf("README.md", "export PATH="));
  EXPECT_THAT(Slurp(clone_.File("digit-7.png")), testing::StartsWith("\x89PNG"));
}

TEST_F(GuidesTest, ThePageIsThere) {
  std::string block = BlockOf("README.md", "build/release/bin/denoised --http_listen").text;
  block.pop_back();
  const ProgramResult page =
      Shell(block + " &\nuntil curl -fs http://127.0.0.1:8080/ -o page.html; do kill -0 $!; sleep 0.1; done\n");
  EXPECT_EQ(page.exit_code, 0) << page.out;
  EXPECT_THAT(Slurp(clone_.File("page.html")), HasSubstr("</html>"));
}

TEST_F(GuidesTest, CurlGetsAPictureAndEvents) {
  ExpectConsole(BlockOf("README.md", "curl -o 7.png"), Server("--http_listen 127.0.0.1:8080"));
  EXPECT_THAT(Slurp(clone_.File("7.png")), testing::StartsWith("\x89PNG"));
}

TEST_F(GuidesTest, HttpsWithATokenDraws) {
  if (!Has("jq")) GTEST_SKIP() << "jq is not installed; scripts/setup.sh --examples installs it";
  MakeToken();
  ExpectConsole(BlockOf("README.md", "denoised --http_listen 0.0.0.0:8443"));
  ExpectConsole(BlockOf("docs/clients.md", "set -- --server"),
                Server("--http_listen 127.0.0.1:8443 --tls_cert server.pem --tls_key server.key --tokens tokens",
                       "--tls_ca ca.pem --token_file lab.token"),
                /*exit_code=*/1);
}

TEST_F(GuidesTest, ATokenIsMadeAndTaken) {
  settings_ = {"DENOISE_TLS_CA=" + clone_.File("ca.pem")};
  const ProgramResult drawn = Shell(BlockOf("README.md", "(umask 077").text);
  EXPECT_EQ(drawn.exit_code, 0) << drawn.out;
  EXPECT_THAT(Slurp(clone_.File("digit-7.png")), testing::StartsWith("\x89PNG"));
}

TEST_F(GuidesTest, TheShellDraws) {
  if (!fs::exists(Example::Built("tools/bin/grpcurl"))) {
    GTEST_SKIP() << "grpcurl is not built here; scripts/setup.sh --examples builds it";
  }
  for (const char* document : {"README.md", "docs/clients.md"}) {
    Block block = BlockOf(document, "examples/shell/draw.sh");
    // It has no setting for where the server is.
    block.text = absl::StrReplaceAll(block.text, {{"draw.sh 7", "draw.sh 7 --server localhost:50051"}});
    ExpectConsole(block, Server());
  }
}

// A class of clothes, which the shipped model has not learned.
TEST_F(GuidesTest, BufNamesAClass) {
  if (!fs::exists(Example::Built("tools/node_modules/.bin/buf"))) {
    GTEST_SKIP() << "buf is not built here; scripts/setup.sh --examples builds it";
  }
  const std::string block =
      BlockOf("docs/clients.md", "buf curl --protocol grpc --http2-prior-knowledge -d '{\"class_name\"").text;
  ASSERT_THAT(block, HasSubstr("\"Ankle boot\""));
  const ProgramResult drawn = Shell(Server() + absl::StrReplaceAll(block, {{"\"Ankle boot\"", "\"7\""}}));
  EXPECT_EQ(drawn.exit_code, 0) << drawn.out;
  EXPECT_THAT(Slurp(clone_.File("ankle-boot.png")), testing::StartsWith("\x89PNG"));
}

TEST_F(GuidesTest, HealthIsAskedByCurl) {
  ExpectConsole(BlockOf("docs/clients.md", "curl http://localhost:9464/healthz"), Server());
}

// A language, how its block begins, and how that calls what Example has built.
struct Language {
  std::string name, start, program;
};

void PrintTo(const Language& language, std::ostream* out) { *out << language.name; }

class LanguageGuidesTest : public GuidesTest, public testing::WithParamInterface<Language> {
 protected:
  // A command of its program, and what stands below it.
  struct Call {
    std::string command;
    Block block;
  };

  static Example Built() {
    const std::vector<Example> examples = Examples();
    return *std::find_if(examples.begin(), examples.end(), [](const Example& e) { return e.name == GetParam().name; });
  }

  static std::vector<Call> CallsIn(const std::string& document) {
    std::istringstream lines(BlockOf(document, GetParam().start).text);
    const std::string program = "$ " + GetParam().program + " ";
    std::vector<Call> calls;
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with(program)) {
        const std::string command = absl::StrCat(absl::StrJoin(Built().command, " "), " ", line.substr(program.size()));
        calls.push_back({line, {document, "console", absl::StrCat("$ ", command, " --server localhost:50051\n")}});
      } else if (!calls.empty()) {
        absl::StrAppend(&calls.back().block.text, line, "\n");
      }
    }
    return calls;
  }
};

TEST_P(LanguageGuidesTest, ItsProgramAnswersAsShown) {
  if (const std::string missing = Built().Missing(); !missing.empty()) GTEST_SKIP() << missing;
  // It hangs, so that no place becomes free in between.
  const std::string full_queue = Server(
                                     "--max_queued_images=0 --max_client_images=2 --max_batch_rows=2 "
                                     "--inject_fault=hang@100 --stall_timeout=0") +
                                 "trap 'kill -KILL $(jobs -p) && wait || true' EXIT\n"
                                 "denoise bench --concurrency=40 --warmup=0 --duration=1000 >load.log 2>&1 &\n"
                                 "until grep -q RESOURCE_EXHAUSTED server.log; do sleep 0.1; done\n";
  for (const char* document : {"README.md", "docs/clients.md"}) {
    const std::vector<Call> calls = CallsIn(document);
    ASSERT_FALSE(calls.empty()) << document;
    for (const auto& [command, block] : calls) {
      if (absl::StrContains(block.text, "^C")) {  // a terminal's; ExampleTest.CtrlCEndsTheDrawingAtTheServer presses it
        EXPECT_THAT(block.text, HasSubstr("\n^Cerror: cancelled\n"));
      } else if (absl::StrContains(command, "--no-retry")) {
        ExpectConsole(block, full_queue, /*exit_code=*/1);
      } else {
        ExpectConsole(block, Server(), /*exit_code=*/absl::StrContains(block.text, "\nerror: ") ? 1 : 0);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Languages, LanguageGuidesTest,
    testing::Values(Language{"Python", "cd examples/python", ".venv/bin/python draw.py"},
                    Language{"Go", "cd examples/go", "bin/draw"}, Language{"Node", "cd examples/node", "node draw.js"},
                    Language{"Java", "cd examples/java", "java -jar target/draw.jar"},
                    Language{"Cpp", "cmake --build --preset release --target denoised_api", "build/draw/draw"}),
    [](const auto& test) { return test.param.name; });

TEST_F(GuidesTest, PythonOpensTheCheckpoint) {
  if (RunProgram({"/usr/bin/python3", "-c", "import torch"}).exit_code != 0) {
    GTEST_SKIP() << "PyTorch is not installed; scripts/setup.sh --tests installs it";
  }
  const std::vector<Block> blocks = BlocksOf("docs/migrating.md");
  const auto program =
      std::find_if(blocks.begin(), blocks.end(), [](const Block& block) { return block.language == "python"; });
  clone_.Write("opens.py", program->text);
  const ProgramResult opened = RunProgram({"/usr/bin/python3", "opens.py"}, {}, clone_.path());
  EXPECT_EQ(opened.exit_code, 0) << opened.err;
  EXPECT_EQ(opened.out, std::next(program)->text);
}

}  // namespace
}  // namespace denoised
