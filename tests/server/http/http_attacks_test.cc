// What was seen to take the metrics port of this server down, and more of the kind: bodies and headers without end,
// clients that dribble, hold or do not read, and a process without descriptors.
#include "tests/testing/http_attacks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "server/http/http_server.h"
#include "tests/testing/process_figures.h"
#include "tests/testing/sanitizers.h"
#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

constexpr int kRequestsOfAGoodClient = 20;
constexpr size_t kPageBytes = 32 << 10;
#if defined(__SANITIZE_ADDRESS__)
constexpr int64_t kAllowedGrowth = int64_t{512} << 20;  // freed memory stays with AddressSanitizer for a while
#else
constexpr int64_t kAllowedGrowth = int64_t{16} << 20;  // the attacker's own, too
#endif

std::unique_ptr<HttpServer> StartServer() {
  HttpRoutes routes;
  routes.Add("GET", "/metrics", [](const HttpRequest&) { return HttpResponse{.body = std::string(kPageBytes, 'x')}; });
  routes.Add(
      "GET", "/healthz", [](const HttpRequest&) { return HttpResponse{.body = "serving\n"}; },
      HttpRoutes::Where::kIoThread);
  auto server = HttpServer::Start({.host = "127.0.0.1"}, routes);
  EXPECT_THAT(server, IsOk());
  return server.ok() ? *std::move(server) : nullptr;
}

int64_t ResidentBytes() { return FiguresOf(getpid()).resident_kib << 10; }

void ExpectAnswers(int port) {
  const HttpAnswer page = HttpGet(port, "/metrics");
  EXPECT_EQ(page.status, 200);
  EXPECT_EQ(page.body.size(), kPageBytes);
  EXPECT_EQ(HttpGet(port, "/healthz").body, "serving\n");
}

class HttpAttacksTest : public testing::TestWithParam<HttpAttack> {};

TEST_P(HttpAttacksTest, AGoodClientIsAnsweredAndMemoryStays) {
  http_attacks::RaiseDescriptorLimit();
  const auto server = StartServer();
  ASSERT_NE(server, nullptr);
  ExpectAnswers(server->port());
  const int64_t before = ResidentBytes();
  const RunningAttack attack(GetParam(), server->port());
  for (int i = 0; i < kRequestsOfAGoodClient; ++i) {
    ExpectAnswers(server->port());
    EXPECT_LT(ResidentBytes() - before, kAllowedGrowth);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // some of the attack's time, not a condition
  }
}

std::string TestName(const testing::TestParamInfo<HttpAttack>& info) {
  std::string name;
  for (const char letter : info.param.name) {
    if (absl::ascii_isalnum(static_cast<unsigned char>(letter))) name += letter;
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(All, HttpAttacksTest, testing::ValuesIn(HttpAttacks()), TestName);

// A server in a process of its own, where descriptors can be few.
class SmallProcess {
 public:
  // `crowd`: whether everything else in the process has taken all the descriptors that were left.
  SmallProcess(rlim_t descriptors, bool crowd) {
    int ends[2];
    EXPECT_EQ(pipe(ends), 0);
    pid_ = fork();
    if (pid_ == 0) Serve(descriptors, crowd, ends[1]);
    close(ends[1]);
    EXPECT_EQ(read(ends[0], &port_, sizeof port_), static_cast<ssize_t>(sizeof port_)) << "the server did not start";
    close(ends[0]);
  }
  ~SmallProcess() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  SmallProcess(const SmallProcess&) = delete;
  SmallProcess& operator=(const SmallProcess&) = delete;

  int port() const { return port_; }

 private:
  [[noreturn]] static void Serve(rlim_t descriptors, bool crowd, int report) {
    const rlimit limit = {.rlim_cur = descriptors, .rlim_max = descriptors};
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) _exit(1);
    const auto server = StartServer();
    if (server == nullptr) _exit(1);
    while (crowd && dup(report) >= 0) {
    }
    const int port = server->port();
    if (write(report, &port, sizeof port) != sizeof port) _exit(1);
    while (true) pause();
  }

  pid_t pid_ = 0;
  int port_ = 0;
};

TEST(HttpDescriptorsTest, AProcessWithoutDescriptorsAnswers) {
  DENOISED_SKIP_WITHOUT_SPARE_DESCRIPTORS();
  const SmallProcess process(64, /*crowd=*/true);
  for (int i = 0; i < kRequestsOfAGoodClient; ++i) ExpectAnswers(process.port());
}

TEST(HttpDescriptorsTest, AProcessWithoutDescriptorsAnswersBesideSilentConnections) {
  DENOISED_SKIP_WITHOUT_SPARE_DESCRIPTORS();
  const SmallProcess process(64, /*crowd=*/true);
  std::vector<HttpConnection> silent;
  for (int i = 0; i < 20; ++i) silent.emplace_back(process.port());
  for (int i = 0; i < kRequestsOfAGoodClient; ++i) ExpectAnswers(process.port());
}

// Reported of gRPC: a hundred idle connections against 64 descriptors, and the process is deaf for ever.
TEST(HttpDescriptorsTest, AHundredIdleConnectionsAgainst64DescriptorsDeafenNobody) {
  const SmallProcess process(64, /*crowd=*/false);
  {
    std::vector<HttpConnection> idle;
    for (int i = 0; i < 100; ++i) idle.emplace_back(process.port());
    ExpectAnswers(process.port());
  }
  for (int i = 0; i < kRequestsOfAGoodClient; ++i) ExpectAnswers(process.port());
}

}  // namespace
}  // namespace denoised
