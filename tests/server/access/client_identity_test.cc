#include "server/access/client_identity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

#include "common/support/pem_files.h"
#include "server/access/tls_credentials.h"
#include "tests/testing/generic_call.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/test_certificates.h"

namespace denoised {
namespace {

// Real calls over TCP, answered by the caller's identity.
class ClientIdentityTest : public testing::Test {
 protected:
  void Serve(const TlsOptions& tls = {}) {
    const absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> credentials = MakeServerCredentials(tls);
    ASSERT_THAT(credentials, IsOk());
    server_.emplace(*credentials, [this](const grpc::CallbackServerContext& context) {
      return grpc::Status(grpc::StatusCode::ABORTED, ClientIdentity(context, sources_));
    });
  }

  TlsOptions MutualTls() {
    const TestIdentity server = authority_.Issue("server");
    return {.cert = folder_.Write("server.pem", server.cert),
            .key = folder_.Write("server.key", server.key),
            .client_ca = folder_.Write("clients.pem", authority_.pem())};
  }

  std::string IdentityOf(const TestIdentity& client) {
    return server_->Call(grpc::SslCredentials({authority_.pem(), client.key, client.cert})).error_message();
  }

  std::string Identity(const CallMetadata& metadata) {
    return server_->Call(grpc::InsecureChannelCredentials(), metadata).error_message();
  }

  const TestAuthority authority_;
  const TempFolder folder_;
  IdentitySources sources_;
  std::optional<GenericServer> server_;
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
  sources_.trusted_header = "x-client";
  Serve();
  EXPECT_EQ(Identity({{"x-client", " alice "}}), "header:alice");
  EXPECT_EQ(Identity({{"x-client", "O=lab, CN=alice"}}), "header:O=lab, CN=alice");
  EXPECT_EQ(Identity({{"x-other", "alice"}}), "address:127.0.0.1");
}

// A client may send the header too, in front of what its proxy adds.
TEST_F(ClientIdentityTest, LastValueOfTheHeaderCounts) {
  sources_.trusted_header = "x-forwarded-for";
  Serve();
  EXPECT_EQ(Identity({{"x-forwarded-for", "10.9.9.9"}, {"x-forwarded-for", "10.0.0.1"}}), "header:10.0.0.1");
  EXPECT_EQ(Identity({{"x-forwarded-for", "10.9.9.9, 10.0.0.1"}}), "header:10.0.0.1");
}

TEST_F(ClientIdentityTest, HeaderThatIsNoNameFallsBackToTheAddress) {
  sources_.trusted_header = "x-client";
  Serve();
  EXPECT_EQ(Identity({{"x-client", ""}}), "address:127.0.0.1");
  EXPECT_EQ(Identity({{"x-client", std::string(257, 'a')}}), "address:127.0.0.1");
  EXPECT_EQ(Identity({{"x-client", std::string(256, 'a')}}), "header:" + std::string(256, 'a'));
}

TEST_F(ClientIdentityTest, TokenComesBeforeAllElse) {
  sources_ = {.token_name = "lab", .trusted_header = "x-client"};
  Serve();
  EXPECT_EQ(Identity({{"x-client", "alice"}}), "token:lab");
}

TEST_F(ClientIdentityTest, VerifiedCertificateNamesTheClientByItsCommonName) {
  sources_.trusted_header = "x-client";
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

// Whoever calls by HTTP is the same client as by gRPC.
TEST_F(ClientIdentityTest, NamesInCertificatesAreThoseThatGrpcFinds) {
  Serve(MutualTls());
  const std::pair<std::string, std::string> certificates[] = {
      {"alice", "IP:127.0.0.1"},
      {"alice", "URI:spiffe://example.org/alice"},
      {"alice", "DNS:alice.example.org,URI:https://example.org/a,URI:https://example.org/b"},
      {"", "DNS:alice.example.org,DNS:other.example.org"},
      {"", "email:alice@example.org"},
      {"", "IP:192.0.2.7"},
      {"", "IP:2001:db8::7"},
      {"J\xc3\xbcrgen, K\xc3\xb6ln", "DNS:j.example.org"},
  };
  for (const auto& [common_name, names] : certificates) {
    const TestIdentity client = authority_.Issue(common_name, "", names);
    const auto certificate = ReadCertificates("", "", client.cert);
    ASSERT_THAT(certificate, IsOk());
    const std::string name = NameInCertificate(certificate->front().get());
    EXPECT_NE(name, "") << names;
    EXPECT_EQ("certificate:" + name, IdentityOf(client)) << names;
  }
}

TEST_F(ClientIdentityTest, AGatewayOfThisProcessNamesItsClientsCertificateAndAStrangerDoesNot) {
  Serve();
  EXPECT_EQ(Identity(CallerMetadata("ipv4:192.0.2.7:40000", "J\xc3\xbcrgen")), "certificate:J\xc3\xbcrgen");
  EXPECT_EQ(Identity(CallerMetadata("ipv4:192.0.2.7:40000", "")), "address:192.0.2.7");
  EXPECT_EQ(Identity({{"denoised-certificate-bin", "alice"}}), "address:127.0.0.1");
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

TEST(IsLocalPeer, IsTrueOfThisMachineAlone) {
  for (const char* peer : {"ipv4:127.0.0.1:40000", "ipv6:%5B::1%5D:40000", "ipv6:[::1]:40000",
                           "unix:", "unix:/run/d.sock", "ipv6:[::ffff:127.0.0.1]:40000"}) {
    EXPECT_TRUE(IsLocalPeer(peer)) << peer;
  }
  for (const char* peer : {"ipv4:192.0.2.7:40000", "ipv6:%5B2001:db8::1%5D:40000", "ipv6:[::1:1]:40000",
                           "ipv6:[::ffff:192.0.2.7]:40000", "ipv4:1.127.0.0:1", ""}) {
    EXPECT_FALSE(IsLocalPeer(peer)) << peer;
  }
}

}  // namespace
}  // namespace denoised
