#include "server/access/tls_credentials.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <thread>

#include "tests/testing/generic_call.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/test_certificates.h"

namespace denoised {
namespace {

// The files of a server, and real handshakes with it.
class TlsCredentialsTest : public testing::Test {
 protected:
  TlsCredentialsTest() { Install(authority_.Issue("server")); }

  void Install(const TestIdentity& server) {
    tls_.cert = folder_.Write("server.pem", server.cert);
    tls_.key = folder_.Write("server.key", server.key);
  }

  void Serve() {
    absl::StatusOr<std::shared_ptr<TlsCertificates>> certificates = LoadTlsCertificates(tls_);
    ASSERT_THAT(certificates, IsOk());
    certificates_ = *certificates;
    server_.emplace(MakeServerCredentials(certificates_),
                    [](const grpc::CallbackServerContext&) { return grpc::Status::OK; });
  }

  grpc::StatusCode Call(const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
    return server_->Call(credentials).error_code();
  }

  // A client that trusts the authority, and shows this certificate if it has one.
  grpc::StatusCode CallAs(const TestIdentity& client) { return Call(Credentials(client)); }

  std::shared_ptr<grpc::ChannelCredentials> Credentials(const TestIdentity& client = {}) const {
    return grpc::SslCredentials(
        {.pem_root_certs = authority_.pem(), .pem_private_key = client.key, .pem_cert_chain = client.cert});
  }
  static std::shared_ptr<grpc::ChannelCredentials> Trusting(const TestAuthority& authority) {
    return grpc::SslCredentials({.pem_root_certs = authority.pem(), .pem_private_key = "", .pem_cert_chain = ""});
  }

  const TestAuthority authority_;
  const TempFolder folder_;
  TlsOptions tls_;
  std::shared_ptr<TlsCertificates> certificates_;
  std::optional<GenericServer> server_;
};

TEST_F(TlsCredentialsTest, ClientThatTrustsTheAuthorityIsServed) {
  Serve();
  EXPECT_EQ(CallAs({}), grpc::StatusCode::OK);
}

TEST_F(TlsCredentialsTest, ClientsThatTrustAnotherOneOrSpeakPlainTextAreNot) {
  Serve();
  EXPECT_EQ(Call(Trusting(TestAuthority())), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Call(grpc::InsecureChannelCredentials()), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(TlsCredentialsTest, MutualTlsServesTheClientsOfItsAuthorityOnly) {
  const TestAuthority of_clients;
  tls_.client_ca = folder_.Write("clients.pem", of_clients.pem());
  Serve();
  EXPECT_EQ(CallAs(of_clients.Issue("client")), grpc::StatusCode::OK);
  EXPECT_EQ(CallAs({}), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(CallAs(authority_.Issue("client of another authority")), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(TlsCredentialsTest, NoFilesMeanPlainText) {
  tls_ = {};
  Serve();
  EXPECT_EQ(Call(grpc::InsecureChannelCredentials()), grpc::StatusCode::OK);
}

// Certificates that are renewed on disk reach clients without a restart, and running connections do not notice.
TEST_F(TlsCredentialsTest, NewConnectionsGetTheCertificateThatReplacedTheOld) {
  Serve();
  const TestAuthority another;
  const std::shared_ptr<grpc::Channel> open = server_->Connect(Credentials());
  EXPECT_EQ(CallOver(open).error_code(), grpc::StatusCode::OK);
  EXPECT_EQ(Call(Trusting(another)), grpc::StatusCode::UNAVAILABLE);

  Install(another.Issue("server"));
  EXPECT_EQ(*certificates_->Refresh(), true);

  EXPECT_EQ(Call(Trusting(another)), grpc::StatusCode::OK);
  EXPECT_EQ(Call(Credentials()), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(CallOver(open).error_code(), grpc::StatusCode::OK);
}

TEST_F(TlsCredentialsTest, HalfReplacedPairKeepsTheOldOneServing) {
  Serve();
  const TestIdentity renewed = authority_.Issue("renewed");
  folder_.Write("server.pem", renewed.cert);
  EXPECT_EQ(*certificates_->Refresh(), false);
  EXPECT_THAT(certificates_->Refresh(),
              StatusIs(absl::StatusCode::kInvalidArgument, testing::HasSubstr("is not the key of the certificate in")));
  EXPECT_EQ(CallAs({}), grpc::StatusCode::OK);
  folder_.Write("server.key", renewed.key);
  EXPECT_EQ(*certificates_->Refresh(), true);
  EXPECT_EQ(CallAs({}), grpc::StatusCode::OK);
}

TEST_F(TlsCredentialsTest, AuthorityOfClientsIsReplacedToo) {
  const TestAuthority old_clients;
  const TestAuthority new_clients;
  tls_.client_ca = folder_.Write("clients.pem", old_clients.pem());
  Serve();
  EXPECT_EQ(CallAs(old_clients.Issue("client")), grpc::StatusCode::OK);
  folder_.Write("clients.pem", new_clients.pem());
  EXPECT_EQ(*certificates_->Refresh(), true);
  EXPECT_EQ(CallAs(new_clients.Issue("client")), grpc::StatusCode::OK);
  EXPECT_EQ(CallAs(old_clients.Issue("client")), grpc::StatusCode::UNAVAILABLE);
}

// Each call makes a connection of its own while the files change under it.
TEST_F(TlsCredentialsTest, NoHandshakeFailsWhileCertificatesRotate) {
  Serve();
  std::atomic<bool> done = false;
  std::atomic<int> rotations = 0;
  std::thread rotation([&] {
    while (!done) {
      const TestIdentity renewed = authority_.Issue("renewed");
      folder_.Write("server.pem", renewed.cert);
      (void)certificates_->Refresh();
      folder_.Write("server.key", renewed.key);
      const absl::StatusOr<bool> changed = certificates_->Refresh();
      if (changed.ok() && *changed) ++rotations;
    }
  });
  for (int call = 0; call < 50 || rotations < 5; ++call) EXPECT_EQ(CallAs({}), grpc::StatusCode::OK);
  done = true;
  rotation.join();
}

}  // namespace
}  // namespace denoised
