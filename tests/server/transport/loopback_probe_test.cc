#include "server/transport/loopback_probe.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "grpc/health/v1/health.grpc.pb.h"
#include "grpcpp/server_builder.h"
#include "server/transport/connection_listener.h"
#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

// Counts what a probe reports.
class Reports {
 public:
  void Add(bool answered) { ++(answered ? answered_ : unanswered_); }
  // No deadlines of their own: the test's timeout ends them.
  void AwaitAnswered(int count) const {
    while (answered_ < count) std::this_thread::yield();
  }
  void AwaitUnanswered(int count) const {
    while (unanswered_ < count) std::this_thread::yield();
  }

 private:
  std::atomic<int> answered_ = 0;
  std::atomic<int> unanswered_ = 0;
};

class NotServing : public grpc::health::v1::Health::CallbackService {
 public:
  grpc::ServerUnaryReactor* Check(grpc::CallbackServerContext* context, const grpc::health::v1::HealthCheckRequest*,
                                  grpc::health::v1::HealthCheckResponse* response) override {
    response->set_status(grpc::health::v1::HealthCheckResponse::NOT_SERVING);
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
};

// A server whose connections a listener takes, until it is told to be deaf.
class LoopbackProbeTest : public testing::Test {
 protected:
  LoopbackProbeTest() {
    listener_ = *ConnectionListener::Bind(*ListenAddress::Parse("--listen", "127.0.0.1:0"), {});
    grpc::ServerBuilder builder;
    acceptor_ = builder.experimental().AddExternalConnectionAcceptor(
        grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD, grpc::InsecureServerCredentials());
    builder.RegisterService(&health_);
    server_ = builder.BuildAndStart();
  }
  ~LoopbackProbeTest() override {
    probe_.reset();
    listener_->Stop();
    server_->Shutdown(std::chrono::system_clock::now());
  }

  void Listen() {
    listener_->Start([this](const AcceptedConnection& connection) {
      if (connection.from_probe) ++probes_;
      if (deaf_) return;
      grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters parameters;
      parameters.listener_fd = connection.listener;
      parameters.fd = connection.socket;
      acceptor_->HandleNewConnection(&parameters);
    });
  }
  void Probe(double timeout_seconds = 60) {
    probe_ = std::make_unique<LoopbackProbe>(
        ProbeOptions{.interval_seconds = 0.01, .timeout_seconds = timeout_seconds, .failures_in_a_row = 3},
        listener_->loopback(), [this](const SocketAddress& own) { listener_->ExpectProbe(own); },
        [this](bool answered, bool alive) {
          reported_alive_ = alive;
          reports_.Add(answered);
        });
  }

  Reports reports_;
  std::atomic<bool> reported_alive_ = false;
  NotServing health_;
  std::atomic<int> probes_ = 0;
  std::atomic<bool> deaf_ = false;
  std::unique_ptr<ConnectionListener> listener_;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> acceptor_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<LoopbackProbe> probe_;
};

TEST_F(LoopbackProbeTest, ServerThatAnswersIsAliveThoughItDoesNotServe) {
  Listen();
  Probe();
  reports_.AwaitAnswered(3);
  EXPECT_TRUE(probe_->alive());
  EXPECT_GE(probes_, 3) << "the listener must know the probe's connections";
}

TEST_F(LoopbackProbeTest, ServerThatFallsSilentIsDeadAfterThreeProbes) {
  Listen();
  Probe();
  reports_.AwaitAnswered(1);
  listener_->Stop();
  reports_.AwaitUnanswered(3);
  EXPECT_FALSE(probe_->alive());
}

// Field report "deaf for ever": the port is open and the kernel takes connections, but nobody accepts them any more.
TEST_F(LoopbackProbeTest, ServerThatIsDeafIsDeadAfterThreeProbes) {
  Listen();
  Probe(/*timeout_seconds=*/0.5);
  reports_.AwaitAnswered(1);
  deaf_ = true;
  reports_.AwaitUnanswered(3);
  EXPECT_FALSE(probe_->alive());
  EXPECT_FALSE(reported_alive_);
}

TEST_F(LoopbackProbeTest, ProbeThatWasNeverAnsweredSaysNothing) {
  listener_->Stop();
  Probe();
  reports_.AwaitUnanswered(4);
  EXPECT_TRUE(probe_->alive());
  EXPECT_TRUE(reported_alive_);
}

TEST(ProbedWithinTest, EachQuarterOfTheWatchdogsTimeHasAProbe) {
  const ProbeOptions often = ProbedWithin({.interval_seconds = 10, .timeout_seconds = 5}, std::chrono::seconds(16));
  EXPECT_EQ(often.interval_seconds, 2);
  EXPECT_EQ(often.timeout_seconds, 2);
  EXPECT_EQ(ProbedWithin({.interval_seconds = 0}, std::chrono::seconds(16)).interval_seconds, 2);
}

TEST(ProbedWithinTest, OnesThatAreOftenEnoughStay) {
  const ProbeOptions same = ProbedWithin({.interval_seconds = 10, .timeout_seconds = 5}, std::chrono::minutes(10));
  EXPECT_EQ(same.interval_seconds, 10);
  EXPECT_EQ(same.timeout_seconds, 5);
}

}  // namespace
}  // namespace denoised
