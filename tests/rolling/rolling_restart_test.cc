// Two replicas behind HAProxy by deploy/haproxy.cfg, restarted one after the other, while clients with gRPC's standard
// retry policy draw: no call fails, and each image is the one that it would have been.
//
// DENOISED_ROLLING_CALLS and DENOISED_ROLLING_RESTARTS make it longer; scripts/rolling_restart.sh does.
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "denoised/v1/digit_service.grpc.pb.h"
#include "tests/testing/free_port.h"
#include "tests/testing/program.h"

namespace denoised {
namespace {

constexpr int kClients = 4;
constexpr auto kPause = std::chrono::milliseconds(20);  // between two calls of a client

// As a client of any language has it.
constexpr char kRetryPolicy[] = R"({"methodConfig": [{
  "name": [{"service": "denoised.v1.DigitService"}],
  "retryPolicy": {
    "maxAttempts": 5, "initialBackoff": "0.2s", "maxBackoff": "2s", "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"]
  }
}]})";

int NumberFrom(const char* variable, int otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr ? otherwise : std::atoi(text);
}

std::string Loopback(int port) { return absl::StrCat("127.0.0.1:", port); }

// The path of HAProxy; empty if it is not installed.
std::string HaproxyPath() {
  const ProgramResult found = RunProgram({"/bin/sh", "-c", "PATH=$PATH:/usr/sbin; command -v haproxy"});
  return found.exit_code == 0 ? std::string(absl::StripAsciiWhitespace(found.out)) : "";
}

// With the flags of an ordinary server; one thread, as two of them and their clients share this machine.
class Replica {
 public:
  explicit Replica(std::string name) : name_(std::move(name)), address_(Loopback(FreePort())) { Start(); }

  const std::string& name() const { return name_; }
  const std::string& address() const { return address_; }

  void Start() {
    program_ = std::make_unique<BackgroundProgram>(
        std::vector<std::string>{"denoised", "--threads=1", "--listen", address_, "--metrics_listen=off"});
    program_->AwaitLine("listening on ");
  }
  int Stop() {
    program_->Signal(SIGTERM);
    return program_->Wait();
  }
  std::string log() const { return program_->err(); }

 private:
  const std::string name_;
  const std::string address_;
  std::unique_ptr<BackgroundProgram> program_;
};

class LoadBalancer {
 public:
  LoadBalancer(const std::string& haproxy, const Replica& a, const Replica& b)
      : address_(Loopback(FreePort())),
        program_({haproxy, "-db", "-f", DENOISED_SOURCE_DIR "/deploy/haproxy.cfg"},
                 {"DENOISED_FRONT=" + address_, "DENOISED_A=" + a.address(), "DENOISED_B=" + b.address()}) {}

  const std::string& address() const { return address_; }
  std::string log() const { return program_.out() + program_.err(); }

  // Until it listens.
  void AwaitStart() const {
    const auto channel = grpc::CreateChannel(address_, grpc::InsecureChannelCredentials());
    while (!channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(1))) continue;
  }

  // Until it has taken this replica in again for the nth time.
  void AwaitUp(const Replica& replica, int times) const {
    const std::string line = absl::StrCat("Server digits/", replica.name(), " is UP");
    while (Count(line) < times) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }

 private:
  int Count(const std::string& line) const {
    const std::string out = program_.out();
    return static_cast<int>(std::vector<std::string>(absl::StrSplit(out, line)).size()) - 1;
  }

  const std::string address_;
  const BackgroundProgram program_;
};

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
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(2));
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
    arguments.SetServiceConfigJSON(kRetryPolicy);
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

TEST(RollingRestartTest, NoCallFailsBehindHaproxyWithAStandardRetryPolicy) {
  const std::string haproxy = HaproxyPath();
  if (haproxy.empty()) GTEST_SKIP() << "haproxy is not installed; scripts/setup.sh --tests installs it";
  const int calls = NumberFrom("DENOISED_ROLLING_CALLS", 300);
  const int restarts = NumberFrom("DENOISED_ROLLING_RESTARTS", 1);

  Replica a("a"), b("b");
  const Drawings drawings(a.address());
  const LoadBalancer balancer(haproxy, a, b);
  balancer.AwaitStart();
  Clients clients(balancer.address(), drawings);
  for (int i = 1; i <= restarts; ++i) {
    for (Replica* replica : {&a, &b}) {
      EXPECT_EQ(replica->Stop(), 0) << replica->log();
      replica->Start();
      balancer.AwaitUp(*replica, i);
    }
  }
  while (clients.calls() < calls) std::this_thread::sleep_for(kPause);
  const std::vector<std::string> failures = clients.Stop();
  for (size_t i = 0; i < failures.size() && i < 10; ++i) std::puts(failures[i].c_str());
  std::printf("%d restarts of each replica, %d calls, %zu failed\n", restarts, clients.calls(), failures.size());
  EXPECT_EQ(failures.size(), 0u) << balancer.log();
}

}  // namespace
}  // namespace denoised
