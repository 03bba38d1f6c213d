#include "server/access/tls_certificates.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>

#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/test_certificates.h"

namespace denoised {
namespace {

using std::chrono::hours;
using testing::HasSubstr;

class TlsCertificatesTest : public testing::Test {
 protected:
  TlsCertificatesTest() {
    const TestIdentity server = authority_.Issue("server");
    tls_.cert = folder_.Write("server.pem", server.cert);
    tls_.key = folder_.Write("server.key", server.key);
  }

  void ExpectRefusal(const std::string& message) {
    EXPECT_THAT(LoadTlsCertificates(tls_), StatusIs(absl::StatusCode::kInvalidArgument, message));
  }

  const TestAuthority authority_;
  const TempFolder folder_;
  TlsOptions tls_;
};

TEST_F(TlsCertificatesTest, TellWhoseTheyAreAndHowLongTheyLast) {
  const absl::StatusOr<TlsMaterial> material = LoadTlsMaterial(tls_);
  ASSERT_THAT(material, IsOk());
  EXPECT_EQ(material->subject, "CN=server");
  EXPECT_EQ(material->not_after - material->not_before, hours(48));
  EXPECT_GT(material->not_after, std::chrono::system_clock::now() + hours(23));
}

TEST_F(TlsCertificatesTest, NoFilesAreNoCertificates) {
  const absl::StatusOr<std::shared_ptr<TlsCertificates>> none = LoadTlsCertificates({});
  ASSERT_THAT(none, IsOk());
  EXPECT_EQ(*none, nullptr);
}

TEST_F(TlsCertificatesTest, KeyOfAnotherCertificateIsSaid) {
  tls_.key = folder_.Write("other.key", authority_.Issue("other").key);
  ExpectRefusal("--tls_key: " + tls_.key + " is not the key of the certificate in " + tls_.cert +
                "; give the two that were made together, and that certificate first where the file holds a chain");
}

TEST_F(TlsCertificatesTest, KeyWithAPassphraseIsSaid) {
  tls_.key = folder_.Write("locked.key", authority_.Issue("locked", "secret").key);
  ExpectRefusal("--tls_key: " + tls_.key + " holds no private key that can be read without a passphrase");
}

TEST_F(TlsCertificatesTest, SwappedFilesAreSaid) {
  std::swap(tls_.cert, tls_.key);
  ExpectRefusal("--tls_cert: " + tls_.cert + " holds no readable certificate, but a private key");
}

TEST_F(TlsCertificatesTest, UnreadableAuthorityOfClientsIsSaid) {
  tls_.client_ca = folder_.Write("clients.pem", "hello");
  ExpectRefusal("--tls_client_ca: " + tls_.client_ca + " is not a PEM file");
  tls_.client_ca = tls_.key;
  ExpectRefusal("--tls_client_ca: " + tls_.client_ca + " holds no readable certificate, but a private key");
}

TEST_F(TlsCertificatesTest, HalfOfAPairIsSaid) {
  tls_.key.clear();
  ExpectRefusal("--tls_cert and --tls_key belong together: give both, or neither for plain text");
  tls_.cert.clear();
  tls_.client_ca = "clients.pem";
  ExpectRefusal("--tls_client_ca needs --tls_cert and --tls_key");
}

TEST_F(TlsCertificatesTest, MissingFileIsSaid) {
  tls_.cert = "/nowhere/cert.pem";
  EXPECT_THAT(LoadTlsCertificates(tls_),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("--tls_cert: cannot open /nowhere/cert.pem")));
}

// A chain whose second half has not been written yet would lose its intermediate certificates.
TEST_F(TlsCertificatesTest, HalfWrittenChainIsSaid) {
  const std::string own = authority_.Issue("server").cert;
  tls_.cert = folder_.Write("server.pem", own + own.substr(0, own.size() / 2));
  ExpectRefusal("--tls_cert: " + tls_.cert + " holds a certificate that cannot be read, its 2. one; is it complete?");
}

TEST(ExpiryAt, IsSoonInTheLastFifthOfALifeOrWeekAndThenPassed) {
  const std::chrono::system_clock::time_point now = std::chrono::system_clock::now();
  TlsMaterial year;
  year.not_before = now - hours(24 * 360);
  year.not_after = now + hours(24 * 8);
  EXPECT_EQ(ExpiryAt(year, now), Expiry::kFar);
  EXPECT_EQ(ExpiryAt(year, now + hours(25)), Expiry::kSoon);
  EXPECT_EQ(ExpiryAt(year, now + hours(24 * 8)), Expiry::kPassed);
  TlsMaterial day;  // as service meshes issue them
  day.not_before = now;
  day.not_after = now + hours(24);
  EXPECT_EQ(ExpiryAt(day, now + hours(19)), Expiry::kFar);
  EXPECT_EQ(ExpiryAt(day, now + hours(20)), Expiry::kSoon);
}

}  // namespace
}  // namespace denoised
