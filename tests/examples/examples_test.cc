// Clients in other languages, made with nothing but the contract: what they draw, follow, survive and say.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <sstream>
#include <thread>

#include "absl/strings/str_join.h"
#include "common/support/digest.h"
#include "tests/end_to_end/served.h"
#include "tests/examples/example.h"
#include "tests/examples/name_server.h"
#include "tests/testing/free_port.h"
#include "tests/testing/program.h"
#include "tests/testing/server_metrics.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/test_certificates.h"

namespace denoised {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;
using testing::StartsWith;

constexpr char kSeed[] = "18446744073709551557";  // beyond 2^63, where signed numbers end, and 2^53, where doubles do

// One core is enough, and leaves another for the clients.
std::vector<std::string> OneThread(std::vector<std::string> flags = {}) {
  flags.insert(flags.end(), {"--threads=1", "--max_batch_rows=2"});
  return flags;
}

void Await(const BackgroundProgram& program, const std::string& text) {
  while (program.err().find(text) == std::string::npos) std::this_thread::sleep_for(std::chrono::milliseconds(10));
}

class ExampleTest : public testing::TestWithParam<Example> {
 protected:
  void SetUp() override {
    const std::string missing = GetParam().Missing();
    if (!missing.empty()) GTEST_SKIP() << missing;
  }

  std::vector<std::string> Command(const std::string& server, std::vector<std::string> arguments) const {
    arguments.insert(arguments.end(), {"--server", server});
    return GetParam().Command(arguments);
  }
  ProgramResult Run(const std::string& server, const std::vector<std::string>& arguments,
                    const std::vector<std::string>& variables = {}) const {
    return RunProgram(Command(server, arguments), variables, folder_.path());
  }

  // What is in the folder of frames.
  std::vector<std::string> Frames() const {
    std::vector<std::string> names;
    if (!std::filesystem::exists(folder_.File("frames"))) return names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_.File("frames"))) {
      names.push_back(entry.path().filename().string());
    }
    return names;
  }

  const TempFolder folder_;
};

// A slow reader misses frames, so of a long chain some are there and not always the same.
TEST_P(ExampleTest, FramesOnTheWayAreKept) {
  const Served served(OneThread());
  const std::string other_digits = "JAVA_TOOL_OPTIONS=-Duser.language=ar -Duser.country=EG";  // than 0 to 9
  const ProgramResult result =
      Run(served.address(), {"3", "--seed", kSeed, "--previews", "frames", "--out", "three.png"}, {other_digits});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("three.png  256x256, seed 18446744073709551557, 1000 steps, model "));
  const std::vector<std::string> frames = Frames();
  EXPECT_FALSE(frames.empty());
  for (const std::string& frame : frames) {
    EXPECT_THAT(frame, testing::MatchesRegex("step-[01][0-9][0-9]0\\.png"));
    EXPECT_THAT(Slurp(folder_.File("frames/" + frame)), StartsWith("\x89PNG"));
    EXPECT_THAT(result.out, HasSubstr(" of 1000: frames/" + frame + "\n"));
  }
}

// Which draws in one way alone: a program that names another when nobody has asked for it is refused.
TEST_P(ExampleTest, TheServersOwnSamplerIsTheDefault) {
  const Served served(OneThread({"--checkpoint=" DENOISED_SOURCE_DIR "/models/mnist-4-steps.pt"}));
  const ProgramResult result = Run(served.address(), {"3", "--seed", "5"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("digit-3.png  256x256, seed 5, 4 steps, model "));
}

TEST_P(ExampleTest, MistakesAreToldInWords) {
  const Served served(OneThread());
  const ProgramResult invalid = Run(served.address(), {"12", "--steps", "9999"});
  EXPECT_EQ(invalid.exit_code, 1);
  EXPECT_THAT(invalid.err, StartsWith("error: INVALID_ARGUMENT: digit must be 0 to 9, got 12; steps must be"));
  EXPECT_THAT(invalid.err, HasSubstr("\n  digit: must be 0 to 9, got 12\n  steps: must be 1 to 1000, "));

  const ProgramResult unwritable = Run(served.address(), {"7", "--steps", "2", "--out", "/nowhere/7.png"});
  EXPECT_EQ(unwritable.exit_code, 1);
  EXPECT_THAT(unwritable.err, ContainsRegex("^error: .*/nowhere/7\\.png"));

  const ProgramResult nobody = Run("127.0.0.1:1", {"7"});
  EXPECT_EQ(nobody.exit_code, 1);
  EXPECT_THAT(nobody.err, StartsWith("error: UNAVAILABLE: "));

  const ProgramResult no_ca = Run(served.address(), {"7", "--ca", "/nowhere/ca.pem"});
  EXPECT_EQ(no_ca.exit_code, 1);
  EXPECT_THAT(no_ca.err, ContainsRegex("^error: .*/nowhere/ca\\.pem"));
  const ProgramResult no_pem = Run(served.address(), {"7", "--ca", folder_.Write("letter", "Dear sir,\n")});
  EXPECT_EQ(no_pem.exit_code, 1);
  EXPECT_THAT(no_pem.err, StartsWith("error: --ca: ")) << "and nothing of the library's";
  EXPECT_THAT(no_pem.err, HasSubstr("certificate"));

  for (const std::string server : {"127.0.0.1:99999", "127.0.0.1:0", "127.0.0.1:", "127.0.0.1", ":50051", ""}) {
    const ProgramResult nowhere = Run(server, {"7"});
    EXPECT_EQ(nowhere.exit_code, 2) << server;
    EXPECT_THAT(nowhere.err, HasSubstr("must be HOST:PORT, with a port of 1 to 65535")) << server;
  }
  for (const char* seed : {"-1", "18446744073709551616", "0x7", ""}) {
    const ProgramResult refused = Run(served.address(), {"7", "--seed", seed});
    EXPECT_EQ(refused.exit_code, 2) << seed;
    EXPECT_THAT(refused.err, HasSubstr("seed")) << seed;
  }
  for (const char* steps : {"-1", "4294967297", "0x5", "1e2", ""}) {
    const ProgramResult refused = Run(served.address(), {"7", "--steps", steps});
    EXPECT_EQ(refused.exit_code, 2) << steps;
    EXPECT_THAT(refused.err, HasSubstr("steps")) << steps;
  }
  const ProgramResult decimal = Run(served.address(), {"07", "--steps", "012", "--seed", "010", "--out", "seven.png"});
  EXPECT_EQ(decimal.exit_code, 0) << decimal.err;
  EXPECT_THAT(decimal.out, HasSubstr("seed 10, 12 steps"));

  const ProgramResult plain = Run(served.address(), {"7", "--token-file", folder_.Write("token", "secret")});
  EXPECT_EQ(plain.exit_code, 2);
  EXPECT_THAT(plain.err, HasSubstr("--token-file takes --ca"));
}

// Two places, and forty who want them: who leaves one is followed at once, so that others find none.
class FullQueue {
 public:
  explicit FullQueue(Served& served) : FullQueue(served.server(), served.address()) {}
  FullQueue(const BackgroundProgram& server, const std::string& address)
      : load_({"denoise", "bench", "--server", address, "--concurrency=40", "--warmup=0", "--duration=1000"}) {
    Await(server, "RESOURCE_EXHAUSTED");
  }
  void Empty() { load_.Signal(SIGINT); }

  static std::vector<std::string> Flags() { return OneThread({"--max_queued_images=0", "--max_client_images=2"}); }

 private:
  BackgroundProgram load_;
};

TEST_P(ExampleTest, FullQueueIsSurvived) {
  Served served(FullQueue::Flags());
  FullQueue queue(served);
  const ProgramResult refused = Run(served.address(), {"7", "--no-retry"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.err, StartsWith("error: RESOURCE_EXHAUSTED: the queue is full: "));
  EXPECT_THAT(refused.err, ContainsRegex("\n  try again in [0-9]+\\.[0-9] s\n"));

  BackgroundProgram impatient(Command(served.address(), {"7", "--seed", "76", "--steps", "20"}), {}, folder_.path());
  Await(served.server(), "20 steps, seed 76: RESOURCE_EXHAUSTED");
  impatient.Signal(SIGINT);
  EXPECT_EQ(impatient.Wait(), 130);
  EXPECT_THAT(impatient.err(), HasSubstr("error: cancelled\n"));

  BackgroundProgram patient(Command(served.address(), {"7", "--seed", "77", "--steps", "20"}), {}, folder_.path());
  Await(served.server(), "20 steps, seed 77: RESOURCE_EXHAUSTED");
  queue.Empty();
  EXPECT_EQ(patient.Wait(), 0) << patient.err();
  EXPECT_THAT(Slurp(folder_.File("digit-7.png")), StartsWith("\x89PNG"));
}

// Two servers with one name, as a headless Service has it.
class Replicas {
 public:
  explicit Replicas(const std::vector<std::string>& flags)
      : servers_{BackgroundProgram(Command(kHosts[0], flags)), BackgroundProgram(Command(kHosts[1], flags))} {
    for (BackgroundProgram& server : servers_) server.AwaitLine("model ");  // loaded
  }

  const BackgroundProgram& server(int index) const { return servers_[index]; }
  std::string address(int index) const { return kHosts[index] + port_; }
  // Whether it has finished or refused a call for a picture of this seed.
  bool Called(int index, const std::string& seed) const {
    const std::string log = servers_[index].err();
    return log.find("seed " + seed + ":") != std::string::npos || log.find("seed " + seed + ",") != std::string::npos;
  }

  // What a client is told, and the environment in which it finds them. Java's gRPC has the system's names alone; that
  // of Node.js asks a target's own name server only if it is told to.
  std::string target(const Example& example) const {
    return example.folder == "java" ? kName + port_ : "dns://" + names_.address() + "/" + kName + port_;
  }
  std::vector<std::string> environment() const {
    return {"JAVA_TOOL_OPTIONS=-Djdk.net.hosts.file=" + hosts_, "GRPC_NODE_USE_ALTERNATIVE_RESOLVER=true"};
  }

 private:
  inline static const std::string kName = "denoised.test", kHosts[] = {"127.0.0.1", "127.0.0.2"};

  std::vector<std::string> Command(const std::string& host, const std::vector<std::string>& flags) const {
    std::vector<std::string> command = {"denoised", "--listen=" + host + port_, "--metrics_listen=127.0.0.1:0",
                                        "--lame_duck=1000"};
    command.insert(command.end(), flags.begin(), flags.end());
    return command;
  }

  const std::string port_ = ":" + std::to_string(FreePort());
  const NameServer names_{{kHosts[0], kHosts[1]}};
  const TempFolder folder_;
  const std::string hosts_ = folder_.Write("hosts", kHosts[0] + " " + kName + "\n" + kHosts[1] + " " + kName + "\n");
  std::array<BackgroundProgram, 2> servers_;
};

// Who has been refused by one tries the other next. The load has other seeds.
TEST_P(ExampleTest, CallsGoToAllServersOfAName) {
  if (!GetParam().has_service_config) GTEST_SKIP() << "it has no service config";
  const Replicas replicas(FullQueue::Flags());
  const FullQueue one(replicas.server(0), replicas.address(0)), two(replicas.server(1), replicas.address(1));
  const auto both = [&] { return replicas.Called(0, kSeed) && replicas.Called(1, kSeed); };
  std::string said;
  for (int i = 0; i < 5 && !both(); ++i) {  // it may have found a place at once
    BackgroundProgram client(Command(replicas.target(GetParam()), {"7", "--seed", kSeed, "--steps", "20"}),
                             replicas.environment(), folder_.path());
    while (!client.Ended() && !both()) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    said = client.out() + client.err();
  }
  EXPECT_TRUE(replicas.Called(0, kSeed)) << said;
  EXPECT_TRUE(replicas.Called(1, kSeed)) << said;
}

// A lame duck still takes calls, and says that it is not healthy.
TEST_P(ExampleTest, AServerThatIsAboutToStopIsNotCalled) {
  if (!GetParam().has_service_config || !GetParam().asks_health) GTEST_SKIP() << "it cannot ask for health";
  const Replicas replicas(OneThread());
  replicas.server(0).Signal(SIGTERM);
  while (RunProgram({"denoise", "health", "--server", replicas.address(0)}).exit_code == 0) {
  }
  for (int i = 0; i < 3; ++i) {
    const ProgramResult result = RunProgram(Command(replicas.target(GetParam()), {"7", "--seed", "80", "--steps", "2"}),
                                            replicas.environment(), folder_.path());
    EXPECT_EQ(result.exit_code, 0) << result.err;
  }
  EXPECT_FALSE(replicas.Called(0, "80"));
  EXPECT_TRUE(replicas.Called(1, "80"));
}

// Field report "Ctrl-C in each client frees the row".
TEST_P(ExampleTest, CtrlCEndsTheDrawingAtTheServer) {
  Served served(OneThread());
  BackgroundProgram drawing(Command(served.address(), {"7", "--seed", "78", "--previews", "frames"}), {},
                            folder_.path());
  while (Frames().empty() && served.server().err().find("seed 78, in ") == std::string::npos) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  ASSERT_FALSE(Frames().empty()) << "the chain ended before its first frame";
  drawing.Signal(SIGINT);
  EXPECT_EQ(drawing.Wait(), 130);
  EXPECT_THAT(drawing.err(), HasSubstr("error: cancelled\n"));
  Await(served.server(), "1000 steps, seed 78: CANCELLED");
  EXPECT_FALSE(std::filesystem::exists(folder_.File("digit-7.png")));
}

TEST_P(ExampleTest, TokensAreShownByTls) {
  const TestAuthority authority;
  const TestIdentity identity = authority.Issue("server");
  const std::string ca = folder_.Write("ca.pem", authority.pem());
  const std::string stranger = folder_.Write("stranger.pem", TestAuthority().pem());
  const std::string good = folder_.Write("good", "correct-horse\n"), bad = folder_.Write("bad", "battery\n");
  const std::string tokens = folder_.Write("tokens", "lab " + Sha256Hex("correct-horse") + "\n");
  const Served served(OneThread({"--tls_cert=" + folder_.Write("server.pem", identity.cert),
                                 "--tls_key=" + folder_.Write("server.key", identity.key), "--tokens=" + tokens}));
  const std::string address = served.address().substr(0, served.address().find(' '));  // "127.0.0.1:40000 with TLS"

  // The errors may come after warnings of a language's own, as of certificates for addresses instead of names.
  const ProgramResult drawn = Run(address, {"7", "--steps", "2", "--ca", ca, "--token-file", good});
  EXPECT_EQ(drawn.exit_code, 0) << drawn.err;
  const ProgramResult no_token = Run(address, {"7", "--ca", ca});
  EXPECT_EQ(no_token.exit_code, 1);
  EXPECT_THAT(no_token.err, HasSubstr("error: UNAUTHENTICATED: this server asks for a token"));
  const ProgramResult wrong_token = Run(address, {"7", "--ca", ca, "--token-file", bad});
  EXPECT_EQ(wrong_token.exit_code, 1);
  EXPECT_THAT(wrong_token.err, HasSubstr("error: UNAUTHENTICATED: the token is not one"));
  const ProgramResult not_trusted = Run(address, {"7", "--ca", stranger, "--token-file", good});
  EXPECT_EQ(not_trusted.exit_code, 1);
  EXPECT_THAT(not_trusted.err, HasSubstr("error: UNAVAILABLE: "));
  const ProgramResult no_tls = Run(address, {"7"});
  EXPECT_EQ(no_tls.exit_code, 1);
  EXPECT_THAT(no_tls.err, HasSubstr("error: UNAVAILABLE: "));
}

INSTANTIATE_TEST_SUITE_P(Languages, ExampleTest, testing::ValuesIn(Examples()),
                         [](const auto& test) { return test.param.name; });

// Draws one picture with many programs, and prints a table of them in Markdown, that of docs/clients.md.
class OnePicture {
 public:
  OnePicture() : served_(OneThread({"--http_listen=127.0.0.1:0"})), url_(served_.server().AwaitLine("a page on ")) {
    std::printf("| Client | Version | SHA-256 of the picture |\n| --- | --- | --- |\n");
  }

  std::string DrawByGrpc(const std::string& client, const std::string& version, std::vector<std::string> program) {
    return Draw(client, version, std::move(program), served_.address());
  }
  std::string DrawByHttp(const std::string& client, const std::string& version, std::vector<std::string> program) {
    return Draw(client, version, std::move(program), url_);
  }
  // A shell's lines that write picture.png, with the address in $SERVER and the request in $REQUEST.
  std::string DrawByLines(const std::string& client, const std::string& version, const std::string& lines) {
    const std::string request = R"({"digit": 7, "sampler": "SAMPLER_DPM_SOLVER_PP_2M", "seed": ")" + seed_ + "\"}";
    return Keep(client, version, {"/bin/bash", "-euo", "pipefail", "-c", lines},
                {"SERVER=" + served_.address(), "REQUEST=" + request});
  }
  // That of a program, which may not be there: its first line.
  static std::string VersionOf(const std::string& line) {
    const std::string out = RunProgram({"/bin/sh", "-c", line}).out;
    return out.substr(0, out.find('\n'));
  }

 private:
  std::string Draw(const std::string& client, const std::string& version, std::vector<std::string> program,
                   const std::string& server) {
    program.insert(program.end(),
                   {"7", "--sampler", "dpm_solver_pp_2m", "--seed", seed_, "--server", server, "--out", "picture.png"});
    return Keep(client, version, std::move(program), {"no_proxy=127.0.0.1"});
  }
  std::string Keep(const std::string& client, const std::string& version, std::vector<std::string> program,
                   std::vector<std::string> environment) {
    std::filesystem::remove(folder_.File("picture.png"));
    const ProgramResult result = RunProgram(std::move(program), std::move(environment), folder_.path());
    EXPECT_EQ(result.exit_code, 0) << client << ": " << result.err;
    const std::string sha256 = Sha256Hex(Slurp(folder_.File("picture.png")));
    std::printf("| %s | %s | `%s` |\n", client.c_str(), version.c_str(), sha256.c_str());
    return sha256;
  }

  const std::string seed_ = kSeed;
  Served served_;
  const std::string url_;
  const TempFolder folder_;
};

// "The same seed, the same picture": from each language, and from denoise. The table of docs/clients.md is what
//
//   build/release/bin/examples_tests --gtest_filter='*OneSeedGives*' | grep '^|'
//
// prints, with every client built.
TEST(ExamplesTest, OneSeedGivesTheSameBytesInEveryLanguage) {
  OnePicture picture;
  const std::string version = OnePicture::VersionOf(DENOISED_BIN_DIR "/denoise --version");
  const std::string expected = picture.DrawByGrpc("`denoise`", version.substr(0, version.find(" (")), {"denoise"});
  std::vector<std::string> missing;
  for (const Example& example : Examples()) {
    if (example.Missing().empty()) {
      EXPECT_EQ(picture.DrawByGrpc(example.title, example.Version(), example.command), expected) << example.name;
    } else {
      missing.push_back(example.title);
    }
  }
  const bool has_jq = !OnePicture::VersionOf("jq --version").empty();
  const std::string buf = Example::Built("tools/node_modules/.bin/buf");
  if (has_jq && std::filesystem::exists(buf)) {
    const std::string lines = buf + R"( curl --protocol grpc --http2-prior-knowledge -d "$REQUEST" )"
                                    R"("http://$SERVER/denoised.v1.DigitService/GenerateDigit" |)"
                                    R"( jq -r '.image.png // empty' | base64 -d >picture.png)";
    const std::string buf_version = "buf " + OnePicture::VersionOf(buf + " --version");
    EXPECT_EQ(picture.DrawByLines("`buf curl`", buf_version, lines), expected);
  } else {
    missing.push_back("`buf curl`");
  }
  const std::string curl_version = OnePicture::VersionOf("curl --version | cut -d ' ' -f 1,2");
  const std::string by_http = "Shell, `draw_http.sh`";
  if (has_jq && !curl_version.empty()) {
    EXPECT_EQ(picture.DrawByHttp(by_http, curl_version, {DENOISED_SOURCE_DIR "/examples/shell/draw_http.sh"}),
              expected);
  } else {
    missing.push_back(by_http);
  }
  if (!missing.empty()) {
    GTEST_SKIP() << "not every client was compared; scripts/setup.sh --examples brings "
                 << absl::StrJoin(missing, "; ");
  }
}

// examples/shell/draw_http.sh, which needs no building.
class CurlTest : public testing::Test {
 protected:
  void SetUp() override {
    if (RunProgram({"/bin/sh", "-c", "command -v curl && command -v jq"}).exit_code != 0) {
      GTEST_SKIP() << "curl or jq is not installed; scripts/setup.sh --examples installs them";
    }
    folder_.Write("ca.pem", authority_.pem());
    folder_.Write("stranger.pem", TestAuthority("a stranger").pem());
    folder_.Write("good", "correct-horse\n");
    folder_.Write("bad", "battery\n");
  }

  // With TLS, tokens, and a page at every address.
  std::vector<std::string> Flags() const {
    const TestIdentity identity = authority_.Issue("server");
    return OneThread({"--http_listen=0.0.0.0:0", "--tls_cert=" + folder_.Write("server.pem", identity.cert),
                      "--tls_key=" + folder_.Write("server.key", identity.key),
                      "--tokens=" + folder_.Write("tokens", "lab " + Sha256Hex("correct-horse") + "\n")});
  }
  static std::string UrlOf(Served& served) {
    return "https://127.0.0.1:" + served.server().AwaitLine("a page on https://0.0.0.0:");
  }

  static std::vector<std::string> Command(const std::string& url, std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), DENOISED_SOURCE_DIR "/examples/shell/draw_http.sh");
    arguments.insert(arguments.end(), {"--server", url});
    return arguments;
  }
  ProgramResult Run(const std::string& url, const std::vector<std::string>& arguments) const {
    return RunProgram(Command(url, arguments), {"no_proxy=127.0.0.1"}, folder_.path());
  }

  const TestAuthority authority_;
  const TempFolder folder_;
};

TEST_F(CurlTest, ThePictureAloneAndTheOneOfTheEventsAreWhatDenoiseDraws) {
  Served served(Flags());
  const std::string url = UrlOf(served), address = served.address().substr(0, served.address().find(' '));
  const ProgramResult expected = RunProgram({"denoise", "7", "--sampler", "ddim", "--seed", kSeed, "--server", address,
                                             "--tls_ca", "ca.pem", "--token_file", "good", "--out", "denoise.png"},
                                            {}, folder_.path());
  ASSERT_EQ(expected.exit_code, 0) << expected.err;
  const std::vector<std::string> seven = {"7",    "--sampler", "ddim",         "--seed", kSeed,
                                          "--ca", "ca.pem",    "--token-file", "good"};
  const ProgramResult picture = Run(url, seven);
  EXPECT_EQ(picture.exit_code, 0) << picture.err;
  EXPECT_THAT(picture.out, testing::MatchesRegex("digit-7.png  seed 18446744073709551557, model [0-9a-f]+\n"));
  EXPECT_TRUE(Slurp(folder_.File("digit-7.png")) == Slurp(folder_.File("denoise.png")));

  std::vector<std::string> followed = seven;
  followed.insert(followed.end(), {"--previews", "frames", "--out", "seven.png"});
  const ProgramResult events = Run(url, followed);
  EXPECT_EQ(events.exit_code, 0) << events.err;
  EXPECT_THAT(events.out, HasSubstr("seven.png  seed 18446744073709551557, model "));
  EXPECT_TRUE(Slurp(folder_.File("seven.png")) == Slurp(folder_.File("denoise.png")));
  EXPECT_THAT(events.out, HasSubstr("step 50 of 50: frames/step-0050.png\n"));
  EXPECT_THAT(Slurp(folder_.File("frames/step-0050.png")), StartsWith("\x89PNG"));
}

TEST_F(CurlTest, TheServersOwnSamplerIsTheDefault) {
  Served served(
      OneThread({"--http_listen=127.0.0.1:0", "--checkpoint=" DENOISED_SOURCE_DIR "/models/mnist-4-steps.pt"}));
  const std::string url = "http://127.0.0.1:" + served.server().AwaitLine("a page on http://127.0.0.1:");
  EXPECT_THAT(Run(url, {"3", "--seed", "5"}).out, StartsWith("digit-3.png  seed 5, model "));
  const ProgramResult events = Run(url, {"3", "--seed", "5", "--previews", "frames"});
  EXPECT_EQ(events.exit_code, 0) << events.err;
  EXPECT_THAT(events.out, HasSubstr("digit-3.png  seed 5, model "));
}

TEST_F(CurlTest, RefusalsAreInTheServersWords) {
  Served served(Flags());
  const std::string url = UrlOf(served);
  for (const std::vector<std::string>& way : std::vector<std::vector<std::string>>{{}, {"--previews", "frames"}}) {
    const auto run = [&](std::vector<std::string> arguments) {
      arguments.insert(arguments.end(), way.begin(), way.end());
      return Run(url, arguments);
    };
    const ProgramResult no_token = run({"7", "--ca", "ca.pem"});
    EXPECT_EQ(no_token.exit_code, 1);
    EXPECT_THAT(no_token.err, StartsWith("error: UNAUTHENTICATED: this server asks for a token"));
    const ProgramResult wrong_token = run({"7", "--ca", "ca.pem", "--token-file", "bad"});
    EXPECT_EQ(wrong_token.exit_code, 1);
    EXPECT_THAT(wrong_token.err, StartsWith("error: UNAUTHENTICATED: the token is not one"));
    const ProgramResult invalid = run({"7", "--steps", "9999", "--ca", "ca.pem", "--token-file", "good"});
    EXPECT_EQ(invalid.exit_code, 1);
    EXPECT_THAT(invalid.err, StartsWith("error: INVALID_ARGUMENT: steps must be 1 to 1000"));
    EXPECT_THAT(invalid.err, HasSubstr("\n  steps: must be 1 to 1000, "));
    const ProgramResult not_trusted = run({"7", "--ca", "stranger.pem", "--token-file", "good"});
    EXPECT_EQ(not_trusted.exit_code, 1);
    EXPECT_THAT(not_trusted.err, ContainsRegex("^error: UNAVAILABLE: curl: \\(60\\) .*certificate"));
  }
  const ProgramResult plain = Run("http" + url.substr(url.find(':')), {"7", "--no-retry"});
  EXPECT_EQ(plain.exit_code, 1);
  EXPECT_THAT(plain.err, HasSubstr("this port speaks TLS: ask with https:// in the place of http://"));
  EXPECT_EQ(Run("http://127.0.0.1:1", {"7", "--token-file", "good"}).exit_code, 2) << "no token in plain text";
  for (const char* unreadable : {"missing", "."}) {
    const ProgramResult no_file = Run(url, {"7", "--ca", "ca.pem", "--token-file", unreadable});
    EXPECT_EQ(no_file.exit_code, 1);
    EXPECT_EQ(no_file.err, std::string("error: --token-file: cannot read ") + unreadable + "\n");
  }
}

// "--retry" asks again when Retry-After says.
TEST_F(CurlTest, AFullQueueIsSurvived) {
  std::vector<std::string> flags = FullQueue::Flags();
  flags.push_back("--http_listen=127.0.0.1:0");
  Served served(flags);
  const std::string url = served.server().AwaitLine("a page on ");
  FullQueue queue(served);
  const ProgramResult refused = Run(url, {"7", "--no-retry"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.err, StartsWith("error: RESOURCE_EXHAUSTED: the queue is full: "));
  EXPECT_THAT(refused.err, ContainsRegex("\n  try again in [0-9]+\\.[0-9] s\n"));

  BackgroundProgram impatient(Command(url, {"7", "--seed", "76", "--steps", "20"}), {}, folder_.path());
  Await(served.server(), "20 steps, seed 76: RESOURCE_EXHAUSTED");
  impatient.Signal(SIGINT);
  EXPECT_EQ(impatient.Wait(), 130);
  EXPECT_EQ(impatient.err(), "error: cancelled\n");

  BackgroundProgram picture(Command(url, {"7", "--seed", "77", "--steps", "20"}), {}, folder_.path());
  BackgroundProgram events(
      Command(url, {"7", "--seed", "78", "--steps", "20", "--previews", "frames", "--out", "e.png"}), {},
      folder_.path());
  Await(served.server(), "20 steps, seed 77: RESOURCE_EXHAUSTED");
  Await(served.server(), "20 steps, seed 78: RESOURCE_EXHAUSTED");
  queue.Empty();
  EXPECT_EQ(picture.Wait(), 0) << picture.err();
  EXPECT_EQ(events.Wait(), 0) << events.err();
  EXPECT_THAT(Slurp(folder_.File("digit-7.png")), StartsWith("\x89PNG"));
  EXPECT_THAT(Slurp(folder_.File("e.png")), StartsWith("\x89PNG"));
}

TEST_F(CurlTest, CtrlCEndsTheDrawingAtTheServer) {
  Served served(OneThread({"--http_listen=127.0.0.1:0"}));
  const std::string url = served.server().AwaitLine("a page on ");
  const ServerMetrics metrics(std::stoi(served.server().AwaitLine("metrics on http://127.0.0.1:")));
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{"7", "--seed", "78"}, {"7", "--seed", "79", "--previews", "frames"}}) {
    while (metrics.Get("denoised_requests_in_flight") != 0) continue;  // the one before
    BackgroundProgram drawing(Command(url, arguments), {}, folder_.path());
    while (metrics.Get("denoised_requests_in_flight") == 0 && !drawing.Ended()) continue;
    drawing.Signal(SIGINT);
    EXPECT_EQ(drawing.Wait(), 130);
    EXPECT_EQ(drawing.err(), "error: cancelled\n");
    Await(served.server(), "1000 steps, seed " + arguments[2] + ": CANCELLED");
    EXPECT_FALSE(std::filesystem::exists(folder_.File("digit-7.png")));
  }
}

TEST_F(CurlTest, NumbersAreDecimal) {
  Served served(OneThread({"--http_listen=127.0.0.1:0"}));
  const std::string url = served.server().AwaitLine("a page on ");
  for (const std::vector<std::string>& way : std::vector<std::vector<std::string>>{{}, {"--previews", "frames"}}) {
    std::vector<std::string> arguments = {"07", "--steps", "012", "--seed", "010"};
    arguments.insert(arguments.end(), way.begin(), way.end());
    const ProgramResult result = Run(url, arguments);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.out, HasSubstr("digit-7.png  seed 10, "));
    Await(served.server(), "digit 7 by ddpm, 12 steps, seed 10");
  }
}

TEST_F(CurlTest, FileOfNoCertificatesIsNamed) {
  const ProgramResult result = Run("https://127.0.0.1:1", {"7", "--ca", "good"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.err, "error: --ca: good holds no certificate, PEM\n");
}

TEST_F(CurlTest, MistypedSeedsAreRefused) {
  for (const char* seed : {"-1", "18446744073709551616", "0x7", ""}) {
    const ProgramResult refused = Run("http://127.0.0.1:1", {"7", "--seed", seed});
    EXPECT_EQ(refused.exit_code, 2) << seed;
    EXPECT_THAT(refused.err,
                HasSubstr("--seed must be 0 to 18446744073709551615, got \"" + std::string(seed) + "\"\n"));
  }
}

// The lines of a document's block from one that begins with `start`, for a server elsewhere than the document says.
std::string BlockOf(const std::string& document, const std::string& start, const std::string& server,
                    const std::string& documented = "localhost:50051") {
  const std::string text = Slurp(DENOISED_SOURCE_DIR "/" + document);
  const size_t begin = text.find("\n" + start);
  if (begin == std::string::npos) return "false # " + document + " has no line " + start;
  std::string block = text.substr(begin + 1, text.find("\n```", begin) - begin);
  return block.replace(block.find(documented), documented.size(), server);
}

// ghz, a load generator of others: as documented, but for 20 calls.
TEST(ExamplesTest, DocumentedLoadOfGhzIsCountedByTheServerToo) {
  if (!std::filesystem::exists(Example::Built("tools/bin/ghz"))) {
    GTEST_SKIP() << "ghz is not built here; scripts/setup.sh --examples builds it";
  }
  Served served(OneThread());
  const ServerMetrics metrics(std::stoi(served.server().AwaitLine("metrics on http://127.0.0.1:")));
  std::string block = BlockOf("docs/clients.md", "ghz ", served.address());
  const std::string duration = "--duration 8s --duration-stop wait";
  ASSERT_THAT(block, HasSubstr(duration));
  block.replace(block.find(duration), duration.size(), "--total 20 -O json");
  const ProgramResult result = RunProgram({"/bin/bash", "-euo", "pipefail", "-c", "PATH=$TOOLS:$PATH\n" + block},
                                          {"TOOLS=" + Example::Built("tools/bin")});
  EXPECT_EQ(result.exit_code, 0) << block << result.err;
  EXPECT_THAT(result.out, HasSubstr(R"("statusCodeDistribution":{"OK":20})"));
  const auto calls = [&](const std::string& label) { return metrics.Get("grpc_server_handled_total", label); };
  EXPECT_EQ(calls("grpc_code=\"OK\",grpc_method=\"GenerateDigit\""), 20);
  EXPECT_EQ(calls("grpc_method=\"GenerateDigit\""), 20);
}

// The README has each language to copy, in lines of docs/clients.md.
TEST(ExamplesTest, TheReadmeShowsEachLanguageAsTheDocumentDoes) {
  const std::string readme = Slurp(DENOISED_SOURCE_DIR "/README.md"),
                    document = Slurp(DENOISED_SOURCE_DIR "/docs/clients.md");
  for (const char* language : {"Python", "Go", "Node.js", "JDK", "C++", "Shell"}) {
    const size_t begin = readme.find(std::string("<details><summary>") + language);
    ASSERT_NE(begin, std::string::npos) << language;
    std::istringstream lines(readme.substr(begin, readme.find("</details>", begin) - begin));
    bool code = false;
    std::string last;
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with("```")) {
        code = !code;
      } else if (code) {
        EXPECT_THAT(document, HasSubstr("\n" + line + "\n")) << language;
        last = line;
      }
    }
    EXPECT_THAT(last, StartsWith("digit-7.png  256x256, seed ")) << language;
  }
}

// Field report "the documented one-liner writes a valid PNG and exits 0", with tools that know nothing of this project.
TEST(ExamplesTest, DocumentedLinesOfOtherToolsEndInThePngThatDenoiseDraws) {
  const std::string bin = Example::Built("tools/bin") + ":" + Example::Built("tools/node_modules/.bin");
  if (!std::filesystem::exists(Example::Built("tools/bin/grpcurl"))) {
    GTEST_SKIP() << "grpcurl and buf are not built here; scripts/setup.sh --examples builds them";
  }
  const Served served(OneThread());
  const TempFolder folder;
  ASSERT_EQ(
      RunProgram({"denoise", "7", "--seed=42", "--server", served.address(), "--out", "denoise.png"}, {}, folder.path())
          .exit_code,
      0);
  for (const auto& [document, start] : {std::pair{"README.md", "grpcurl "}, {"docs/clients.md", "buf curl "}}) {
    const std::string block = BlockOf(document, start, served.address());
    std::filesystem::remove(folder.File("digit-7.png"));
    const ProgramResult result = RunProgram({"/bin/bash", "-euo", "pipefail", "-c", "PATH=$TOOLS:$PATH\n" + block},
                                            {"TOOLS=" + bin}, folder.path());
    EXPECT_EQ(result.exit_code, 0) << block << result.err;
    EXPECT_TRUE(Slurp(folder.File("digit-7.png")) == Slurp(folder.File("denoise.png"))) << block;
  }
}

TEST(ExamplesTest, DocumentedLinesOfCurlEndInThePngThatDenoiseDraws) {
  Served served(OneThread({"--http_listen=127.0.0.1:0"}));
  std::string http = served.server().AwaitLine("a page on http://");
  http.pop_back();  // a slash
  const TempFolder folder;
  ASSERT_EQ(
      RunProgram({"denoise", "7", "--seed=42", "--server", served.address(), "--out", "denoise.png"}, {}, folder.path())
          .exit_code,
      0);
  const bool has_jq = RunProgram({"/bin/sh", "-c", "command -v jq"}).exit_code == 0;
  for (const char* start : {"curl -fsS -o", "curl -fsSN"}) {
    const std::string block = BlockOf("docs/clients.md", start, http, "localhost:8080");
    if (!has_jq && block.find("jq ") != std::string::npos)
      GTEST_SKIP() << "jq is not installed; scripts/setup.sh --examples installs it";
    std::filesystem::remove(folder.File("digit-7.png"));
    const ProgramResult result =
        RunProgram({"/bin/bash", "-euo", "pipefail", "-c", block}, {"no_proxy=127.0.0.1"}, folder.path());
    EXPECT_EQ(result.exit_code, 0) << block << result.err;
    EXPECT_TRUE(Slurp(folder.File("digit-7.png")) == Slurp(folder.File("denoise.png"))) << block;
  }
}

TEST_F(CurlTest, DocumentedLinesWithTlsAndATokenEndInThePngThatDenoiseDraws) {
  Served served(Flags());
  std::string url = UrlOf(served);
  url.pop_back();  // a slash
  folder_.Write("lab.token", "correct-horse\n");
  const std::string block = BlockOf("docs/clients.md", "(umask 077", url, "https://denoised.example.org:8080");
  const ProgramResult result =
      RunProgram({"/bin/bash", "-euo", "pipefail", "-c", block}, {"no_proxy=127.0.0.1"}, folder_.path());
  EXPECT_EQ(result.exit_code, 0) << block << result.err;
  const std::string address = served.address().substr(0, served.address().find(' '));
  const ProgramResult expected = RunProgram({"denoise", "7", "--seed=42", "--server", address, "--tls_ca", "ca.pem",
                                             "--token_file", "lab.token", "--out", "denoise.png"},
                                            {}, folder_.path());
  ASSERT_EQ(expected.exit_code, 0) << expected.err;
  EXPECT_TRUE(Slurp(folder_.File("digit-7.png")) == Slurp(folder_.File("denoise.png"))) << block;
}

}  // namespace
}  // namespace denoised
