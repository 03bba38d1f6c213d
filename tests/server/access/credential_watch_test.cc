#include "server/access/credential_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <sstream>
#include <string>
#include <vector>

#include "common/support/digest.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/test_certificates.h"

namespace denoised {
namespace {

using std::chrono::hours;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// The watch's own thread looks as well, so nothing here counts on who was first.
class CredentialWatchTest : public testing::Test {
 protected:
  CredentialWatchTest() : logger_before_(spdlog::default_logger()) {
    auto logger = std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(log_));
    logger->set_pattern("%l: %v");
    spdlog::set_default_logger(logger);
    Install(authority_.Issue("server"));
    tls_ = {.cert = folder_.File("server.pem"), .key = folder_.File("server.key"), .client_ca = ""};
    tokens_ = folder_.Write("tokens", "lab " + Sha256Hex("secret"));
  }
  ~CredentialWatchTest() override { spdlog::set_default_logger(logger_before_); }

  void Install(const TestIdentity& server) {
    folder_.Write("server.key", server.key);
    folder_.Write("server.pem", server.cert);
  }

  // Watches, looks twice, and ends.
  template <typename Change>
  std::string LogAfter(const Change& change,
                       std::chrono::system_clock::time_point now = std::chrono::system_clock::now()) {
    AccessOptions access;
    access.tokens = tokens_;
    {
      CredentialWatch watch(*LoadCredentials(tls_, access, "0.0.0.0:50051"),
                            [this](const TlsMaterial& material) { subjects_.push_back(material.subject); });
      change();
      watch.Look(now);
      watch.Look(now);
    }
    return log_.str();
  }

  const TestAuthority authority_;
  const TempFolder folder_;
  TlsOptions tls_;
  std::string tokens_;
  std::vector<std::string> subjects_;
  std::ostringstream log_;
  const std::shared_ptr<spdlog::logger> logger_before_;
};

TEST_F(CredentialWatchTest, SaysNothingWhileNothingChanges) {
  EXPECT_THAT(LogAfter([] {}), IsEmpty());
  EXPECT_THAT(subjects_, ElementsAre("CN=server"));
}

TEST_F(CredentialWatchTest, NewCertificateIsLoggedAndTold) {
  EXPECT_THAT(LogAfter([&] { Install(authority_.Issue("renewed")); }),
              HasSubstr("info: new connections get the new certificate of CN=renewed, valid until "));
  EXPECT_THAT(subjects_, ElementsAre("CN=server", "CN=renewed"));
}

TEST_F(CredentialWatchTest, BrokenFilesAreLoggedAndTheOldOnesStay) {
  const std::string log = LogAfter([&] {
    folder_.Write("server.pem", "half");
    folder_.Write("tokens", "half");
  });
  EXPECT_THAT(log,
              HasSubstr("error: the old certificate stays in use: --tls_cert: " + tls_.cert + " is not a PEM file"));
  EXPECT_THAT(log, HasSubstr("error: the old tokens stay in use: --tokens: " + tokens_ + ": line 1: must be a name"));
  EXPECT_THAT(subjects_, ElementsAre("CN=server"));
}

TEST_F(CredentialWatchTest, NewTokensAreLogged) {
  EXPECT_THAT(LogAfter([&] { folder_.Write("tokens", "lab " + Sha256Hex("a") + "\nlab " + Sha256Hex("b")); }),
              HasSubstr("info: tokens: 2 from now on"));
}

// Its certificates live for two days.
TEST_F(CredentialWatchTest, EndThatNearsAndEndThatCameAreLogged) {
  const std::chrono::system_clock::time_point now = std::chrono::system_clock::now();
  EXPECT_THAT(LogAfter([] {}, now + hours(20)), HasSubstr("warning: the certificate of CN=server is valid until "));
  EXPECT_THAT(LogAfter([] {}, now + hours(25)), HasSubstr("error: the certificate of CN=server has expired on "));
}

}  // namespace
}  // namespace denoised
