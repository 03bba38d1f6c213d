#include "tests/chaos/chaos_load.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <random>
#include <set>
#include <stdexcept>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "client/calls/error_text.h"
#include "denoised/v1/digit_service.grpc.pb.h"

namespace denoised {
namespace {

using std::chrono::milliseconds;
using Stub = v1::DigitService::Stub;

constexpr int kDrawings = 64;
constexpr size_t kMostFaults = 100;

// Short chains of every sampler; every fourth with previews, some guided, some for several images.
v1::GenerateDigitRequest MakeDrawing(int number) {
  constexpr v1::Sampler kSamplers[] = {v1::SAMPLER_DDPM, v1::SAMPLER_DDIM, v1::SAMPLER_DPM_SOLVER_PP_2M};
  v1::GenerateDigitRequest request;
  request.set_digit(number % 10);
  request.set_seed(1000 + static_cast<uint64_t>(number));
  request.set_sampler(kSamplers[number % 3]);
  request.set_steps(static_cast<uint32_t>(2 + number % 7));
  request.mutable_image()->set_size(number % 2 == 0 ? 32 : 256);
  if (number % 4 == 0) request.mutable_preview()->set_every_steps(1);
  if (number % 8 == 3) request.set_guidance_scale(2);
  if (number % 8 == 5) request.set_count(4);
  if (number % 16 == 7) request.set_priority(v1::PRIORITY_BATCH);
  return request;
}

// On a connection that it shares with nobody, and makes again soon after it is lost.
std::unique_ptr<Stub> Connect(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 20);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5000);  // NOTE: of the time that connecting may take
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 200);
  return v1::DigitService::NewStub(grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
}

// What a client is ready to wait for.
struct Patience {
  bool wait_for_ready = true;     // else a call ends where there is no connection now
  int leaves_after_events = -1;   // -1: never
  milliseconds leaves_after{-1};  // likewise
  milliseconds deadline{-1};      // likewise

  bool leaves() const { return leaves_after_events >= 0 || leaves_after.count() >= 0; }
};

Patience RandomPatience(std::mt19937_64& random) {
  const auto below = [&random](int n) { return std::uniform_int_distribution<int>(0, n - 1)(random); };
  Patience patience{.wait_for_ready = below(4) > 0};
  switch (below(8)) {
    case 0:
      patience.leaves_after_events = below(4);
      break;
    case 1:
      patience.leaves_after = milliseconds(below(60));
      break;
    case 2:
      patience.deadline = milliseconds(1 + below(80));
      break;
  }
  return patience;
}

// What a client of one call saw.
struct Outcome {
  std::vector<v1::GenerateDigitResponse> events;
  grpc::Status status;
};

Outcome Call(Stub& stub, const v1::GenerateDigitRequest& request, const Patience& patience, milliseconds longest,
             const std::string& client) {
  grpc::ClientContext context;
  context.AddMetadata("x-client-id", client);
  context.set_wait_for_ready(patience.wait_for_ready);
  const milliseconds limit = patience.deadline.count() >= 0 ? patience.deadline : longest;
  context.set_deadline(std::chrono::system_clock::now() + limit);
  Outcome outcome;
  const auto reader = stub.GenerateDigit(&context, request);
  if (patience.leaves_after.count() >= 0) {
    std::this_thread::sleep_for(patience.leaves_after);
    context.TryCancel();
  }
  if (patience.leaves_after_events == 0) context.TryCancel();
  for (v1::GenerateDigitResponse event; reader->Read(&event);) {
    outcome.events.push_back(std::move(event));
    if (static_cast<int>(outcome.events.size()) == patience.leaves_after_events) context.TryCancel();
  }
  outcome.status = reader->Finish();
  return outcome;
}

std::string CodeName(const grpc::Status& status) {
  return absl::StatusCodeToString(static_cast<absl::StatusCode>(status.error_code()));
}

std::string InWords(const grpc::Status& status) { return absl::StrCat(CodeName(status), ": ", status.error_message()); }

// Alike for all ports and durations, and of a length to be read in a table.
std::string KindOf(const grpc::Status& status) {
  constexpr size_t kMostBytes = 120;
  std::string kind;
  for (const char c : InWords(status)) {
    const bool digit = absl::ascii_isdigit(static_cast<unsigned char>(c));
    if (!digit || kind.back() != '#') kind.push_back(digit ? '#' : c);
  }
  return kind.substr(0, kMostBytes);
}

// A refused client comes again after a while, not at once.
void HeedRefusal(const grpc::Status& status) {
  constexpr std::chrono::nanoseconds kLongest = milliseconds(100);
  if (status.error_code() != grpc::StatusCode::RESOURCE_EXHAUSTED) return;
  std::this_thread::sleep_for(std::min(RetryDelay(status), kLongest));
}

}  // namespace

// One run: many threads, each the client of one call after another.
class ChaosLoad::Runner {
 public:
  Runner(const std::vector<Drawing>& drawings, const std::string& address, const ChaosOptions& options)
      : drawings_(drawings), options_(options) {
    for (int i = 0; i < options.channels; ++i) stubs_.push_back(Connect(address));
  }

  ChaosReport Run() {
    std::vector<std::thread> clients;
    for (int i = 0; i < options_.clients; ++i) clients.emplace_back([this, i] { BeClient(i); });
    for (std::thread& client : clients) client.join();
    const absl::MutexLock lock(&mu_);
    return report_;
  }

 private:
  void BeClient(int number) {
    Stub& stub = *stubs_[static_cast<size_t>(number) % stubs_.size()];
    const std::string name = absl::StrCat("client-", number % 8);
    for (int64_t i = next_++; i < options_.requests; i = next_++) {
      std::seed_seq both{options_.seed, options_.seed >> 32, static_cast<uint64_t>(i)};
      std::mt19937_64 random(both);
      const Drawing& drawing = drawings_[random() % drawings_.size()];
      const Patience patience = RandomPatience(random);
      const Outcome outcome = Call(stub, drawing.request, patience, options_.patience, name);
      Note(i, drawing, patience, outcome);
      HeedRefusal(outcome.status);
    }
  }

  void Note(int64_t number, const Drawing& drawing, const Patience& patience, const Outcome& outcome) {
    const absl::MutexLock lock(&mu_);
    const auto fault = [&](const std::string& what) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
      if (report_.faults.size() < kMostFaults) report_.faults.push_back(absl::StrCat("request ", number, ": ", what));
    };
    ++report_.endings[CodeName(outcome.status)];
    if (!outcome.status.ok()) ++report_.errors[KindOf(outcome.status)];
    if (const std::string wrong = WrongEnding(patience, outcome.status); !wrong.empty()) fault(wrong);
    if (const std::string wrong = WrongEvents(drawing, outcome); !wrong.empty()) fault(wrong);
  }

  // Of a status: what is wrong with it, if anything.
  std::string WrongEnding(const Patience& patience, const grpc::Status& status) const {
    switch (status.error_code()) {
      case grpc::StatusCode::OK:
      case grpc::StatusCode::UNAVAILABLE:
      case grpc::StatusCode::RESOURCE_EXHAUSTED:
        return "";
      case grpc::StatusCode::CANCELLED:
        return patience.leaves() ? "" : absl::StrCat("its client stayed, and it ended with ", InWords(status));
      case grpc::StatusCode::DEADLINE_EXCEEDED:
        if (patience.deadline.count() >= 0) return "";
        return absl::StrCat("it never ended, ", options_.patience.count(), " s at least");
      default:
        return absl::StrCat("it ended with ", InWords(status));
    }
  }

  // Accepted first, each image once and as it is drawn without the proxy, all of them if it ended well.
  std::string WrongEvents(const Drawing& drawing, const Outcome& outcome) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    std::set<uint32_t> images;
    for (size_t i = 0; i < outcome.events.size(); ++i) {
      const v1::GenerateDigitResponse& event = outcome.events[i];
      if (event.has_accepted() != (i == 0)) return absl::StrCat("event ", i, " is ", event.ShortDebugString());
      report_.previews += event.has_preview() ? 1 : 0;
      if (!event.has_image()) continue;
      ++report_.images;
      const uint32_t index = event.image().image_index();
      if (index >= drawing.pngs.size() || !images.insert(index).second) return absl::StrCat("image ", index, " again");
      if (event.image().png() != drawing.pngs[index]) return absl::StrCat("image ", index, " has other bytes");
    }
    if (!outcome.status.ok() || images.size() == drawing.pngs.size()) return "";
    return absl::StrCat("it ended well with ", images.size(), " of ", drawing.pngs.size(), " images");
  }

  const std::vector<Drawing>& drawings_;
  const ChaosOptions options_;
  std::vector<std::unique_ptr<Stub>> stubs_;
  std::atomic<int64_t> next_ = 0;

  absl::Mutex mu_;
  ChaosReport report_ ABSL_GUARDED_BY(mu_);
};

ChaosLoad::ChaosLoad(const std::string& address) {
  const std::unique_ptr<Stub> stub = Connect(address);
  for (int i = 0; i < kDrawings; ++i) {
    Drawing drawing{.request = MakeDrawing(i), .pngs = {}};
    drawing.pngs.resize(std::max(drawing.request.count(), 1U));
    const Outcome outcome = Call(*stub, drawing.request, {}, std::chrono::minutes(5), "reference");
    if (!outcome.status.ok()) throw std::runtime_error(absl::StrCat("drawing ", i, ": ", InWords(outcome.status)));
    for (const auto& event : outcome.events) {
      if (event.has_image()) drawing.pngs.at(event.image().image_index()) = event.image().png();
    }
    drawings_.push_back(std::move(drawing));
  }
}

ChaosReport ChaosLoad::Run(const std::string& address, const ChaosOptions& options) const {
  return Runner(drawings_, address, options).Run();
}

std::vector<std::string> ChaosLoad::DrawAgain(const std::string& address) const {
  const ChaosLoad again(address);
  std::vector<std::string> differences;
  for (size_t i = 0; i < drawings_.size(); ++i) {
    if (again.drawings_[i].pngs != drawings_[i].pngs) {
      differences.push_back(absl::StrCat("drawing ", i, " has other bytes than at first"));
    }
  }
  return differences;
}

std::string ChaosReport::ToString() const {
  std::string text;
  for (const auto& [code, calls] : endings) absl::StrAppend(&text, code, " ", calls, ", ");
  absl::StrAppend(&text, images, " images, ", previews, " previews\n");
  for (const auto& [error, calls] : errors) absl::StrAppendFormat(&text, "  %6d x %s\n", calls, error);
  for (const std::string& fault : faults) absl::StrAppend(&text, "  WRONG: ", fault, "\n");
  return text;
}

std::vector<std::string> LeftBehind(const ServerMetrics& metrics) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  std::vector<std::string> left;
  do {
    left.clear();
    for (const char* gauge :
         {"denoised_requests_in_flight", "denoised_queue_depth", "denoised_output_bytes", "denoised_connections"}) {
      if (const double value = metrics.Get(gauge); value != 0) left.push_back(absl::StrCat(gauge, " is ", value));
    }
  } while (!left.empty() && std::chrono::steady_clock::now() < end);
  for (const char* code : {"Internal", "Unknown"}) {
    const double calls = metrics.Get("grpc_server_handled_total", absl::StrCat("grpc_code=\"", code, "\""));
    if (calls != 0) left.push_back(absl::StrCat("the server itself ended ", calls, " calls with ", code));
  }
  return left;
}

}  // namespace denoised
