// The HTTP port by TLS, with curl: who is let in, and what the others hear.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "common/support/digest.h"
#include "tests/end_to_end/served.h"
#include "tests/testing/program.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/test_certificates.h"

namespace denoised {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class HttpsTest : public testing::Test {
 protected:
  // Exit statuses of curl.
  static constexpr int kNotTrusted = 60;

  HttpsTest() {
    Install(authority_.Issue("server"));
    folder_.Write("ca.pem", authority_.pem());
    folder_.Write("stranger.pem", TestAuthority("a stranger").pem());
    const TestIdentity alice = authority_.Issue("alice");
    folder_.Write("alice.pem", alice.cert);
    folder_.Write("alice.key", alice.key);
    folder_.Write("tokens", "lab " + Sha256Hex("correct-horse") + "\n");
  }

  void Install(const TestIdentity& server) {
    folder_.Write("server.key", server.key);
    folder_.Write("server.pem", server.cert);
  }

  // At every address of this machine; returns that of the page.
  std::vector<std::string> Flags(const std::vector<std::string>& more) const {
    std::vector<std::string> flags = {"--threads=1", "--http_listen=0.0.0.0:0",
                                      "--tls_cert=" + folder_.File("server.pem"),
                                      "--tls_key=" + folder_.File("server.key")};
    flags.insert(flags.end(), more.begin(), more.end());
    return flags;
  }
  static std::string PageOf(Served& served) {
    const std::string listen = served.server().AwaitLine("a page on https://0.0.0.0:");
    return "https://127.0.0.1:" + listen;
  }

  ProgramResult Curl(const std::string& url, const std::vector<std::string>& flags) const {
    std::vector<std::string> command = {"/usr/bin/env", "curl", "-sS", "--noproxy", "*", url};
    command.insert(command.end(), flags.begin(), flags.end());
    return RunProgram(command, {}, folder_.path());
  }

  const TestAuthority authority_;
  const TempFolder folder_;
};

TEST_F(HttpsTest, TokensAreTakenByTlsFromEveryAddress) {
  Served served(Flags({"--tokens=" + folder_.File("tokens")}));
  const std::string picture = PageOf(served) + "v1/digits/7.png?seed=42&steps=2";
  const ProgramResult drawn =
      Curl(picture, {"-f", "--cacert", "ca.pem", "-H", "Authorization: Bearer correct-horse", "-o", "7.png"});
  EXPECT_EQ(drawn.exit_code, 0) << drawn.err;
  EXPECT_THAT(Slurp(folder_.File("7.png")), StartsWith("\x89PNG"));
  EXPECT_THAT(Curl(picture, {"--cacert", "ca.pem"}).out, HasSubstr("this server asks for a token"));
  const ProgramResult page = Curl(PageOf(served), {"-f", "--cacert", "ca.pem"});
  EXPECT_EQ(page.exit_code, 0) << page.err;
  EXPECT_THAT(page.out, HasSubstr("<html"));
}

TEST_F(HttpsTest, WhoDoesNotTrustTheAuthorityOrSpeaksPlainHttpHearsSo) {
  Served served(Flags({}));
  const std::string page = PageOf(served);
  const ProgramResult stranger = Curl(page, {"--cacert", "stranger.pem"});
  EXPECT_EQ(stranger.exit_code, kNotTrusted);
  EXPECT_THAT(stranger.err, HasSubstr("certificate"));
  const ProgramResult plain = Curl("http" + page.substr(page.find(':')), {"-w", " %{http_code}"});
  EXPECT_EQ(plain.exit_code, 0) << plain.err;
  EXPECT_EQ(plain.out, "this port speaks TLS: ask with https:// in the place of http://\n 400");
  served.server().AwaitLine("a TLS handshake failed: plain HTTP was spoken to a port that speaks TLS (127.0.0.1:");
}

TEST_F(HttpsTest, ClientsAreKnownByTheirCertificates) {
  Served served(Flags({"--tls_client_ca=" + folder_.File("ca.pem")}));
  const std::string picture = PageOf(served) + "v1/digits/7.png?seed=42&steps=2";
  const ProgramResult drawn =
      Curl(picture, {"-f", "--cacert", "ca.pem", "--cert", "alice.pem", "--key", "alice.key", "-o", "7.png"});
  EXPECT_EQ(drawn.exit_code, 0) << drawn.err;
  EXPECT_THAT(Slurp(folder_.File("7.png")), StartsWith("\x89PNG"));
  served.server().AwaitLine("certificate:alice");
  const ProgramResult nobody = Curl(picture, {"--cacert", "ca.pem"});
  EXPECT_NE(nobody.exit_code, 0);
  EXPECT_THAT(nobody.err, HasSubstr("certificate required"));
  served.server().AwaitLine("a TLS handshake failed: peer did not return a certificate (127.0.0.1:");
}

TEST_F(HttpsTest, ARenewedCertificateIsServedWithoutARestart) {
  Served served(Flags({}));
  const std::string page = PageOf(served);
  EXPECT_EQ(Curl(page, {"-f", "--cacert", "ca.pem"}).exit_code, 0);
  const TestAuthority renewed("another authority");
  folder_.Write("renewed.pem", renewed.pem());
  Install(renewed.Issue("renewed"));
  served.server().AwaitLine("new connections get the new certificate of CN=renewed");
  const ProgramResult after = Curl(page, {"-f", "--cacert", "renewed.pem"});
  EXPECT_EQ(after.exit_code, 0) << after.err;
  EXPECT_EQ(Curl(page, {"--cacert", "ca.pem"}).exit_code, kNotTrusted);
}

// What clients see of a certificate that nobody has renewed: it is served, and they refuse it.
TEST_F(HttpsTest, AnExpiredCertificateIsToldByTheLogAndRefusedByClients) {
  Install(authority_.IssueExpired("server"));
  Served served(Flags({}));
  const std::string page = PageOf(served);
  served.server().AwaitLine("the certificate of CN=server has expired on ");
  const ProgramResult refused = Curl(page, {"--cacert", "ca.pem"});
  EXPECT_EQ(refused.exit_code, kNotTrusted);
  EXPECT_THAT(refused.err, HasSubstr("certificate has expired"));
  Install(authority_.Issue("server"));
  served.server().AwaitLine("new connections get the new certificate of CN=server");
  EXPECT_EQ(Curl(page, {"-f", "--cacert", "ca.pem"}).exit_code, 0);
}

}  // namespace
}  // namespace denoised
