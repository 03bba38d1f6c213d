#include "common/support/pem_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/test_certificates.h"

namespace denoised {
namespace {

TEST(PemFilesTest, CertificateAndItsKeyBelongTogether) {
  const TestAuthority authority;
  const TestIdentity one = authority.Issue("one"), other = authority.Issue("other");
  const absl::StatusOr<std::vector<Certificate>> chain = ReadCertificates("--tls_cert", "one.pem", one.cert);
  ASSERT_THAT(chain, IsOk());
  EXPECT_THAT(CheckKeyPair((*chain)[0].get(), one.key, "one.pem", "one.key"), IsOk());
  EXPECT_THAT(CheckKeyPair((*chain)[0].get(), other.key, "one.pem", "other.key"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "--tls_key: other.key is not the key of the certificate in one.pem; give the two that were made "
                       "together, and that certificate first where the file holds a chain"));
}

TEST(PemFilesTest, KeyInPlaceOfACertificateIsSaid) {
  const TestIdentity one = TestAuthority().Issue("one");
  EXPECT_THAT(ReadCertificates("--tls_ca", "one.key", one.key),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "--tls_ca: one.key holds no readable certificate, but a private key"));
}

TEST(PemFilesTest, FileThatIsNoPemIsSaid) {
  const TempFolder folder;
  const std::string path = folder.Write("x", "text");
  EXPECT_THAT(ReadPem("--tls_ca", path),
              StatusIs(absl::StatusCode::kInvalidArgument, "--tls_ca: " + path + " is not a PEM file"));
}

}  // namespace
}  // namespace denoised
