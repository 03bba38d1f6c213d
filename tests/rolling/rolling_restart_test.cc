// Three replicas, behind HAProxy by deploy/haproxy.cfg or balanced by the clients themselves, as over a headless
// Service: load is even, and when they are restarted one after the other, while clients with gRPC's standard retry
// policy draw, no call fails, and each image is the one that it would have been.
//
// DENOISED_ROLLING_CALLS and DENOISED_ROLLING_RESTARTS make it longer; scripts/rolling_restart.sh does.
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <numeric>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "denoised/v1/digit_service.grpc.pb.h"
#include "tests/testing/free_port.h"
#include "tests/testing/program.h"
#include "tests/testing/server_metrics.h"

namespace denoised {
namespace {

constexpr int kClients = 4;
constexpr auto kPause = std::chrono::milliseconds(20);  // between two calls of a client

// As a client of any language has it. Through a proxy only the retry policy is at work: there is one address. A client
// that balances itself hears from health who drains, and leaves it before its port closes.
constexpr char kServiceConfig[] = R"({
  "loadBalancingConfig": [{"round_robin": {}}],
  "healthCheckConfig": {"serviceName": "denoised.v1.DigitService"},
  "methodConfig": [{
    "name": [{"service": "denoised.v1.DigitService"}],
    "retryPolicy": {
      "maxAttempts": 5, "initialBackoff": "0.2s", "maxBackoff": "2s", "backoffMultiplier": 2,
      "retryableStatusCodes": ["UNAVAILABLE"]
    }
  }]
})";

int NumberFrom(const char* variable, int otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr ? otherwise : std::atoi(text);
}

// Waits until `holds`. Throws, with `what` was awaited and what `log` then says, if that takes four minutes.
template <typename Holds, typename Log>
void Await(const std::string& what, const Holds& holds, const Log& log) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(4);
  while (!holds()) {
    if (std::chrono::steady_clock::now() > end)
      throw std::runtime_error(absl::StrCat("no ", what, " in four minutes: ", log()));
    std::this_thread::sleep_for(kPause);
  }
}

std::string Loopback(int port) { return absl::StrCat("127.0.0.1:", port); }

// The path of HAProxy; empty if it is not installed.
std::string HaproxyPath() {
  const ProgramResult found = RunProgram({"/bin/sh", "-c", "PATH=$PATH:/usr/sbin; command -v haproxy"});
  return found.exit_code == 0 ? std::string(absl::StripAsciiWhitespace(found.out)) : "";
}

// With the flags of an ordinary server; one thread, as all of them and their clients share this machine.
class Replica {
 public:
  Replica() : address_(Loopback(FreePort())) { Start(); }

  const std::string& address() const { return address_; }

  void Start() {
    program_ = std::make_unique<BackgroundProgram>(
        std::vector<std::string>{"denoised", "--threads=1", "--listen", address_, "--metrics_listen=127.0.0.1:0"});
    const std::string metrics = program_->AwaitLine("metrics on http://127.0.0.1:");
    metrics_ = std::make_unique<ServerMetrics>(std::atoi(metrics.c_str()));
    program_->AwaitLine("listening on ");
  }
  int Stop() {
    program_->Signal(SIGTERM);
    Await(
        "end of " + address_, [this] { return program_->Ended(); }, [this] { return log(); });
    return program_->Wait();
  }
  // Calls for a digit that it has answered since it was started last.
  int calls() const {
    return static_cast<int>(metrics_->Get("grpc_server_handled_total", "grpc_method=\"GenerateDigit\""));
  }
  // Until whoever balances has taken it in.
  void AwaitCalls(int calls) const {
    Await(
        absl::StrCat(calls, " calls of ", address_), [&] { return this->calls() >= calls; }, [this] { return log(); });
  }
  std::string log() const { return program_->err(); }

 private:
  const std::string address_;
  std::unique_ptr<BackgroundProgram> program_;
  std::unique_ptr<ServerMetrics> metrics_;
};

constexpr size_t kReplicas = 3;
using Replicas = std::array<Replica, kReplicas>;

class Haproxy {
 public:
  Haproxy(const std::string& path, const Replicas& replicas)
      : address_(Loopback(FreePort())),
        program_({path, "-db", "-f", DENOISED_SOURCE_DIR "/deploy/haproxy.cfg"},
                 {"DENOISED_FRONT=" + address_, "DENOISED_A=" + replicas[0].address(),
                  "DENOISED_B=" + replicas[1].address(), "DENOISED_C=" + replicas[2].address()}) {
    const auto channel = grpc::CreateChannel(address_, grpc::InsecureChannelCredentials());
    const auto connected = [&] { return channel->WaitForConnected(std::chrono::system_clock::now() + kPause); };
    Await("connection to HAProxy", connected, [this] { return program_.out() + program_.err(); });
  }

  const std::string& address() const { return address_; }

 private:
  const std::string address_;
  const BackgroundProgram program_;
};

// All of them, as a name of a headless Service gives them.
std::string Addresses(const Replicas& replicas) {
  return "ipv4:" +
         absl::StrJoin(replicas, ",", [](std::string* out, const Replica& replica) { out->append(replica.address()); });
}

// Some drawings, and the bytes that they have.
class Drawings {
 public:
  explicit Drawings(const std::string& server) {
    const auto stub = v1::DigitService::NewStub(grpc::CreateChannel(server, grpc::InsecureChannelCredentials()));
    for (int i = 0; i < kDrawings; ++i) pngs_.push_back(Draw(*stub, i).second);
  }

  // Empty, or what was wrong.
  std::string Try(v1::DigitService::Stub& stub, int index) const {
    const auto [status, png] = Draw(stub, index % kDrawings);
    if (!status.ok()) return absl::StrCat("call ", index, ": ", status.error_code(), " ", status.error_message());
    return png == pngs_[index % kDrawings] && !png.empty() ? "" : absl::StrCat("call ", index, ": other bytes");
  }

 private:
  static constexpr int kDrawings = 50;

  static std::pair<grpc::Status, std::string> Draw(v1::DigitService::Stub& stub, int index) {
    v1::GenerateDigitRequest request;
    request.set_digit(index % 10);
    request.set_seed(index);
    request.set_sampler(v1::SAMPLER_DDIM);
    request.set_steps(5);
    request.mutable_image()->set_size(32);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    std::string png;
    const auto reader = stub.GenerateDigit(&context, request);
    for (v1::GenerateDigitResponse event; reader->Read(&event);) {
      if (event.has_image()) png = event.image().png();
    }
    return {reader->Finish(), png};
  }

  std::vector<std::string> pngs_;
};

// Clients that draw one digit after the other until they are told to stop.
class Clients {
 public:
  Clients(const std::string& server, const Drawings& drawings) : drawings_(drawings) {
    for (int i = 0; i < kClients; ++i) threads_.emplace_back([this, server] { Run(server); });
  }
  ~Clients() { Stop(); }

  int calls() const { return calls_; }

  std::vector<std::string> Stop() {
    stop_ = true;
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
    const absl::MutexLock lock(&mu_);
    return failures_;
  }

 private:
  void Run(const std::string& server) {
    grpc::ChannelArguments arguments;
    arguments.SetServiceConfigJSON(kServiceConfig);
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 200);  // who was restarted is soon back
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection of its own
    const auto channel = grpc::CreateCustomChannel(server, grpc::InsecureChannelCredentials(), arguments);
    const auto stub = v1::DigitService::NewStub(channel);
    while (!stop_) {
      const std::string failure = drawings_.Try(*stub, calls_++);
      if (!failure.empty()) {
        const absl::MutexLock lock(&mu_);
        failures_.push_back(failure);
      }
      std::this_thread::sleep_for(kPause);
    }
  }

  const Drawings& drawings_;
  std::atomic<int> calls_ = 0;
  std::atomic<bool> stop_ = false;
  std::vector<std::thread> threads_;

  absl::Mutex mu_;
  std::vector<std::string> failures_ ABSL_GUARDED_BY(mu_);
};

class RollingRestartTest : public testing::Test {
 protected:
  // Of calls to `server` each replica gets the same share, and while they are restarted in turn none of them fails.
  void LoadIsEvenAndNoCallFails(const std::string& server) {
    const Drawings drawings(replicas_[0].address());
    Clients clients(server, drawings);
    ExpectEvenLoad();
    const int restarts = NumberFrom("DENOISED_ROLLING_RESTARTS", 1);
    for (int i = 0; i < restarts; ++i) {
      for (Replica& replica : replicas_) Restart(replica);
    }
    const int calls = NumberFrom("DENOISED_ROLLING_CALLS", 300);
    while (clients.calls() < calls) std::this_thread::sleep_for(kPause);
    const std::vector<std::string> failures = clients.Stop();
    for (size_t i = 0; i < failures.size() && i < 10; ++i) std::puts(failures[i].c_str());
    std::printf("%d restarts of each replica, %d calls, %zu failed\n", restarts, clients.calls(), failures.size());
    EXPECT_EQ(failures.size(), 0u);
  }

  Replicas replicas_;

 private:
  std::array<int, kReplicas> Calls() const {
    std::array<int, kReplicas> calls{};
    std::transform(replicas_.begin(), replicas_.end(), calls.begin(), [](const Replica& r) { return r.calls(); });
    return calls;
  }

  // Over many calls, once whoever balances has found all replicas.
  void ExpectEvenLoad() const {
    constexpr int kCalls = 1000;
    constexpr double kOfAnEqualShare = 0.5;  // each call goes to the next replica, but health checks may be late
    for (const Replica& replica : replicas_) replica.AwaitCalls(replica.calls() + 1);
    const std::array<int, kReplicas> before = Calls();
    std::array<int, kReplicas> since{};
    int sum = 0;
    const auto enough = [&] {
      const std::array<int, kReplicas> now = Calls();
      std::transform(now.begin(), now.end(), before.begin(), since.begin(), std::minus<>());
      sum = std::accumulate(since.begin(), since.end(), 0);
      return sum >= kCalls;
    };
    Await(absl::StrCat(kCalls, " calls"), enough, [&] { return absl::StrJoin(since, ", "); });
    std::printf("calls of each replica: %s\n", absl::StrJoin(since, ", ").c_str());
    const int least = *std::min_element(since.begin(), since.end());
    EXPECT_GE(least, kOfAnEqualShare * sum / kReplicas) << absl::StrJoin(since, ", ");
  }

  static void Restart(Replica& replica) {
    constexpr int kTakenIn = 5 * kClients;  // by each client, most likely
    EXPECT_EQ(replica.Stop(), 0) << replica.log();
    replica.Start();
    replica.AwaitCalls(kTakenIn);
  }
};

TEST_F(RollingRestartTest, NoCallFailsBehindHaproxyWithAStandardRetryPolicy) {
  const std::string path = HaproxyPath();
  if (path.empty()) GTEST_SKIP() << "haproxy is not installed; scripts/setup.sh --tests installs it";
  const Haproxy haproxy(path, replicas_);
  LoadIsEvenAndNoCallFails(haproxy.address());
}

TEST_F(RollingRestartTest, NoCallFailsWhereClientsBalanceThemselves) { LoadIsEvenAndNoCallFails(Addresses(replicas_)); }

}  // namespace
}  // namespace denoised
