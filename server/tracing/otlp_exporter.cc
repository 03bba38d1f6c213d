#include "server/tracing/otlp_exporter.h"

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>
#include <pthread.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "common/support/status_macros.h"
#include "server/tracing/otlp_messages.h"

namespace denoised {
namespace {

using opentelemetry::proto::collector::trace::v1::ExportTraceServiceResponse;

std::shared_ptr<grpc::ChannelCredentials> MakeCredentials(const OtlpTarget& target) {
  if (!target.tls) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = target.roots;
  return grpc::SslCredentials(options);
}

// The codes after which a client of OTLP tries again: opentelemetry.io/docs/specs/otlp, "Failures".
grpc::ChannelArguments WithRetries() {
  grpc::ChannelArguments arguments;
  arguments.SetServiceConfigJSON(
      absl::StrCat(R"({"methodConfig": [{"name": [{}], "retryPolicy": {"maxAttempts": )", OtlpExporter::kTries,
                   R"(, "initialBackoff": "0.5s", "maxBackoff": "2s", "backoffMultiplier": 2, "retryableStatusCodes":
      ["CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"]}}]})"));
  return arguments;
}

std::string RandomInstance() {
  absl::BitGen random;
  const auto part = [&random] { return absl::Hex(absl::Uniform<uint64_t>(random), absl::kZeroPad16); };
  return absl::StrCat(part(), part());
}

}  // namespace

absl::StatusOr<std::unique_ptr<OtlpExporter>> OtlpExporter::Start(const OtlpOptions& options) {
  DENOISED_RETURN_IF_ERROR(CheckOtlpOptions(options));
  if (options.endpoint.empty()) return nullptr;
  DENOISED_ASSIGN_OR_RETURN(const OtlpTarget target, ParseOtlpTarget(options));
  return std::unique_ptr<OtlpExporter>(new OtlpExporter(target));
}

OtlpExporter::OtlpExporter(const OtlpTarget& target)
    : address_(target.address),
      resource_(ResourceAttributes(RandomInstance())),
      stub_(TraceService::NewStub(grpc::CreateCustomChannel(target.address, MakeCredentials(target), WithRetries()))) {
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "spans");
    Run();
  });
}

OtlpExporter::~OtlpExporter() {
  Flush(std::chrono::nanoseconds(0));
  thread_.join();
}

void OtlpExporter::Add(std::vector<Span> spans) {
  const absl::MutexLock lock(&mu_);
  const size_t room = ending_ ? 0 : kQueuedSpans - std::min(kQueuedSpans, queue_.size());
  if (spans.size() > room) {
    queue_full_ += static_cast<int64_t>(spans.size());  // a call's spans go together
    return;
  }
  std::move(spans.begin(), spans.end(), std::back_inserter(queue_));
  if (Due()) due_.Set();
}

void OtlpExporter::Flush(std::chrono::nanoseconds patience) {
  {
    const absl::MutexLock lock(&mu_);
    end_ = std::min(end_, Clock::now() + patience);
    ending_ = true;
    due_.Set();
  }
  if (ended_.WaitFor(patience)) return;
  {
    const absl::MutexLock lock(&mu_);
    if (call_ != nullptr) call_->TryCancel();
  }
  ended_.Wait();  // a cancelled call is over at once
}

SpanCounts OtlpExporter::counts() const {
  return {.exported = exported_, .queue_full = queue_full_, .failed = failed_};
}

void OtlpExporter::Run() {
  for (std::vector<Span> batch = NextBatch(); !batch.empty(); batch = NextBatch()) Export(batch);
  ended_.Set();
}

// Waits for it; empty at the end.
std::vector<Span> OtlpExporter::NextBatch() {
  {
    const absl::MutexLock lock(&mu_);
    const auto any = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return ending_ || !queue_.empty(); };
    mu_.Await(absl::Condition(&any));
    if (!Due()) due_.Clear();
  }
  due_.WaitFor(kLinger);
  const absl::MutexLock lock(&mu_);
  if (ending_ && Clock::now() >= end_) {
    failed_ += static_cast<int64_t>(queue_.size());
    queue_.clear();
  }
  const auto end = queue_.begin() + static_cast<std::ptrdiff_t>(std::min(kBatchSpans, queue_.size()));
  std::vector<Span> batch(std::move_iterator(queue_.begin()), std::move_iterator(end));
  queue_.erase(queue_.begin(), end);
  return batch;
}

void OtlpExporter::Export(const std::vector<Span>& spans) {
  const auto size = static_cast<int64_t>(spans.size());
  grpc::ClientContext context;
  {
    const absl::MutexLock lock(&mu_);
    const std::chrono::nanoseconds left =
        ending_ ? std::chrono::nanoseconds(end_ - Clock::now()) : std::chrono::nanoseconds(kPatience);
    context.set_deadline(std::chrono::system_clock::now() +
                         std::chrono::duration_cast<std::chrono::system_clock::duration>(left));
    call_ = &context;
  }
  ExportTraceServiceResponse response;
  const grpc::Status status = stub_->Export(&context, MakeExportRequest(resource_, spans), &response);
  {
    const absl::MutexLock lock(&mu_);
    call_ = nullptr;
  }
  const int64_t rejected =
      status.ok() ? std::clamp<int64_t>(response.partial_success().rejected_spans(), 0, size) : size;
  exported_ += size - rejected;
  failed_ += rejected;
  if (rejected > 0) Warn(rejected, status.ok() ? response.partial_success().error_message() : status.error_message());
}

void OtlpExporter::Warn(int64_t spans, const std::string& why) {
  const Clock::time_point now = Clock::now();
  if (last_warning_ != Clock::time_point::min() && now - last_warning_ < kWarnEvery) return;
  last_warning_ = now;
  spdlog::warn("{} spans are lost, {} so far: the collector at --otlp_endpoint={} did not take them: {}", spans,
               failed_.load(), address_, why);
}

}  // namespace denoised
