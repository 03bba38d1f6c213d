// A server that asks for tokens, and how people come by one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/end_to_end/served.h"

namespace denoised {
namespace {

using testing::HasSubstr;

// The README's commands, in a folder of their own.
class TokensTest : public testing::Test {
 protected:
  TokensTest() {
    const ProgramResult made = Shell(
        "(umask 077; openssl rand -hex 32 | tr -d '\\n' >lab.token); "
        "echo \"lab $(sha256sum <lab.token | cut -d ' ' -f 1)\" >>tokens");
    EXPECT_EQ(made.exit_code, 0) << made.err;
  }

  ProgramResult Shell(const std::string& commands) const {
    return RunProgram({"/bin/sh", "-e", "-c", commands}, {}, folder_.path());
  }
  ProgramResult Draw(const Served& served, const std::vector<std::string>& environment) const {
    return RunProgram({"denoise", "7", "--steps", "20", "--server", served.address()}, environment, folder_.path());
  }

  const TempFolder folder_;
};

TEST_F(TokensTest, TokenThatTheReadmeMakesDrawsAndNoneDoesNot) {
  const Served served({"--tokens", folder_.File("tokens")});
  const ProgramResult refused = Draw(served, {});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.err,
              HasSubstr("--token_file: the server at " + served.address() + " says: this server asks for a token"));
  const ProgramResult drawn = Draw(served, {"DENOISE_TOKEN_FILE=lab.token"});
  EXPECT_EQ(drawn.exit_code, 0) << drawn.err;
  const ProgramResult by_value = Draw(served, {"DENOISE_TOKEN=" + Slurp(folder_.File("lab.token"))});
  EXPECT_EQ(by_value.exit_code, 0) << by_value.err;
  const ProgramResult both = Draw(served, {"DENOISE_TOKEN=another", "DENOISE_TOKEN_FILE=lab.token"});
  EXPECT_EQ(both.exit_code, 0) << "the file goes first; " << both.err;
}

TEST_F(TokensTest, ClientKeepsItsTokenFromTheNetworkWithoutTls) {
  const ProgramResult result =
      RunProgram({"denoise", "7", "--server", "denoised.example.org:50051", "--token_file", folder_.File("lab.token")});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("--token_file: without --tls the token would reach denoised.example.org:50051"));
}

TEST_F(TokensTest, FileThatHoldsNoTokenIsSaid) {
  EXPECT_THAT(RunProgram({"denoise", "7", "--token_file", "/nowhere/token"}).err,
              HasSubstr("--token_file: cannot open /nowhere/token"));
  EXPECT_THAT(RunProgram({"denoise", "7", "--token_file", folder_.Write("empty", "\n")}).err,
              HasSubstr("--token_file: " + folder_.File("empty") + " is empty"));
  const ProgramResult two_words = RunProgram({"denoise", "7", "--token_file", folder_.Write("words", "my secret")});
  EXPECT_THAT(two_words.err, HasSubstr("--token_file: a token is one word of printable ASCII characters"));
  EXPECT_THAT(two_words.err, testing::Not(HasSubstr("my secret")));
  EXPECT_THAT(RunProgram({"denoise", "7"}, {"DENOISE_TOKEN=my secret"}).err,
              HasSubstr("DENOISE_TOKEN: a token is one word of printable ASCII characters"));
}

}  // namespace
}  // namespace denoised
