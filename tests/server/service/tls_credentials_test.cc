#include "server/service/tls_credentials.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include "grpc/health/v1/health.grpc.pb.h"
#include "server/service/health_service.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/test_certificates.h"

namespace denoised {
namespace {

using testing::HasSubstr;

// The files of a server, and real handshakes with it.
class TlsCredentialsTest : public testing::Test {
 protected:
  TlsCredentialsTest() {
    const TestIdentity server = authority_.Issue("server");
    tls_.cert = folder_.Write("server.pem", server.cert);
    tls_.key = folder_.Write("server.key", server.key);
  }
  ~TlsCredentialsTest() override {
    if (server_ != nullptr) server_->Shutdown();
  }

  void Serve() {
    const absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> credentials = MakeServerCredentials(tls_);
    ASSERT_THAT(credentials, IsOk());
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", *credentials, &port_);
    builder.RegisterService(&health_);
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
  }

  grpc::StatusCode Call(const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
    const auto stub =
        grpc::health::v1::Health::NewStub(grpc::CreateChannel("127.0.0.1:" + std::to_string(port_), credentials));
    grpc::ClientContext context;
    grpc::health::v1::HealthCheckResponse response;
    return stub->Check(&context, {}, &response).error_code();
  }

  // A client that trusts the authority, and shows this certificate if it has one.
  grpc::StatusCode CallAs(const TestIdentity& client) {
    return Call(grpc::SslCredentials(
        {.pem_root_certs = authority_.pem(), .pem_private_key = client.key, .pem_cert_chain = client.cert}));
  }

  void ExpectRefusal(const std::string& message) {
    EXPECT_THAT(MakeServerCredentials(tls_), StatusIs(absl::StatusCode::kInvalidArgument, message));
  }

  const TestAuthority authority_;
  const TempFolder folder_;
  TlsOptions tls_;
  HealthService health_{{}};
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

TEST_F(TlsCredentialsTest, ClientThatTrustsTheAuthorityIsServed) {
  Serve();
  EXPECT_EQ(CallAs({}), grpc::StatusCode::OK);
}

TEST_F(TlsCredentialsTest, ClientsThatTrustAnotherOneOrSpeakPlainTextAreNot) {
  Serve();
  EXPECT_EQ(Call(grpc::SslCredentials({TestAuthority().pem(), "", ""})), grpc::StatusCode::UNAVAILABLE);
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

TEST_F(TlsCredentialsTest, KeyOfAnotherCertificateIsSaid) {
  tls_.key = folder_.Write("other.key", authority_.Issue("other").key);
  ExpectRefusal("--tls_key: " + tls_.key + " is not the key of the certificate in " + tls_.cert +
                "; give the two that were made together, and the server's own certificate first where the file holds a "
                "chain");
}

TEST_F(TlsCredentialsTest, KeyWithAPassphraseIsSaid) {
  tls_.key = folder_.Write("locked.key", authority_.Issue("locked", "secret").key);
  ExpectRefusal("--tls_key: " + tls_.key + " holds no private key that can be read without a passphrase");
}

TEST_F(TlsCredentialsTest, SwappedFilesAreSaid) {
  std::swap(tls_.cert, tls_.key);
  ExpectRefusal("--tls_cert: " + tls_.cert + " holds no readable certificate");
}

TEST_F(TlsCredentialsTest, UnreadableAuthorityOfClientsIsSaid) {
  tls_.client_ca = folder_.Write("clients.pem", "hello");
  ExpectRefusal("--tls_client_ca: " + tls_.client_ca + " is not a PEM file");
  tls_.client_ca = tls_.key;
  ExpectRefusal("--tls_client_ca: " + tls_.client_ca + " holds no readable certificate");
}

TEST_F(TlsCredentialsTest, HalfOfAPairIsSaid) {
  tls_.key.clear();
  ExpectRefusal("--tls_cert and --tls_key belong together: give both, or neither for plain text");
  tls_.cert.clear();
  tls_.client_ca = "clients.pem";
  ExpectRefusal("--tls_client_ca needs --tls_cert and --tls_key");
}

TEST_F(TlsCredentialsTest, MissingFileIsSaid) {
  tls_.cert = "/nowhere/cert.pem";
  EXPECT_THAT(MakeServerCredentials(tls_),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("--tls_cert: cannot open /nowhere/cert.pem")));
}

}  // namespace
}  // namespace denoised
