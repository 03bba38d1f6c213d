// Clients in other languages, made with nothing but the contract: what they draw, follow, survive and say.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <thread>

#include "common/support/digest.h"
#include "tests/end_to_end/served.h"
#include "tests/examples/example.h"
#include "tests/testing/program.h"
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
  ProgramResult Run(const std::string& server, const std::vector<std::string>& arguments) const {
    return RunProgram(Command(server, arguments), {}, folder_.path());
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
  const ProgramResult result =
      Run(served.address(), {"3", "--seed", kSeed, "--previews", "frames", "--out", "three.png"});
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

  for (const char* seed : {"-1", "18446744073709551616", "0x7", ""}) {
    const ProgramResult refused = Run(served.address(), {"7", "--seed", seed});
    EXPECT_EQ(refused.exit_code, 2) << seed;
    EXPECT_THAT(refused.err, HasSubstr("seed")) << seed;
  }
  const ProgramResult plain = Run(served.address(), {"7", "--token-file", folder_.Write("token", "secret")});
  EXPECT_EQ(plain.exit_code, 2);
  EXPECT_THAT(plain.err, HasSubstr("--token-file takes --ca"));
}

// Two places, and forty who want them: who leaves one is followed at once, so that others find none.
class FullQueue {
 public:
  explicit FullQueue(Served& served)
      : load_({"denoise", "bench", "--server", served.address(), "--concurrency=40", "--warmup=0", "--duration=1000"}) {
    Await(served.server(), "RESOURCE_EXHAUSTED");
  }
  void Empty() { load_.Signal(SIGINT); }

 private:
  BackgroundProgram load_;
};

TEST_P(ExampleTest, FullQueueIsSurvived) {
  Served served(OneThread({"--max_queued_images=0", "--max_client_images=2"}));
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

// "The same seed, the same picture": from each language, and from denoise.
TEST(ExamplesTest, OneSeedGivesTheSameBytesInEveryLanguage) {
  const Served served(OneThread());
  const TempFolder folder;
  const std::vector<std::string> picture = {"7",   "--sampler", "dpm_solver_pp_2m", "--seed",
                                            kSeed, "--server",  served.address(),   "--out"};
  const auto sha256 = [&](const std::vector<std::string>& program) {
    std::vector<std::string> command = program;
    command.insert(command.end(), picture.begin(), picture.end());
    command.push_back("picture.png");
    std::filesystem::remove(folder.File("picture.png"));
    const ProgramResult result = RunProgram(command, {}, folder.path());
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return Sha256Hex(Slurp(folder.File("picture.png")));
  };
  const std::string expected = sha256({"denoise"});
  std::printf("%-14s %s\n", "denoise", expected.c_str());
  for (const Example& example : Examples()) {
    const std::string missing = example.Missing();
    const std::string got = missing.empty() ? sha256(example.command) : "";
    std::printf("%-14s %s\n", example.name.c_str(), missing.empty() ? got.c_str() : missing.c_str());
    if (missing.empty()) {
      EXPECT_EQ(got, expected) << example.name;
    }
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
  Served served(OneThread({"--http_listen=127.0.0.1:0", "--max_queued_images=0", "--max_client_images=2"}));
  const std::string url = served.server().AwaitLine("a page on ");
  FullQueue queue(served);
  const ProgramResult refused = Run(url, {"7", "--no-retry"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.err, StartsWith("error: RESOURCE_EXHAUSTED: the queue is full: "));
  EXPECT_THAT(refused.err, ContainsRegex("\n  try again in [0-9]+\\.[0-9] s\n"));

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

// The lines of a document's block from one that begins with `start`, for a server elsewhere than the document says.
std::string BlockOf(const std::string& document, const std::string& start, const std::string& server,
                    const std::string& documented = "localhost:50051") {
  const std::string text = Slurp(DENOISED_SOURCE_DIR "/" + document);
  const size_t begin = text.find("\n" + start);
  if (begin == std::string::npos) return "false # " + document + " has no line " + start;
  std::string block = text.substr(begin + 1, text.find("\n```", begin) - begin);
  return block.replace(block.find(documented), documented.size(), server);
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
    if (!has_jq && block.find("jq ") != std::string::npos) GTEST_SKIP() << "jq is not installed: the rest is left out";
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
