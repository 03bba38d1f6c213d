#include "tests/soak/soak_load.h"

#include <grpcpp/grpcpp.h>

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/support/clock.h"

namespace denoised {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr double kMeanImages = 1.5;         // of an ordinary request
constexpr double kUnrulyPerOrdinary = 0.2;  // requests
// Longer than the server waits for a reader by default.
constexpr std::chrono::seconds kStall(45);

}  // namespace

v1::GenerateDigitRequest SoakRequest(uint32_t steps) {
  v1::GenerateDigitRequest request;
  request.set_digit(static_cast<int>(steps / 10));
  request.set_sampler(v1::SAMPLER_DDIM);
  request.set_steps(steps);
  return request;
}

Tally SoakLoad::Run(const Arrivals& arrivals, std::chrono::nanoseconds duration) {
  const double rate = arrivals.images_per_second / kMeanImages * (arrivals.unruly ? 1 + kUnrulyPerOrdinary : 1);
  std::exponential_distribution<double> gap(rate);
  const Clock::time_point begin = Clock::now(), end = begin + duration;
  for (Clock::time_point due = begin + Nanoseconds(gap(random_)); due < end; due += Nanoseconds(gap(random_))) {
    std::this_thread::sleep_until(due);
    Ask(RandomKind(arrivals.unruly));
  }
  std::this_thread::sleep_until(end);
  const absl::MutexLock lock(&mu_);
  tally_.seconds = SecondsSince(begin);
  return std::exchange(tally_, {});
}

SoakLoad::Kind SoakLoad::RandomKind(bool unruly) {
  if (!unruly) return Kind::kOrdinary;
  const int twelfth = Below(12);
  return twelfth == 0 ? Kind::kLeaves : twelfth == 1 ? Kind::kImpatient : Kind::kOrdinary;
}

void SoakLoad::Ask(Kind kind) {
  const uint32_t steps = Below(2) == 0 ? kFewSteps : kManySteps;
  v1::GenerateDigitRequest request = SoakRequest(steps);
  request.set_seed(asked_);
  request.set_count(static_cast<uint32_t>(1 + Below(2)));
  if (kind == Kind::kLeaves || Below(5) == 0) request.mutable_preview()->set_every_steps(5);
  CallOptions call;
  if (kind == Kind::kImpatient) call.timeout_seconds = Seconds(milliseconds(1 + Below(50)));
  const int leaves_after = kind == Kind::kLeaves ? 1 + Below(4) : -1;
  {
    const absl::MutexLock lock(&mu_);
    ++running_;
  }
  struct Seen {
    int events = 0;
    int64_t images = 0;
  };
  const auto seen = std::make_shared<Seen>();
  clients_[asked_++ % clients_.size()]->StartGenerateDigit(
      request, call,
      [seen, leaves_after](const v1::GenerateDigitResponse& event) {
        if (event.has_image()) ++seen->images;
        return ++seen->events == leaves_after ? absl::CancelledError("the client leaves") : absl::OkStatus();
      },
      [this, kind, steps, seen](const absl::Status& status) { Finish(kind, steps, seen->images, status); });
}

void SoakLoad::Finish(Kind kind, uint32_t steps, int64_t images, const absl::Status& status) {
  const absl::MutexLock lock(&mu_);
  --running_;
  const bool ordinary = kind == Kind::kOrdinary;
  if (status.ok()) {
    tally_.images += ordinary ? images : 0;
    tally_.steps += ordinary ? images * steps : 0;
  } else if (absl::IsResourceExhausted(status)) {
    tally_.refused += ordinary ? 1 : 0;
  } else if (absl::IsCancelled(status) && kind == Kind::kLeaves) {
    ++tally_.left;
  } else if (absl::IsDeadlineExceeded(status) && kind == Kind::kImpatient) {
    ++tally_.late;
  } else if (tally_.failed++ == 0) {
    tally_.first_failure = status.ToString();
  }
}

void SoakLoad::AwaitAnswers() {
  const absl::MutexLock lock(&mu_);
  const auto none = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return running_ == 0; };
  mu_.Await(absl::Condition(&none));
  tally_ = {};
}

StalledReaders::StalledReaders(const std::string& address, const std::string& token, int readers) {
  for (int i = 0; i < readers; ++i) threads_.emplace_back([this, address, token] { Stall(address, token); });
}

StalledReaders::~StalledReaders() {
  {
    const absl::MutexLock lock(&mu_);
    over_ = true;
  }
  for (std::thread& thread : threads_) thread.join();
}

void StalledReaders::Stall(const std::string& address, const std::string& token) {
  grpc::ChannelArguments narrow;  // a connection of its own, which takes little more than is read
  narrow.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 1024);
  narrow.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  narrow.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  const auto stub =
      v1::DigitService::NewStub(grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), narrow));
  v1::GenerateDigitRequest request = SoakRequest(kManySteps);
  request.set_count(4);
  request.mutable_preview()->set_every_steps(1);
  request.mutable_image()->set_size(1024);
  do {
    grpc::ClientContext context;
    context.AddMetadata("authorization", absl::StrCat("Bearer ", token));
    const auto reader = stub->GenerateDigit(&context, request);
    v1::GenerateDigitResponse event;
    reader->Read(&event);
    WaitUnlessOver(kStall);
    context.TryCancel();
    reader->Finish();
  } while (!WaitUnlessOver(milliseconds(100)));  // where it was refused
}

bool StalledReaders::WaitUnlessOver(std::chrono::nanoseconds duration) {
  const absl::MutexLock lock(&mu_);
  return mu_.AwaitWithTimeout(absl::Condition(&over_), absl::FromChrono(duration));
}

}  // namespace denoised
