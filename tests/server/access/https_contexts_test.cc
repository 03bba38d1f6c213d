#include "server/access/https_contexts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/test_certificates.h"

namespace denoised {
namespace {

class HttpsContextsTest : public testing::Test {
 protected:
  HttpsContextsTest() {
    tls_ = {.cert = folder_.File("server.pem"), .key = folder_.File("server.key"), .client_ca = ""};
    Install(authority_.Issue("server"));
  }

  void Install(const TestIdentity& server) {
    folder_.Write("server.pem", server.cert);
    folder_.Write("server.key", server.key);
  }
  static std::string SubjectIn(SSL_CTX* context) {
    char name[100];
    X509_NAME_get_text_by_NID(X509_get_subject_name(SSL_CTX_get0_certificate(context)), NID_commonName, name,
                              sizeof name);
    return name;
  }
  static int AuthoritiesIn(SSL_CTX* context) { return sk_X509_NAME_num(SSL_CTX_get_client_CA_list(context)); }

  const TestAuthority authority_;
  const TempFolder folder_;
  TlsOptions tls_;
};

TEST_F(HttpsContextsTest, TheNewestCertificateIsServedAndTheOldContextStaysForThoseWhoHaveIt) {
  const std::shared_ptr<TlsCertificates> certificates = *LoadTlsCertificates(tls_);
  HttpsContexts contexts(certificates);
  const std::shared_ptr<SSL_CTX> before = contexts.newest();
  EXPECT_EQ(contexts.newest(), before) << "one context for one certificate";
  Install(authority_.Issue("renewed"));
  EXPECT_EQ(*certificates->Refresh(), true);
  EXPECT_EQ(SubjectIn(contexts.newest().get()), "renewed");
  EXPECT_EQ(SubjectIn(before.get()), "server");
}

TEST_F(HttpsContextsTest, ClientsAreAskedForCertificatesOfTheirAuthority) {
  const std::shared_ptr<SSL_CTX> open = *MakeHttpsContext(*LoadTlsMaterial(tls_));
  EXPECT_EQ(SSL_CTX_get_verify_mode(open.get()), SSL_VERIFY_NONE);
  EXPECT_EQ(AuthoritiesIn(open.get()), 0);
  tls_.client_ca = folder_.Write("clients.pem", TestAuthority().pem() + TestAuthority().pem());
  const std::shared_ptr<SSL_CTX> mutual = *MakeHttpsContext(*LoadTlsMaterial(tls_));
  EXPECT_EQ(SSL_CTX_get_verify_mode(mutual.get()), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT);
  EXPECT_EQ(AuthoritiesIn(mutual.get()), 2);
}

// 512 bits, which OpenSSL reads but does not serve with: gRPC would open its port and fail each handshake.
TEST_F(HttpsContextsTest, AKeyThatIsTooShortIsSaidAtTheStart) {
  Install(TestAuthority::SelfSigned("server", EVP_RSA_gen(512)));
  EXPECT_THAT(LoadTlsCertificates(tls_),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "--tls_cert and --tls_key: OpenSSL does not take what is in the file: ee key too small"));
}

}  // namespace
}  // namespace denoised
