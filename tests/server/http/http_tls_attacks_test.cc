// What strangers do to a port that speaks TLS: handshakes that never end, in any number, and bytes that are none.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "server/access/https_contexts.h"
#include "server/http/http_server.h"
#include "tests/testing/http_attacks.h"
#include "tests/testing/https_client.h"
#include "tests/testing/process_figures.h"
#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

using std::chrono::milliseconds;

constexpr int kRequestsOfAGoodClient = 20;
#if defined(__SANITIZE_ADDRESS__)
constexpr int64_t kAllowedGrowth = int64_t{1} << 30;  // freed memory stays with AddressSanitizer for a while
#else
constexpr int64_t kAllowedGrowth = int64_t{64} << 20;  // the attacker's own, too
#endif

HttpConnection HalfHandshake(int port) {
  static const std::string& hello = *new std::string(ClientHello());
  HttpConnection client(port);
  client.Send(hello, http_attacks::kPatience);
  return client;
}

// Whole handshakes, one after the other, of which nothing comes.
HttpAttack Handshakes() {
  return {"handshakes without end", [](int port, const std::atomic<bool>& stop) {
            while (!stop) HttpsConnection client(port);
          }};
}

// Asks for new keys again and again, which has the other side make some, too.
HttpAttack KeyUpdates() {
  return {"new keys without end", [](int port, const std::atomic<bool>& stop) {
            while (!stop) {
              HttpsConnection client(port, {.version = TLS1_3_VERSION});
              bool taken = client.error().empty();
              while (taken && !stop) {
                taken =
                    SSL_key_update(client.ssl(), SSL_KEY_UPDATE_REQUESTED) == 1 && SSL_do_handshake(client.ssl()) == 1;
              }
            }
          }};
}

std::vector<HttpAttack> TlsAttacks() {
  using namespace http_attacks;  // NOLINT(google-build-using-namespace): of that header
  return {
      Keep("1,000 connections held", 1000, milliseconds(100), Silent, IsOpen),
      Keep("1,000 half handshakes", 1000, milliseconds(100), HalfHandshake, IsOpen),
      Keep("64 handshakes, a byte each 0.1 s", 64, milliseconds(100), HalfHandshake, SendByte),
      Stream("garbage", std::string("\x16\x03\x01\x40\x00", 5), '\xaa', 100),
      Stream("zeros", "", '\0', 100),
      Repeat("plain HTTP", "", kAskForMetrics),
      Handshakes(),
      KeyUpdates(),
  };
}

class HttpTlsAttacksTest : public testing::TestWithParam<HttpAttack> {
 protected:
  HttpTlsAttacksTest() {
    http_attacks::RaiseDescriptorLimit();
    const TestIdentity identity = authority_.Issue("server");
    TlsMaterial material;
    material.cert = identity.cert;
    material.key = identity.key;
    const std::shared_ptr<SSL_CTX> context = *MakeHttpsContext(material);
    HttpRoutes routes;
    routes.Add("GET", "/page", [](const HttpRequest&) { return HttpResponse{.body = "a page\n"}; });
    server_ = *HttpServer::Start({.host = "127.0.0.1",
                                  .tls = HttpTls{.context = [context] { return context; },
                                                 .client_name = [](const X509*) { return std::string(); }}},
                                 routes);
  }

  void ExpectAnswer() const {
    EXPECT_EQ(HttpsGet(server_->port(), "/page", {.ca = authority_.pem()}).body, "a page\n");
  }
  static int64_t ResidentBytes() { return FiguresOf(getpid()).resident_kib << 10; }

  const TestAuthority authority_;
  std::unique_ptr<HttpServer> server_;
};

TEST_P(HttpTlsAttacksTest, AGoodClientIsAnsweredAndMemoryStays) {
  ExpectAnswer();
  const int64_t before = ResidentBytes();
  const RunningAttack attack(GetParam(), server_->port());
  for (int i = 0; i < kRequestsOfAGoodClient; ++i) {
    ExpectAnswer();
    EXPECT_LT(ResidentBytes() - before, kAllowedGrowth);
    std::this_thread::sleep_for(milliseconds(20));  // some of the attack's time, not a condition
  }
}

std::string TestName(const testing::TestParamInfo<HttpAttack>& info) {
  std::string name;
  for (const char letter : info.param.name) {
    if (absl::ascii_isalnum(static_cast<unsigned char>(letter))) name += letter;
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(All, HttpTlsAttacksTest, testing::ValuesIn(TlsAttacks()), TestName);

}  // namespace
}  // namespace denoised
