#include "server/service/client_identity.h"

#include <gmock/gmock.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "server/service/tls_credentials.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/test_certificates.h"

namespace denoised {
namespace {

using Metadata = std::vector<std::pair<std::string, std::string>>;

// Answers every call of every method by the caller's identity.
class IdentityService : public grpc::CallbackGenericService {
 public:
  IdentitySources sources;

 private:
  class Answer : public grpc::ServerGenericBidiReactor {
   public:
    explicit Answer(const std::string& text) { Finish(grpc::Status(grpc::StatusCode::ABORTED, text)); }
    void OnDone() override { delete this; }
  };

  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context) override {
    return new Answer(ClientIdentity(*context, sources));
  }
};

// Real calls over TCP.
class ClientIdentityTest : public testing::Test {
 protected:
  ~ClientIdentityTest() override {
    if (server_ != nullptr) server_->Shutdown();
  }

  void Serve(const TlsOptions& tls = {}, const std::string& host = "127.0.0.1") {
    host_ = host;
    const absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> credentials = MakeServerCredentials(tls);
    ASSERT_THAT(credentials, IsOk());
    grpc::ServerBuilder builder;
    builder.AddListeningPort(host + ":0", *credentials, &port_);
    builder.RegisterCallbackGenericService(&service_);
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
  }

  TlsOptions MutualTls() {
    const TestIdentity server = authority_.Issue("server");
    return {.cert = folder_.Write("server.pem", server.cert),
            .key = folder_.Write("server.key", server.key),
            .client_ca = folder_.Write("clients.pem", authority_.pem())};
  }

  std::string IdentityOf(const TestIdentity& client) {
    return Identity({}, grpc::SslCredentials({authority_.pem(), client.key, client.cert}));
  }

  std::string Identity(const Metadata& metadata, const std::shared_ptr<grpc::ChannelCredentials>& credentials =
                                                     grpc::InsecureChannelCredentials()) {
    const std::shared_ptr<grpc::Channel> channel =
        grpc::CreateChannel(host_ + ":" + std::to_string(port_), credentials);
    grpc::ClientContext context;
    for (const auto& [key, value] : metadata) context.AddMetadata(key, value);
    grpc::CompletionQueue queue;
    grpc::GenericStub stub(channel);
    const grpc::ByteBuffer request(nullptr, 0);
    const auto call = stub.PrepareUnaryCall(&context, "/any.Service/Method", request, &queue);
    call->StartCall();
    grpc::ByteBuffer response;
    grpc::Status status;
    call->Finish(&response, &status, this);
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    return status.error_message();
  }

  const TestAuthority authority_;
  const TempFolder folder_;
  IdentityService service_;
  std::string host_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

TEST_F(ClientIdentityTest, WithoutAnythingElseItIsTheAddressWithoutThePort) {
  Serve();
  EXPECT_EQ(Identity({}), "address:127.0.0.1");
}

TEST_F(ClientIdentityTest, HeaderOfAStrangerIsNotBelieved) {
  Serve();
  EXPECT_EQ(Identity({{"x-client", "alice"}}), "address:127.0.0.1");
}

TEST_F(ClientIdentityTest, TrustedHeaderNamesTheClient) {
  service_.sources.trusted_header = "x-client";
  Serve();
  EXPECT_EQ(Identity({{"x-client", " alice "}}), "header:alice");
  EXPECT_EQ(Identity({{"x-client", "O=lab, CN=alice"}}), "header:O=lab, CN=alice");
  EXPECT_EQ(Identity({{"x-other", "alice"}}), "address:127.0.0.1");
}

// A client may send the header too, in front of what its proxy adds.
TEST_F(ClientIdentityTest, LastValueOfTheHeaderCounts) {
  service_.sources.trusted_header = "x-forwarded-for";
  Serve();
  EXPECT_EQ(Identity({{"x-forwarded-for", "10.9.9.9"}, {"x-forwarded-for", "10.0.0.1"}}), "header:10.0.0.1");
  EXPECT_EQ(Identity({{"x-forwarded-for", "10.9.9.9, 10.0.0.1"}}), "header:10.0.0.1");
}

TEST_F(ClientIdentityTest, HeaderThatIsNoNameFallsBackToTheAddress) {
  service_.sources.trusted_header = "x-client";
  Serve();
  EXPECT_EQ(Identity({{"x-client", ""}}), "address:127.0.0.1");
  EXPECT_EQ(Identity({{"x-client", std::string(257, 'a')}}), "address:127.0.0.1");
  EXPECT_EQ(Identity({{"x-client", std::string(256, 'a')}}), "header:" + std::string(256, 'a'));
}

TEST_F(ClientIdentityTest, TokenComesBeforeAllElse) {
  service_.sources = {.token_name = "lab", .trusted_header = "x-client"};
  Serve();
  EXPECT_EQ(Identity({{"x-client", "alice"}}), "token:lab");
}

TEST_F(ClientIdentityTest, VerifiedCertificateNamesTheClientByItsCommonName) {
  service_.sources.trusted_header = "x-client";
  Serve(MutualTls());
  EXPECT_EQ(IdentityOf(authority_.Issue("alice")), "certificate:alice");
}

TEST_F(ClientIdentityTest, SpiffeIdComesBeforeTheCommonName) {
  Serve(MutualTls());
  EXPECT_EQ(IdentityOf(authority_.Issue("alice", "", "URI:spiffe://example.org/alice")),
            "certificate:spiffe://example.org/alice");
}

TEST_F(ClientIdentityTest, WithoutMutualTlsACertificateProvesNothing) {
  TlsOptions tls = MutualTls();
  tls.client_ca.clear();
  Serve(tls);
  EXPECT_EQ(IdentityOf(authority_.Issue("alice")), "address:127.0.0.1");
}

TEST(PeerAddress, IsTheHostOfAPeer) {
  EXPECT_EQ(PeerAddress("ipv4:192.0.2.7:40000"), "192.0.2.7");
  EXPECT_EQ(PeerAddress("unix:/run/denoised.sock"), "unix");
  EXPECT_EQ(PeerAddress("unix:"), "unix");
  EXPECT_EQ(PeerAddress("inproc"), "inproc");
}

// Otherwise one customer's 2^64 addresses are as many clients.
TEST(PeerAddress, OfIpv6IsTheNetworkOfACustomer) {
  EXPECT_EQ(PeerAddress("ipv6:[2001:db8:1:2:3:4:5:6]:40000"), "2001:db8:1:2::/64");
  EXPECT_EQ(PeerAddress("ipv6:%5B2001:db8:1:2:ffff::1%5D:40000"), "2001:db8:1:2::/64");
  EXPECT_EQ(PeerAddress("ipv6:[fe80::1%25eth0]:40000"), "fe80::/64");
  EXPECT_EQ(PeerAddress("ipv6:[::ffff:192.0.2.7]:40000"), "192.0.2.7");
}

}  // namespace
}  // namespace denoised
