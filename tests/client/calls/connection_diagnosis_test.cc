// Servers that a client cannot talk with, each in its own way.
#include "client/calls/connection_diagnosis.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <vector>

#include "absl/strings/str_replace.h"
#include "client/calls/digit_client.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "tests/testing/free_port.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/test_certificates.h"

namespace denoised {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

class ConnectionDiagnosisTest : public testing::Test {
 protected:
  void Serve(const std::shared_ptr<grpc::ServerCredentials>& credentials) {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", credentials, &port);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    connection_.server = "127.0.0.1:" + std::to_string(port);
  }
  void ServeTls(const TestIdentity& identity, const std::string& client_ca = "") {
    grpc::SslServerCredentialsOptions options;
    options.pem_key_cert_pairs.push_back({identity.key, identity.cert});
    if (!client_ca.empty()) {
      options.pem_root_certs = client_ca;
      options.client_certificate_request = GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY;
    }
    Serve(grpc::SslServerCredentials(options));
  }
  void ShowCertificate(const TestIdentity& identity) {
    connection_.tls_cert = folder_.Write("client.pem", identity.cert);
    connection_.tls_key = folder_.Write("client.key", identity.key);
  }
  absl::Status Reach() {
    const absl::StatusOr<std::unique_ptr<DigitClient>> client = DigitClient::Connect(connection_);
    return client.ok() ? (*client)->AwaitServer({}) : client.status();
  }
  std::string Said() { return std::string(Reach().message()); }

  TempFolder folder_;
  TestAuthority authority_;
  v1::DigitService::Service service_;
  std::unique_ptr<grpc::Server> server_;
  Connection connection_;
};

TEST_F(ConnectionDiagnosisTest, NobodyListens) {
  connection_.server = "127.0.0.1:" + std::to_string(FreePort());
  EXPECT_THAT(Reach(), StatusIs(absl::StatusCode::kUnavailable,
                                "cannot reach a server at " + connection_.server +
                                    "; start one with `denoised`, or name another with --server (Connection refused)"));
  connection_.server = "unix:" + folder_.File("none.sock");
  EXPECT_THAT(Said(), HasSubstr("start one with `denoised`"));
}

TEST_F(ConnectionDiagnosisTest, NoSuchHost) {
  connection_.server = "nowhere.invalid:50051";
  EXPECT_THAT(Said(),
              AllOf(StartsWith("--server: cannot find the host nowhere.invalid ("), HasSubstr("is its name right?")));
}

TEST_F(ConnectionDiagnosisTest, PlainTextIsSpokenToAServerWithTls) {
  ServeTls(authority_.Issue("server"));
  EXPECT_EQ(Said(), "the server at " + connection_.server +
                        " speaks TLS: add --tls, or --tls_ca with the certificates to trust");
}

TEST_F(ConnectionDiagnosisTest, TlsIsSpokenToAServerWithout) {
  Serve(grpc::InsecureServerCredentials());
  connection_.tls = true;
  EXPECT_EQ(Said(), "the server at " + connection_.server +
                        " speaks no TLS: leave out --tls and the --tls_ files, or ask it to");
}

TEST_F(ConnectionDiagnosisTest, CertificateOfAnUnknownAuthority) {
  ServeTls(authority_.Issue("server"));
  connection_.tls_ca = folder_.Write("ca.pem", TestAuthority().pem());
  EXPECT_THAT(Said(), AllOf(StartsWith("the certificate of the server at " + connection_.server + " is not trusted: "),
                            HasSubstr("; name the certificates to trust with --tls_ca")));
}

TEST_F(ConnectionDiagnosisTest, CertificateForAnotherName) {
  ServeTls(authority_.Issue("server", "", "DNS:elsewhere.example.org"));
  connection_.tls_ca = folder_.Write("ca.pem", authority_.pem());
  EXPECT_THAT(Said(), HasSubstr(" is not trusted: it is not made out to 127.0.0.1; "));
}

TEST_F(ConnectionDiagnosisTest, ClientCertificateIsMissing) {
  ServeTls(authority_.Issue("server"), authority_.pem());
  connection_.tls_ca = folder_.Write("ca.pem", authority_.pem());
  EXPECT_THAT(Said(), StartsWith("the server at " + connection_.server +
                                 " wants a certificate of this client: add --tls_cert and --tls_key ("));
}

TEST_F(ConnectionDiagnosisTest, ClientCertificateIsNotAccepted) {
  ServeTls(authority_.Issue("server"), authority_.pem());
  connection_.tls_ca = folder_.Write("ca.pem", authority_.pem());
  ShowCertificate(TestAuthority().Issue("stranger"));
  EXPECT_THAT(Said(), StartsWith("--tls_cert: the server at " + connection_.server +
                                 " does not accept this certificate; take one that its authority signed ("));
  ShowCertificate(authority_.Issue("friend"));
  EXPECT_THAT(Reach(), IsOk());
}

TEST_F(ConnectionDiagnosisTest, KeyWhereACertificateBelongs) {
  connection_.tls_ca = folder_.Write("ca.key", authority_.Issue("server").key);
  EXPECT_THAT(Reach(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "--tls_ca: " + connection_.tls_ca + " holds no readable certificate, but a private key"));
}

TEST_F(ConnectionDiagnosisTest, ServerThatComesWhileItIsAwaitedIsReached) {
  const int port = FreePort();
  connection_.server = "127.0.0.1:" + std::to_string(port);
  const absl::StatusOr<std::unique_ptr<DigitClient>> client = DigitClient::Connect(connection_);
  ASSERT_THAT(client, IsOk());
  const auto start = [&](const std::string&) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(connection_.server, grpc::InsecureServerCredentials());
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
  };
  EXPECT_THAT(
      (*client)->AwaitServer({.wait_seconds = 600, .loading_seconds = 0, .timeout_seconds = 0, .on_wait = start}),
      IsOk());
}

// Asks for tokens, and says at first that it does not serve.
class LoadingHealth : public grpc::health::v1::Health::Service {
 public:
  grpc::Status Check(grpc::ServerContext*, const grpc::health::v1::HealthCheckRequest*,
                     grpc::health::v1::HealthCheckResponse* response) override {
    using Response = grpc::health::v1::HealthCheckResponse;
    response->set_status(asked_++ < 3 ? Response::NOT_SERVING : Response::SERVING);
    return grpc::Status::OK;
  }

 private:
  std::atomic<int> asked_ = 0;
};
class TokensOnly : public v1::DigitService::Service {
 public:
  grpc::Status GetModel(grpc::ServerContext*, const v1::GetModelRequest*, v1::GetModelResponse*) override {
    return {grpc::StatusCode::UNAUTHENTICATED, "this server asks for a token"};
  }
};

// Has its model after so many looks.
class LoadingService : public v1::DigitService::Service {
 public:
  explicit LoadingService(int looks) : left_(looks) {}
  grpc::Status GetModel(grpc::ServerContext*, const v1::GetModelRequest*, v1::GetModelResponse*) override {
    return left_-- > 0 ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "the model is still loading") : grpc::Status::OK;
  }

 private:
  std::atomic<int> left_;
};

class LoadingTest : public ConnectionDiagnosisTest {
 protected:
  // What health says once a server that plays `service` has been waited for, which is told in told_.
  std::string HealthAfterWait(v1::DigitService::Service* service, bool until_serving = false) {
    LoadingHealth health;
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&health);
    builder.RegisterService(service);
    const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
    connection_.server = "127.0.0.1:" + std::to_string(port);
    const absl::StatusOr<std::unique_ptr<DigitClient>> client = DigitClient::Connect(connection_);
    EXPECT_THAT(client, IsOk());
    const auto tell = [&](const std::string& what) {
      told_.push_back(absl::StrReplaceAll(what, {{connection_.server, "HERE"}}));
    };
    EXPECT_THAT((*client)->AwaitServer({.wait_seconds = 600,
                                        .loading_seconds = 600,
                                        .timeout_seconds = 0,
                                        .until_serving = until_serving,
                                        .on_wait = tell}),
                IsOk());
    return (*client)->CheckHealth({}).value_or("");
  }

  std::vector<std::string> told_;
};

TEST_F(LoadingTest, WhoHasNoTokenIsToldByHealthThatTheModelIsThere) {
  TokensOnly service;
  EXPECT_EQ(HealthAfterWait(&service), "SERVING");
}

// The service has its model a moment before health says so.
TEST_F(LoadingTest, WhoSawTheModelLoadWaitsForHealthToo) {
  LoadingService service(1);
  EXPECT_EQ(HealthAfterWait(&service), "SERVING");
  EXPECT_THAT(told_, testing::ElementsAre("the server at HERE is loading its model; waiting up to 600 s",
                                          "the server at HERE does not serve yet; waiting up to 600 s"));
}

TEST_F(LoadingTest, UntilServingWaitsForHealth) {
  LoadingService service(0);
  EXPECT_EQ(HealthAfterWait(&service, /*until_serving=*/true), "SERVING");
  EXPECT_THAT(told_, testing::ElementsAre("the server at HERE does not serve yet; waiting up to 600 s"));
}

// It still draws what it is asked for on a connection that is there.
TEST_F(LoadingTest, AServerThatDrainsIsNotWaitedFor) {
  LoadingService service(0);
  EXPECT_EQ(HealthAfterWait(&service), "NOT_SERVING");
  EXPECT_THAT(told_, testing::IsEmpty());
}

TEST_F(ConnectionDiagnosisTest, CancelEndsTheWait) {
  connection_.server = "127.0.0.1:" + std::to_string(FreePort());
  const absl::StatusOr<std::unique_ptr<DigitClient>> client = DigitClient::Connect(connection_);
  ASSERT_THAT(client, IsOk());
  EXPECT_THAT((*client)->AwaitServer({.wait_seconds = 600,
                                      .timeout_seconds = 0,
                                      .on_wait = [&client](const std::string&) { (*client)->Cancel(); }}),
              StatusIs(absl::StatusCode::kCancelled, "cancelled"));
}

}  // namespace
}  // namespace denoised
