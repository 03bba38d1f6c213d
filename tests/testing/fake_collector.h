// File: fake_collector.h
//
// An OpenTelemetry collector that takes spans by OTLP over gRPC, and keeps them for a test to look at.
//
//   FakeCollector collector;
//   ... --otlp_endpoint=collector.address() ...
//   const std::vector<OtlpSpan> spans = collector.AwaitSpans(5);
//
// Thread-safe.
#ifndef DENOISED_TESTS_TESTING_FAKE_COLLECTOR_H_
#define DENOISED_TESTS_TESTING_FAKE_COLLECTOR_H_

#include <grpcpp/grpcpp.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "opentelemetry/proto/collector/trace/v1/trace_service.grpc.pb.h"

namespace denoised {

using OtlpSpan = opentelemetry::proto::trace::v1::Span;
using OtlpRequest = opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
using OtlpResponse = opentelemetry::proto::collector::trace::v1::ExportTraceServiceResponse;

// By name, in words.
inline std::map<std::string, std::string> AttributesOf(
    const google::protobuf::RepeatedPtrField<opentelemetry::proto::common::v1::KeyValue>& attributes) {
  std::map<std::string, std::string> all;
  for (const auto& attribute : attributes) {
    const auto& value = attribute.value();
    if (value.has_int_value()) {
      all[attribute.key()] = absl::StrCat(value.int_value());
    } else {
      all[attribute.key()] = value.has_double_value() ? absl::StrCat(value.double_value()) : value.string_value();
    }
  }
  return all;
}

class FakeCollector : private opentelemetry::proto::collector::trace::v1::TraceService::Service {
 public:
  explicit FakeCollector(
      const std::shared_ptr<grpc::ServerCredentials>& credentials = grpc::InsecureServerCredentials()) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", credentials, &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~FakeCollector() override {
    LetGo();
    server_->Shutdown();
  }

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }
  int port() const { return port_; }

  // Requests so far.
  std::vector<OtlpRequest> requests() const {
    const absl::MutexLock lock(&mu_);
    return requests_;
  }

  // The spans, once there are so many.
  std::vector<OtlpSpan> AwaitSpans(size_t count) const {
    const absl::MutexLock lock(&mu_);
    const auto enough = [this, count]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return spans_.size() >= count; };
    mu_.Await(absl::Condition(&enough));
    return spans_;
  }

  // From now on requests wait, until LetGo or their end.
  void Hold() {
    const absl::MutexLock lock(&mu_);
    held_ = true;
  }
  void LetGo() {
    const absl::MutexLock lock(&mu_);
    held_ = false;
  }
  // Returns when so many requests have come, held ones too.
  void AwaitRequests(size_t count) const {
    const absl::MutexLock lock(&mu_);
    const auto enough = [this, count]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return begun_ >= count; };
    mu_.Await(absl::Condition(&enough));
  }

  // What is answered from now on.
  void Answer(const grpc::Status& status, const OtlpResponse& response = {}) {
    const absl::MutexLock lock(&mu_);
    status_ = status;
    response_ = response;
  }

 private:
  grpc::Status Export(grpc::ServerContext* context, const OtlpRequest* request, OtlpResponse* response) override {
    const absl::MutexLock lock(&mu_);
    ++begun_;
    while (held_ && !context->IsCancelled()) {
      const auto free = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return !held_; };
      mu_.AwaitWithTimeout(absl::Condition(&free), absl::Milliseconds(10));
    }
    requests_.push_back(*request);
    for (const auto& resource : request->resource_spans()) {
      for (const auto& scope : resource.scope_spans())
        spans_.insert(spans_.end(), scope.spans().begin(), scope.spans().end());
    }
    *response = response_;
    return status_;
  }

  mutable absl::Mutex mu_;
  std::vector<OtlpRequest> requests_ ABSL_GUARDED_BY(mu_);
  std::vector<OtlpSpan> spans_ ABSL_GUARDED_BY(mu_);
  size_t begun_ ABSL_GUARDED_BY(mu_) = 0;
  bool held_ ABSL_GUARDED_BY(mu_) = false;
  grpc::Status status_ ABSL_GUARDED_BY(mu_);
  OtlpResponse response_ ABSL_GUARDED_BY(mu_);
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace denoised

#endif  // DENOISED_TESTS_TESTING_FAKE_COLLECTOR_H_
