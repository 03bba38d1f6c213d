#include "server/health_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/http/http_server.h"
#include "server/preflight.h"
#include "tests/testing/free_port.h"
#include "tests/testing/puppet_engine.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/test_certificates.h"

namespace denoised {
namespace {

using testing::HasSubstr;

constexpr double kTimeoutSeconds = 60;

absl::StatusOr<std::shared_ptr<ServingModel>> StartPuppet(const ModelInfo& info, SchedulerObserver* observer) {
  return ServingModel::Start(
      info, []() -> absl::StatusOr<std::unique_ptr<Engine>> { return std::make_unique<PuppetEngine>(4); },
      {.max_batch_rows = 4, .max_queued_images = 2}, observer);
}

absl::StatusOr<std::shared_ptr<ServingModel>> LoadPuppet(const ServingModelOptions&, SchedulerObserver* observer) {
  ModelInfo info;
  info.device = "cpu";
  return StartPuppet(info, observer);
}

class HealthCheckTest : public testing::Test {
 protected:
  HealthCheckTest() {
    options_.listen = "127.0.0.1:0";
    options_.metrics_listen = kPortOff;
    options_.lame_duck_seconds = 0;
  }

  void Start() {
    absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(options_, LoadPuppet);
    ASSERT_THAT(server, IsOk());
    server_ = *std::move(server);
    if (server_->port() != 0) options_.listen = absl::StrCat("127.0.0.1:", server_->port());
  }
  // Certificates of one authority for the server, and for clients too if wanted.
  void UseTls(bool mutual) {
    const TestIdentity identity = authority_.Issue("server");
    options_.tls = {.cert = folder_.Write("server.pem", identity.cert),
                    .key = folder_.Write("server.key", identity.key),
                    .client_ca = mutual ? folder_.Write("ca.pem", authority_.pem()) : ""};
  }

  const TestAuthority authority_;
  const TempFolder folder_;
  ServerOptions options_;
  std::unique_ptr<Server> server_;
};

TEST_F(HealthCheckTest, ServingServerIsWell) {
  Start();
  EXPECT_THAT(CheckHealth(options_, kTimeoutSeconds), IsOk());
}

// Docker puts one into containers, and each was called sick.
TEST_F(HealthCheckTest, ProxyIsNotAsked) {
  Start();
  setenv("http_proxy", absl::StrCat("http://127.0.0.1:", FreePort()).c_str(), /*overwrite=*/1);
  EXPECT_THAT(CheckHealth(options_, kTimeoutSeconds), IsOk());
  unsetenv("http_proxy");
}

TEST_F(HealthCheckTest, UnixSocketIsAskedToo) {
  options_.listen = "unix:" + folder_.File("socket");
  Start();
  EXPECT_THAT(CheckHealth(options_, kTimeoutSeconds), IsOk());
}

TEST_F(HealthCheckTest, TlsIsSpoken) {
  UseTls(/*mutual=*/false);
  Start();
  EXPECT_THAT(CheckHealth(options_, kTimeoutSeconds), IsOk());
}

TEST_F(HealthCheckTest, ServersOwnCertificateIsShownWhereClientsNeedOne) {
  UseTls(/*mutual=*/true);
  Start();
  EXPECT_THAT(CheckHealth(options_, kTimeoutSeconds), IsOk());
}

// Server and clients have authorities of their own, as where a public one has signed the server's certificate.
class TwoAuthoritiesTest : public HealthCheckTest {
 protected:
  TwoAuthoritiesTest() {
    UseTls(/*mutual=*/true);
    options_.tls.client_ca = folder_.Write("clients.pem", clients_.pem());
  }

  const TestAuthority clients_;
};

TEST_F(TwoAuthoritiesTest, MetricsPortIsAskedInstead) {
  options_.metrics_listen = absl::StrCat("127.0.0.1:", FreePort());
  Start();
  EXPECT_THAT(CheckHealth(options_, kTimeoutSeconds), IsOk());
  const std::string url = absl::StrCat("http://", options_.metrics_listen, "/livez");
  server_.reset();
  EXPECT_THAT(CheckHealth(options_, kTimeoutSeconds),
              StatusIs(absl::StatusCode::kUnavailable,
                       absl::StrCat("the server does not answer at ", url,
                                    ", where it is asked because --tls_client_ca is set: Connection refused")));
}

TEST_F(TwoAuthoritiesTest, MetricsPortSaysThatItStarts) {
  options_.metrics_listen = absl::StrCat("0.0.0.0:", FreePort());
  absl::Status meanwhile;
  const auto load = [this, &meanwhile](const ServingModelOptions& model, SchedulerObserver* observer) {
    meanwhile = CheckHealth(options_, kTimeoutSeconds);
    return LoadPuppet(model, observer);
  };
  ASSERT_THAT(Server::Start(options_, load), IsOk());
  EXPECT_THAT(meanwhile, StatusIs(absl::StatusCode::kFailedPrecondition,
                                  absl::StrCat("the server at ", options_.listen, " does not serve: http://127.0.0.1",
                                               options_.metrics_listen.substr(options_.metrics_listen.find(':')),
                                               "/healthz says \"not serving\"")));
}

// Of another program that has the port `--check` would say that this server answers there.
TEST_F(TwoAuthoritiesTest, AnotherProgramAtTheMetricsPortIsNotThisServer) {
  const auto another = HttpServer::Start({.host = "127.0.0.1"}, {});
  ASSERT_THAT(another, IsOk());
  options_.metrics_listen = absl::StrCat("127.0.0.1:", (*another)->port());
  EXPECT_THAT(CheckHealth(options_, kTimeoutSeconds),
              StatusIs(absl::StatusCode::kUnavailable,
                       absl::StrCat("whoever answers at http://", options_.metrics_listen,
                                    "/livez is not this server: \"nothing is here; what there is:\"")));
  EXPECT_THAT(Preflight(options_, LoadPuppet),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("cannot listen on ")));
}

TEST_F(TwoAuthoritiesTest, WithoutItTheErrorSaysWhatToDo) {
  Start();
  EXPECT_THAT(CheckHealth(options_, kTimeoutSeconds),
              StatusIs(absl::StatusCode::kUnavailable,
                       HasSubstr("; it was shown the server's own certificate, which --tls_client_ca must have signed: "
                                 "turn --metrics_listen on, at a port of its own, and that is asked instead")));
}

TEST_F(HealthCheckTest, ServerThatIsGoneIsSaid) {
  Start();
  server_.reset();
  EXPECT_THAT(CheckHealth(options_, kTimeoutSeconds),
              StatusIs(absl::StatusCode::kUnavailable,
                       HasSubstr(absl::StrCat("the server at ", options_.listen, " does not answer: "))));
}

TEST_F(HealthCheckTest, ServerThatStartsDoesNotServeYet) {
  options_.listen = "unix:" + folder_.File("socket");
  absl::Status meanwhile;
  const auto load = [this, &meanwhile](const ServingModelOptions& model, SchedulerObserver* observer) {
    meanwhile = CheckHealth(options_, kTimeoutSeconds);
    return LoadPuppet(model, observer);
  };
  ASSERT_THAT(Server::Start(options_, load), IsOk());
  EXPECT_THAT(meanwhile,
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       absl::StrCat("the server at ", options_.listen, " does not serve: it starts or drains")));
}

TEST_F(HealthCheckTest, PortThatNobodyKnowsIsSaid) {
  EXPECT_THAT(CheckHealth(options_, kTimeoutSeconds),
              StatusIs(absl::StatusCode::kInvalidArgument, "--listen: --healthcheck needs one with a port of its own"));
}

TEST_F(HealthCheckTest, PreflightSaysWhatWouldBeServed) {
  options_.model.checkpoint = "digits.pt";
  const absl::StatusOr<std::string> report = Preflight(options_, LoadPuppet);
  ASSERT_THAT(report, IsOk());
  EXPECT_THAT(*report, HasSubstr("checkpoint     digits.pt: "));
  EXPECT_THAT(*report,
              HasSubstr("golden draw    none in the checkpoint; denoise-train --add_golden_draw FILE adds one\n"));
  EXPECT_THAT(*report, HasSubstr("device         cpu, a puppet\n"));
  EXPECT_THAT(*report, HasSubstr("gRPC           127.0.0.1:0\n"));
  EXPECT_THAT(*report, HasSubstr("page           off\n"));
  EXPECT_THAT(*report, HasSubstr("a full queue   6 images; of 1000 steps each they take about "));
  EXPECT_THAT(*report, HasSubstr("a stop         takes as long as what was admitted, 300 s at most\n"));
}

TEST_F(HealthCheckTest, PreflightSaysWhereThePageIs) {
  options_.http_listen = absl::StrCat("127.0.0.1:", FreePort());
  EXPECT_THAT(*Preflight(options_, LoadPuppet),
              HasSubstr(absl::StrCat("page           http://", options_.http_listen, "/\n")));
  UseTls(/*mutual=*/false);
  EXPECT_THAT(*Preflight(options_, LoadPuppet),
              HasSubstr(absl::StrCat("page           https://", options_.http_listen, "/\n")));
}

// In the words of a start.
TEST_F(HealthCheckTest, PreflightFindsPortsThatCannotBeHad) {
  const int taken = socket(AF_INET, SOCK_STREAM, 0);
  const int port = FreePort();
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  ASSERT_EQ(bind(taken, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(listen(taken, 1), 0);
  const std::string listen = absl::StrCat("127.0.0.1:", port);
  const ServerOptions sound = options_;
  for (const auto& [flag, member] : {std::pair("--metrics_listen", &ServerOptions::metrics_listen),
                                     std::pair("--http_listen", &ServerOptions::http_listen)}) {
    options_ = sound;
    options_.*member = listen;
    const absl::Status error = Preflight(options_, LoadPuppet).status();
    EXPECT_EQ(error, Server::Start(options_, LoadPuppet).status());
    EXPECT_THAT(error, StatusIs(absl::StatusCode::kUnavailable,
                                absl::StrCat("cannot listen on ", listen,
                                             ": the port is taken, or the address is not this machine's; choose "
                                             "another with ",
                                             flag)));
  }
  options_ = sound;
  options_.listen = "192.0.2.7:50051";
  EXPECT_THAT(Preflight(options_, LoadPuppet),
              StatusIs(absl::StatusCode::kUnavailable,
                       "cannot listen on 192.0.2.7:50051: the port is taken, or the address is not this machine's "
                       "(Cannot assign requested address); choose another with --listen"));
  close(taken);
}

// Two flags must not name one port either.
TEST_F(HealthCheckTest, PreflightFindsAPortThatIsNamedTwice) {
  const int port = FreePort();
  options_.metrics_listen = absl::StrCat("127.0.0.1:", port);
  options_.http_listen = absl::StrCat("0.0.0.0:", port);
  EXPECT_THAT(Preflight(options_, LoadPuppet),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       absl::StrCat("--metrics_listen and --http_listen cannot both have port ", port,
                                    ": give one of them another")));
}

TEST_F(HealthCheckTest, PreflightSaysThatAServerRunsAndLeavesItsPorts) {
  Start();
  const absl::StatusOr<std::string> report = Preflight(options_, LoadPuppet);
  ASSERT_THAT(report, IsOk());
  EXPECT_THAT(*report,
              HasSubstr("ports          taken by a server that answers, which has to stop before this one starts\n"));
  EXPECT_THAT(CheckHealth(options_, kTimeoutSeconds), IsOk());
}

TEST_F(HealthCheckTest, PreflightSaysWhoDrewTheGoldenDraw) {
  const auto load = [](const ServingModelOptions&, SchedulerObserver* observer) {
    ModelInfo info;
    info.golden_drawn_by = "LibTorch 9";
    return StartPuppet(info, observer);
  };
  const absl::StatusOr<std::string> report = Preflight(options_, load);
  ASSERT_THAT(report, IsOk());
  EXPECT_THAT(*report, HasSubstr("golden draw    as LibTorch 9 drew it when the checkpoint was written\n"));
}

TEST_F(HealthCheckTest, PreflightFindsWhatAStartWouldEndWith) {
  const ServerOptions sound = options_;
  options_.listen = "nowhere";
  EXPECT_THAT(Preflight(options_, LoadPuppet),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--listen must")));
  options_ = sound;
  options_.metrics_listen = "unix:/run/metrics";
  EXPECT_THAT(
      Preflight(options_, LoadPuppet),
      StatusIs(absl::StatusCode::kInvalidArgument,
               "--metrics_listen must be an address and a port, such as 127.0.0.1:9464; it takes no Unix socket"));
  options_ = sound;
  options_.tls.cert = "/nowhere/cert.pem";
  options_.tls.key = "/nowhere/key.pem";
  EXPECT_THAT(Preflight(options_, LoadPuppet), StatusIs(absl::StatusCode::kNotFound, HasSubstr("--tls_cert: ")));
  options_ = sound;
  const auto broken = [](const ServingModelOptions&,
                         SchedulerObserver*) -> absl::StatusOr<std::shared_ptr<ServingModel>> {
    return absl::InvalidArgumentError("the checkpoint is damaged");
  };
  EXPECT_THAT(Preflight(options_, broken), StatusIs(absl::StatusCode::kInvalidArgument, "the checkpoint is damaged"));
}

}  // namespace
}  // namespace denoised
